"""Play a bag into the fusion node; ends with the bag. Takes the arguments of fusion.launch.py too."""

from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction, Shutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

FUSION = Path(__file__).absolute().with_name("fusion.launch.py")
SWITCH = ("true", "false")


def replayer(context: LaunchContext) -> list[Node]:
    """The replayer, with a flag for every switch that is on."""
    flags = [f"--{name}" for name in ("loop", "clock") if LaunchConfiguration(name).perform(context) == "true"]
    return [
        Node(
            package="cldyn_ros",
            executable="replay",
            arguments=[
                LaunchConfiguration("bag"), "--rate", LaunchConfiguration("rate"), "--wait-for-subscribers", "30",
                *flags,
            ],
            output="screen",
            on_exit=Shutdown(reason="the replay has ended"),
        )
    ]  # fmt: skip


def generate_launch_description() -> LaunchDescription:
    """Replayer and node. With clock:=true the node runs on the bag's time."""
    declare = DeclareLaunchArgument
    return LaunchDescription(
        [
            declare("bag", description="rosbag2 folder, or its .mcap or .db3 file"),
            declare("rate", default_value="1.0", description="speed; 2.0 is twice as fast as recorded"),
            declare("loop", default_value="false", choices=SWITCH, description="play again and again"),
            declare("clock", default_value="false", choices=SWITCH, description="publish the bag's time on /clock"),
            OpaqueFunction(function=replayer),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(str(FUSION)),
                launch_arguments={"use_sim_time": LaunchConfiguration("clock")}.items(),
            ),
        ]
    )

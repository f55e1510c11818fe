"""Play a bag into the fusion node; ends with the bag. Takes the arguments of fusion.launch.py too."""

from itertools import product
from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, Shutdown
from launch.conditions import IfCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import AndSubstitution, EqualsSubstitution, LaunchConfiguration
from launch_ros.actions import Node

FUSION = Path(__file__).absolute().with_name("fusion.launch.py")
SWITCH = ("true", "false")


def replayer(loop: str, clock: str) -> Node:
    """The replayer with the flags for these values of the arguments; it runs only if they have these values."""
    chosen = AndSubstitution(
        EqualsSubstitution(LaunchConfiguration("loop"), loop), EqualsSubstitution(LaunchConfiguration("clock"), clock)
    )
    flags = ["--loop"] * (loop == "true") + ["--clock"] * (clock == "true")
    return Node(
        package="cldyn_ros",
        executable="replay",
        arguments=[
            LaunchConfiguration("bag"), "--rate", LaunchConfiguration("rate"), "--wait-for-subscribers", "30", *flags,
        ],
        condition=IfCondition(chosen),
        output="screen",
        on_exit=Shutdown(reason="the replay has ended"),
    )  # fmt: skip


def generate_launch_description() -> LaunchDescription:
    """Replayer and node. With clock:=true the node runs on the bag's time."""
    declare = DeclareLaunchArgument
    return LaunchDescription(
        [
            declare("bag", description="rosbag2 folder, or its .mcap or .db3 file"),
            declare("rate", default_value="1.0", description="speed; 2.0 is twice as fast as recorded"),
            declare("loop", default_value="false", choices=SWITCH, description="play again and again"),
            declare("clock", default_value="false", choices=SWITCH, description="publish the bag's time on /clock"),
            *(replayer(loop, clock) for loop, clock in product(SWITCH, SWITCH)),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(str(FUSION)),
                launch_arguments={"use_sim_time": LaunchConfiguration("clock")}.items(),
            ),
        ]
    )

"""Start the fusion node /cldyn.

Parameters come from params_file; a launch argument that is given overrides the file, one left empty does not. FASTDDS
settings for large images are made by the node itself.
"""

from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, GroupAction, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node, SetParameter, SetParametersFromFile

DEFAULT_PARAMS = Path(__file__).absolute().parents[1] / "config" / "fusion.yaml"

OVERRIDES = {"task": "task", "loop_mode": "loop.mode", "device": "device", "weights": "weights"}
OVERRIDES |= {"autostart": "autostart", "use_sim_time": "use_sim_time"}
"""Launch argument to parameter."""

EMPTY = "; empty: as in params_file"


def arguments() -> list[DeclareLaunchArgument]:
    """What `ros2 launch cldyn_ros fusion.launch.py --show-args` lists."""
    declare = DeclareLaunchArgument
    switch = ("", "true", "false")
    return [
        declare("task", default_value="", choices=("", "none", "detection", "segmentation", "saliency"),
                description=f"what the fused image is for{EMPTY}"),
        declare("loop_mode", default_value="", choices=("", "stream", "exact", "open"),
                description=f"stream: plan held over frames; exact: planned by each frame; open: plain fusion{EMPTY}"),
        declare("infrared_topic", default_value="infrared/image_raw",
                description="infrared images; a relative name is below the namespace"),
        declare("visible_topic", default_value="visible/image_raw",
                description="visible images; a relative name is below the namespace"),
        declare("camera_info_topic", default_value="visible/camera_info",
                description="calibration of the visible camera, passed on as fused/camera_info"),
        declare("params_file", default_value=str(DEFAULT_PARAMS), description="YAML file of parameters"),
        declare("device", default_value="", description=f"auto, cpu, cuda, cuda:1 ...{EMPTY}"),
        declare("weights", default_value="",
                description=f"fusion weights: default, paper (bundled) or path of a .safetensors file{EMPTY}"),
        declare("autostart", default_value="", choices=switch,
                description=f"true: configure and activate at start; false: wait for ros2 lifecycle set{EMPTY}"),
        declare("use_sim_time", default_value="", choices=switch, description=f"take time from /clock{EMPTY}"),
        declare("namespace", default_value="", description="namespace of the node and its topics"),
        declare("pairs", default_value="",
                description="names of camera pairs, separated by commas: one process, a node /<name>/cldyn for each"),
        declare("log_level", default_value="info", choices=("debug", "info", "warn", "error", "fatal"),
                description="least severe messages that are logged"),
    ]  # fmt: skip


def parameters(context: LaunchContext) -> list[SetParametersFromFile | SetParameter]:
    """The file first, then the arguments that are not empty."""
    file = Path(LaunchConfiguration("params_file").perform(context)).expanduser()
    if not file.is_file():
        raise FileNotFoundError(f"params_file {file}: no such file")
    given = {parameter: LaunchConfiguration(argument).perform(context) for argument, parameter in OVERRIDES.items()}
    return [SetParametersFromFile(str(file)), *(SetParameter(name, value) for name, value in given.items() if value)]


def generate_launch_description() -> LaunchDescription:
    """The node, and its parameters in a scope of their own."""
    node = Node(
        package="cldyn_ros",
        executable="fusion_node",
        name="cldyn",
        namespace=LaunchConfiguration("namespace"),
        arguments=[["--pairs=", LaunchConfiguration("pairs")]],
        remappings=[
            ("infrared/image_raw", LaunchConfiguration("infrared_topic")),
            ("visible/image_raw", LaunchConfiguration("visible_topic")),
            ("visible/camera_info", LaunchConfiguration("camera_info_topic")),
        ],
        ros_arguments=["--log-level", LaunchConfiguration("log_level")],
        output="screen",
        emulate_tty=True,
    )
    return LaunchDescription([*arguments(), GroupAction([OpaqueFunction(function=parameters), node])])

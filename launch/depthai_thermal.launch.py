"""An OAK Thermal camera and the fusion node; takes the arguments of fusion.launch.py too.

Jazzy and Humble: driver:=depthai_ros_driver_v3. With an own driver already running: driver:="".
"""

from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, GroupAction, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.substitutions import FindPackageShare

FUSION = Path(__file__).absolute().with_name("fusion.launch.py")
PARAMS = Path(__file__).absolute().parents[1] / "config" / "oak_thermal.yaml"


def camera(context: LaunchContext) -> list[GroupAction]:
    """The driver by its own launch file, which sees none of our arguments."""
    package = LaunchConfiguration("driver").perform(context)
    if not package:
        return []
    share, name = FindPackageShare(package), LaunchConfiguration("camera_name").perform(context)
    source = PythonLaunchDescriptionSource(PathJoinSubstitution([share, "launch", "oak_t.launch.py"]))
    include = IncludeLaunchDescription(source, launch_arguments={"name": name}.items())
    return [GroupAction([include], forwarding=False)]


def generate_launch_description() -> LaunchDescription:
    """Driver and node. What fusion.launch.py declares too has its default from here."""
    declare, name = DeclareLaunchArgument, LaunchConfiguration("camera_name")
    return LaunchDescription(
        [
            declare("driver", default_value="depthai_ros_driver", description="package of the driver; empty: none"),
            declare("camera_name", default_value="oak", description="name of the camera, the first part of its topics"),
            declare("infrared_topic", default_value=["/", name, "/thermal/raw_data/image_raw"],
                    description="temperatures in degrees Celsius"),
            declare("visible_topic", default_value=["/", name, "/rgb/image_raw"], description="color images"),
            declare("camera_info_topic", default_value=["/", name, "/rgb/camera_info"],
                    description="calibration of the color camera"),
            declare("params_file", default_value=str(PARAMS), description="YAML file of parameters of the node"),
            OpaqueFunction(function=camera),
            IncludeLaunchDescription(PythonLaunchDescriptionSource(str(FUSION))),
        ]
    )  # fmt: skip

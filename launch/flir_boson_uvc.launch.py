"""A FLIR Boson and a color camera, both over UVC by usb_cam, and the fusion node; takes the arguments of
fusion.launch.py too.
"""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

FUSION = Path(__file__).absolute().with_name("fusion.launch.py")
PARAMS = Path(__file__).absolute().parents[1] / "config" / "flir_boson_uvc.yaml"


def usb_camera(source: str, pixel_format: str, rate: float) -> Node:
    """usb_cam for one camera, publishing <source>/image_raw."""
    size = {f"image_{side}": LaunchConfiguration(f"{source}_{side}") for side in ("width", "height")}
    return Node(
        package="usb_cam",
        executable="usb_cam_node_exe",
        name="camera",
        namespace=[LaunchConfiguration("namespace"), f"/{source}"],
        parameters=[
            {
                "video_device": LaunchConfiguration(f"{source}_device"),
                "pixel_format": pixel_format,
                "framerate": rate,
                "frame_id": f"{source}_optical_frame",
                "camera_name": source,
                **size,
            }
        ],
        output="screen",
    )


def generate_launch_description() -> LaunchDescription:
    """Two cameras and the node. 16-bit infrared, so that the node chooses the range and not the camera. What
    fusion.launch.py declares too has its default from here.
    """
    declare = DeclareLaunchArgument
    return LaunchDescription(
        [
            declare("namespace", default_value="", description="namespace of node, cameras and topics"),
            declare("infrared_device", default_value="/dev/video2", description="the Boson; see /dev/v4l/by-id"),
            declare("infrared_width", default_value="640", description="640, or 320 of a Boson 320"),
            declare("infrared_height", default_value="512", description="512, or 256 of a Boson 320"),
            declare("visible_device", default_value="/dev/video0", description="the color camera; see /dev/v4l/by-id"),
            declare("visible_width", default_value="640", description="width of the color images"),
            declare("visible_height", default_value="480", description="height of the color images"),
            declare("params_file", default_value=str(PARAMS), description="YAML file of parameters of the node"),
            usb_camera("infrared", "mono16", 60.0),
            usb_camera("visible", "mjpeg2rgb", 30.0),
            IncludeLaunchDescription(PythonLaunchDescriptionSource(str(FUSION))),
        ]
    )

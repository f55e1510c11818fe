"""The launch files: what can be said without launch, and the real thing where launch is installed."""

from __future__ import annotations

import ast
import importlib.util
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
import yaml

from cldyn_core.types import LoopMode, Task
from cldyn_ros.params import FIELDS

CAMERAS = ("depthai_thermal.launch.py", "flir_boson_uvc.launch.py")
FILES = ("fusion.launch.py", "replay.launch.py", *CAMERAS)
SINCE_HUMBLE = {
    "launch": {"LaunchContext", "LaunchDescription"},
    "launch.actions": {
        "DeclareLaunchArgument", "GroupAction", "IncludeLaunchDescription", "OpaqueFunction", "Shutdown",
    },
    "launch.launch_description_sources": {"PythonLaunchDescriptionSource"},
    "launch.substitutions": {"LaunchConfiguration", "PathJoinSubstitution"},
    "launch_ros.actions": {"Node", "SetParameter", "SetParametersFromFile"},
    "launch_ros.substitutions": {"FindPackageShare"},
}  # fmt: skip
"""Names that every distribution from the first Humble to today's has (EqualsSubstitution came to Humble in 2025)."""


def calls(tree: ast.AST, name: str) -> list[ast.Call]:
    """All calls of a function by its bare name."""
    nodes = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    return [node for node in nodes if isinstance(node.func, ast.Name) and node.func.id == name]


def declared(tree: ast.AST) -> dict[str, dict[str, ast.expr]]:
    """Launch arguments of a file: name to keyword arguments of the declaration."""
    return {
        ast.literal_eval(call.args[0]): {word.arg: word.value for word in call.keywords if word.arg}
        for call in calls(tree, "declare")
    }


@pytest.mark.parametrize("name", FILES)
def test_only_what_every_distribution_has(root: Path, name: str) -> None:
    tree = ast.parse((root / "launch" / name).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("launch"):
            assert {alias.name for alias in node.names} <= SINCE_HUMBLE[str(node.module)], node.module


@pytest.mark.parametrize("name", FILES)
def test_every_argument_is_described(root: Path, name: str) -> None:
    arguments = declared(ast.parse((root / "launch" / name).read_text(encoding="utf-8")))
    assert len(arguments) >= 4
    assert [name for name, words in arguments.items() if "description" not in words] == []


def test_choices_and_overrides_are_those_of_the_node(root: Path) -> None:
    text = (root / "launch" / "fusion.launch.py").read_text(encoding="utf-8")
    arguments = declared(ast.parse(text))
    assert ast.literal_eval(arguments["task"]["choices"]) == ("", *(task.value for task in Task))
    assert set(ast.literal_eval(arguments["loop_mode"]["choices"])) <= {"", *(mode.value for mode in LoopMode)}
    overrides = dict(re.findall(r'"(\w+)": "([\w.]+)"', text))
    assert overrides.keys() <= arguments.keys()
    assert set(overrides.values()) - {"use_sim_time"} <= known_parameters()
    assert {ast.literal_eval(arguments[name]["default_value"]) for name in overrides} == {""}


def known_parameters() -> set[str]:
    return {str(name) for name in FIELDS}


def test_every_parameter_of_the_config_files_is_known(root: Path) -> None:
    def names(tree: dict[str, Any], prefix: str = "") -> set[str]:
        return {
            name for key, value in tree.items()
            for name in (names(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key})
        }  # fmt: skip

    for file in (root / "config").glob("*.yaml"):
        (node,) = yaml.safe_load(file.read_text(encoding="utf-8")).values()
        assert names(node["ros__parameters"]) <= known_parameters(), file.name


def test_package_xml_names_every_ros_package_that_is_imported(root: Path) -> None:
    package = ElementTree.parse(root / "package.xml").getroot()
    named = {element.text for element in package if element.tag.endswith("depend")}
    imported = set()
    for file in [*(root / "cldyn_ros").rglob("*.py"), *(root / "launch").glob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            modules = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            modules += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            imported |= {module.split(".")[0] for module in modules}
    ros = {name for name in imported if re.fullmatch(r"rclpy|launch|launch_ros|\w+_(msgs|srvs|interfaces)", name)}
    assert {"rclpy", "sensor_msgs", "vision_msgs", "launch"} <= ros
    assert ros <= named


@pytest.mark.parametrize("name", FILES)
def test_launch_reads_it(root: Path, name: str) -> None:
    pytest.importorskip("launch_ros", reason="launch is part of a full ROS installation")
    path = root / "launch" / name
    spec = importlib.util.spec_from_file_location("launch_file", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    declared_now = {argument.name: argument for argument in module.generate_launch_description().get_launch_arguments()}
    assert {"task", "params_file"} <= declared_now.keys()
    assert all(argument.description for argument in declared_now.values())


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, []),
        ({"task": "detection", "use_sim_time": "true"}, ["task:=detection", "use_sim_time:=true"]),
        ({"loop_mode": "open", "device": "cpu"}, ["loop.mode:=open", "device:=cpu"]),
    ],
)
def test_given_arguments_follow_the_params_file(root: Path, given: dict[str, str], expected: list[str]) -> None:
    context, _ = up_to_the_first_node(root / "launch" / "fusion.launch.py", given)
    file, *found = context.launch_configurations["global_params"]
    assert str(file) == str(root / "config" / "fusion.yaml")
    assert [f"{name}:={value}" for name, value in found] == expected


def test_missing_params_file_is_named(root: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"params_file /nowhere/x\.yaml: no such file"):
        up_to_the_first_node(root / "launch" / "fusion.launch.py", {"params_file": "/nowhere/x.yaml"})


@pytest.mark.parametrize("switches", [{}, {"loop": "true"}, {"clock": "true"}, {"loop": "true", "clock": "true"}])
def test_replayer_gets_the_flags_of_the_switches_that_are_on(root: Path, switches: dict[str, str]) -> None:
    context, node = up_to_the_first_node(root / "launch" / "replay.launch.py", {"bag": "x.mcap", **switches})
    words = ["".join(part.perform(context) for part in word) for word in node.cmd[1:]]
    flags = [f"--{name}" for name in switches]
    assert words[: 5 + len(flags)] == ["x.mcap", "--rate", "1.0", "--wait-for-subscribers", "30", *flags]


@pytest.mark.parametrize(
    ("name", "given", "file", "topics"),
    [
        ("depthai_thermal", {"driver": ""}, "oak_thermal.yaml",
         ["/oak/thermal/raw_data/image_raw", "/oak/rgb/image_raw"]),
        ("depthai_thermal", {"driver": "", "camera_name": "front", "visible_topic": "/seen"}, "oak_thermal.yaml",
         ["/front/thermal/raw_data/image_raw", "/seen"]),
        ("flir_boson_uvc", {}, "flir_boson_uvc.yaml", ["infrared/image_raw", "visible/image_raw"]),
    ],
)  # fmt: skip
def test_cameras_and_node_meet(root: Path, name: str, given: dict[str, str], file: str, topics: list[str]) -> None:
    context, _ = up_to_the_first_node(root / "launch" / f"{name}.launch.py", given, package="cldyn_ros")
    assert str(context.launch_configurations["global_params"][0]) == str(root / "config" / file)
    assert [context.launch_configurations[f"{source}_topic"] for source in ("infrared", "visible")] == topics


DRIVER = """
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch_ros.actions import Node

def generate_launch_description():
    declared = [DeclareLaunchArgument(name, default_value=f"its {name}") for name in ("name", "params_file")]
    return LaunchDescription([*declared, Node(package="depthai_ros_driver", executable="driver")])
"""


def test_driver_of_the_camera_keeps_its_own_arguments(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    share = tmp_path / "share"
    for folder in ("ament_index/resource_index/packages", "depthai_ros_driver/launch"):
        (share / folder).mkdir(parents=True)
    (share / "ament_index/resource_index/packages/depthai_ros_driver").touch()
    (share / "depthai_ros_driver/launch/oak_t.launch.py").write_text(DRIVER, encoding="utf-8")
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    file = root / "launch" / "depthai_thermal.launch.py"
    context, _ = up_to_the_first_node(file, {"camera_name": "front", "task": "none"}, package="depthai_ros_driver")
    seen = context.launch_configurations
    assert (seen["name"], seen["params_file"], "task" in seen) == ("front", "its params_file", False)


def test_usb_cameras_publish_what_the_node_takes(root: Path) -> None:
    _, camera = up_to_the_first_node(root / "launch" / "flir_boson_uvc.launch.py", {"infrared_device": "/dev/video7"})
    from launch import LaunchContext
    from launch.utilities import normalize_to_list_of_substitutions, perform_substitutions
    from launch_ros.utilities import evaluate_parameters

    context = LaunchContext()
    context.launch_configurations.update(infrared_device="/dev/video7", infrared_width="320", infrared_height="256")
    (values,) = evaluate_parameters(context, camera._Node__parameters)
    assert values["video_device"] == "/dev/video7"
    assert (values["image_width"], values["pixel_format"]) == (320, "mono16")
    context.launch_configurations["namespace"] = "robot"
    namespace = normalize_to_list_of_substitutions(camera._Node__node_namespace)
    assert perform_substitutions(context, namespace) == "robot/infrared"


def up_to_the_first_node(path: Path, given: dict[str, str], package: str = "") -> tuple[Any, Any]:
    """Run a launch file up to its first node (of a package); the context at that moment, and the node."""
    pytest.importorskip("launch_ros", reason="launch is part of a full ROS installation")
    from launch import LaunchContext
    from launch.launch_description_sources import PythonLaunchDescriptionSource

    context = LaunchContext()
    context.launch_configurations.update(given)
    pending = list(PythonLaunchDescriptionSource(str(path)).get_launch_description(context).entities)
    while type(pending[0]).__name__ != "Node" or package not in pending[0].node_package:
        entity = pending.pop(0)
        if type(entity).__name__ != "Node":
            pending = [*(entity.visit(context) or []), *pending]
    return context, pending[0]

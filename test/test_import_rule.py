"""The one rule between the packages: cldyn_core knows no ROS, cldyn_ros does no tensor mathematics."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

ROS = {"rclpy", "rosbags", "rosbag2_py", "cldyn_ros", "cv_bridge", "message_filters", "launch", "launch_ros"}
TENSORS = {"torch", "torchvision", "transformers", "ultralytics", "safetensors"}


def imports(tree: ast.AST) -> Iterator[str]:
    """Top-level names of all absolute imports, also those inside functions and `import_module("literal")`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.split(".")[0]
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in {"import_module", "__import__"} and isinstance(node.args[0].value, str):
                yield node.args[0].value.split(".")[0]


def is_ros(module: str) -> bool:
    return module in ROS or module.endswith(("_msgs", "_interfaces", "_srvs"))


def files(package: str) -> list[Path]:
    found = sorted((ROOT / package).rglob("*.py"))
    assert found, f"no files in {package}"
    return found


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", files("cldyn_core"), ids=name)
def test_core_knows_no_ros(path: Path) -> None:
    bad = {module for module in imports(ast.parse(path.read_text(encoding="utf-8"))) if is_ros(module)}
    assert not bad, f"{name(path)} imports {', '.join(sorted(bad))}; ROS belongs in cldyn_ros"


@pytest.mark.parametrize("path", files("cldyn_ros"), ids=name)
def test_ros_side_does_no_tensor_mathematics(path: Path) -> None:
    bad = set(imports(ast.parse(path.read_text(encoding="utf-8")))) & TENSORS
    assert not bad, f"{name(path)} imports {', '.join(sorted(bad))}; tensors belong in cldyn_core"


def test_the_rule_sees_every_form_of_import() -> None:
    source = """
import rclpy.node
from sensor_msgs.msg import Image
def f():
    import torch.nn as nn
    importlib.import_module("rosbags.rosbag2")
"""
    assert set(imports(ast.parse(source))) == {"rclpy", "sensor_msgs", "torch", "rosbags"}
    assert is_ros("vision_msgs")
    assert is_ros("rcl_interfaces")

"""The ROS package builds with colcon, and what it installs is complete and starts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

pytest.importorskip("colcon_ros", reason="colcon is not installed; run make setup")

Run = Callable[..., str]
SHARED = {
    "launch": "*.launch.py", "config": "*.yaml", "config/foxglove": "*.json", "config/rviz": "*.rviz",
    "config/systemd": "*.service",
}  # fmt: skip
"""Folders below share/cldyn_ros, and what is in them."""


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """A workspace whose source is a link, so that the project stays clean."""
    folder = tmp_path_factory.mktemp("workspace")
    (folder / "src").mkdir()
    for name in ("cldyn_core", "cldyn_ros", "config", "launch", "package.xml", "resource", "setup.cfg", "setup.py"):
        (folder / "src" / name).symlink_to(root / name)
    return folder


@pytest.fixture(scope="module")
def run(workspace: Path, quiet_environment: dict[str, str]) -> Run:
    """Runs a command in the workspace and returns what it prints; fails with that if it fails."""

    def run(*command: str | Path, python_path: Path | str = "", **variables: str) -> str:
        path = os.pathsep.join(filter(None, (str(python_path), quiet_environment.get("PYTHONPATH"))))
        env = quiet_environment | {"PYTHONPATH": path, **variables}
        done = subprocess.run(
            [str(part) for part in command], cwd=workspace, env=env, text=True, timeout=100,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        return done.stdout

    return run


def colcon(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "colcon", *arguments)


@dataclass(frozen=True)
class Installed:
    """One colcon build."""

    prefix: Path
    python_path: Path
    """What colcon's setup file puts on PYTHONPATH."""


@pytest.fixture(scope="module")
def copied(workspace: Path, run: Run) -> Installed:
    run(*colcon("build", "--build-base", "build", "--install-base", "install"))
    prefix = workspace / "install" / "cldyn_ros"
    (site_packages,) = prefix.glob("lib/python*/site-packages")
    return Installed(prefix, site_packages)


@pytest.fixture(scope="module")
def linked(workspace: Path, run: Run) -> Installed:
    """Without a compiler: the library would go through the links into the project, under the feet of other tests."""
    command = colcon("build", "--symlink-install", "--build-base", "build_linked", "--install-base", "install_linked")
    run(*command, CC="false", CXX="false")
    return Installed(workspace / "install_linked" / "cldyn_ros", workspace / "build_linked" / "cldyn_ros")


@pytest.fixture(params=["copied", "linked"])
def installed(request: pytest.FixtureRequest) -> Installed:
    """Both builds."""
    return request.getfixturevalue(request.param)


def test_colcon_takes_it_for_a_ros_package(run: Run) -> None:
    # An invalid package.xml silently turns it into plain Python.
    assert run(*colcon("list")).split() == ["cldyn_ros", "src", "(ros.ament_python)"]


def test_shared_files_are_installed(installed: Installed, root: Path) -> None:
    share = installed.prefix / "share"
    assert (share / "ament_index" / "resource_index" / "packages" / "cldyn_ros").is_file()
    assert (share / "cldyn_ros" / "package.xml").is_file()
    assert (share / "cldyn_ros" / "sros2" / "policy.xml").is_file()
    for folder, pattern in SHARED.items():
        expected = {path.name for path in (root / folder).glob(pattern)}
        assert expected, folder
        assert {path.name for path in (share / "cldyn_ros" / folder).iterdir() if path.is_file()} == expected


def test_modules_and_package_data_are_installed(copied: Installed, root: Path) -> None:
    expected = {Path("cldyn_ros/fastdds.xml")}
    for package in ("cldyn_core", "cldyn_ros"):
        expected |= {path.relative_to(root) for path in (root / package).rglob("*.py")}
    expected |= {path.relative_to(root) for path in (root / "cldyn_core" / "weights").glob("*.*")}
    assert {str(path) for path in expected if not (copied.python_path / path).is_file()} == set()


def test_the_native_library_is_built_where_there_is_a_compiler(copied: Installed) -> None:
    built = list((copied.python_path / "cldyn_core/engine/native").glob("_cldyn*.so"))
    assert bool(built) == (shutil.which(os.environ.get("CXX", "c++")) is not None)


def test_colcon_test_runs_the_tests(copied: Installed, run: Run, workspace: Path) -> None:
    # Without pytest among the test requirements of setup.py it runs none, and fails on Python 3.12.
    (workspace / "src" / "test").mkdir()
    (workspace / "src" / "test" / "test_one.py").write_text("def test_one() -> None: pass\n", encoding="utf-8")
    run(*colcon("test", "--build-base", "build", "--install-base", "install"))
    results = ElementTree.parse(workspace / "build" / "cldyn_ros" / "pytest.xml").getroot()
    assert [case.get("name") for case in results.iter("testcase")] == ["test_one"]


@pytest.mark.parametrize("name", ("calibrate", "cldyn", "demo", "fusion_node", "replay"))
def test_executables_are_where_ros2_run_looks(installed: Installed, name: str) -> None:
    assert (installed.prefix / "lib" / "cldyn_ros" / name).stat().st_mode & 0o111


@pytest.mark.parametrize("name", ("calibrate", "cldyn", "demo", "replay"))
def test_executables_start(copied: Installed, run: Run, name: str) -> None:
    needs_vision_msgs(name)
    path = copied.prefix / "lib" / "cldyn_ros" / name
    # By name: the first line of a script cannot hold the path of a .venv with spaces in it.
    assert "usage:" in run(sys.executable, path, "--help", python_path=copied.python_path)


def test_entry_points_load_from_the_installation(installed: Installed, run: Run, workspace: Path) -> None:
    needs_vision_msgs("fusion_node")
    probe = """
import sys
from importlib.metadata import distribution
for entry in distribution("cldyn_ros").entry_points:
    loaded = entry.load()  # a function, or a module
    print(sys.modules[getattr(loaded, "__module__", loaded.__name__)].__file__)
"""
    files = run(sys.executable, "-c", probe, python_path=installed.python_path).split()
    assert len(files) == 7
    assert all(Path(file).is_relative_to(workspace) for file in files), files


def needs_vision_msgs(name: str) -> None:
    if name != "cldyn":
        pytest.importorskip("vision_msgs", reason="vision_msgs is not built; run make setup")

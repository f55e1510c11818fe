"""Generate and compile msgs/vision_msgs into the virtual environment that runs this script.

For machines whose ROS 2 comes from wheels, which have the message generators but not vision_msgs. Steps:
1. find the C headers of this Python (Debian keeps them in a package of their own),
2. mend the CMake files of the ROS wheels, which name the header folders of the machine that built the wheels,
3. configure, compile and install with cmake; the virtual environment is the install prefix.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy

PREFIX = Path(sys.prefix)
SOURCE = Path(__file__).resolve().parents[1] / "msgs" / "vision_msgs"
BUILD = PREFIX / "src" / "vision_msgs-build"

FOREIGN_HEADERS = re.compile(r'/opt/python/[^;"]*?/(?:include/python[\d.]+|site-packages/numpy/\w+/include)(?=[;"])')
"""Header folders of Python and of numpy on the wheels' build machine, as they stand in the exported targets."""


class BuildError(Exception):
    """vision_msgs cannot be built. The message says why and what to do."""


def python_headers() -> list[Path]:
    """Folders with the C headers of this Python; fetched without installing anything if Debian left them out."""
    include = Path(sysconfig.get_path("include"))
    if (include / "Python.h").is_file():
        return [include]
    package = f"libpython{sys.version_info.major}.{sys.version_info.minor}-dev"
    fetched = BUILD.with_name(package) / "usr" / "include"
    if not (fetched / include.name / "Python.h").is_file():
        _fetch(package, into=fetched.parents[1])
    if not (fetched / include.name / "Python.h").is_file():
        raise BuildError(
            f"Python.h is not in {include}, and {package} could not be fetched.\n"
            "Debian, Ubuntu: apt-get update && apt-get install python3-dev, then make setup again."
        )
    return [fetched / include.name, fetched]  # the second holds the folder of the architecture, with pyconfig.h


def _fetch(package: str, into: Path) -> None:
    """Download and unpack a Debian package as an ordinary user."""
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        return
    print(f"Python.h is missing: fetching {package} into {into}", flush=True)
    into.mkdir(parents=True, exist_ok=True)
    if subprocess.run(["apt-get", "-q", "download", package], cwd=into, check=False).returncode == 0:
        for archive in into.glob(f"{package}_*.deb"):
            subprocess.run(["dpkg", "-x", archive, into], check=True)


def mend_exported_targets(headers: list[Path]) -> int:
    """Point the wheels' exported CMake targets to this Python's headers. Returns the number of files changed."""

    def local(match: re.Match[str]) -> str:
        return numpy.get_include() if "/numpy/" in match.group() else ";".join(map(str, headers))

    changed = 0
    for file in sorted(PREFIX.glob("share/*/cmake/*.cmake")):
        text = file.read_text(encoding="utf-8")
        mended = FOREIGN_HEADERS.sub(local, text)
        if mended != text:
            _replace(file, mended)
            changed += 1
        if "/opt/python/" in mended:
            raise BuildError(f"{file} names a folder of the wheels' build machine that this script does not know")
    return changed


def _replace(file: Path, text: str) -> None:
    """Write a new file instead of the old one's content, which may be a hard link into a package cache."""
    new = file.with_suffix(".new")
    new.write_text(text, encoding="utf-8")
    new.replace(file)


def environment() -> dict[str, str]:
    """ROS of this virtual environment only, and its Python first on the path."""
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "ROS_DISTRO")}
    env["AMENT_PREFIX_PATH"] = env["CMAKE_PREFIX_PATH"] = str(PREFIX)
    env["PATH"] = f"{PREFIX / 'bin'}{os.pathsep}{env['PATH']}"
    return env


def cmake(*arguments: str) -> None:
    """Run cmake; its output is shown only if it fails."""
    done = subprocess.run(["cmake", *arguments], env=environment(), text=True, capture_output=True, check=False)
    if done.returncode:
        raise BuildError(f"{done.stdout[-6000:]}\n{done.stderr[-6000:]}\ncmake {' '.join(arguments)} failed")


def build(headers: list[Path]) -> None:
    """Configure, compile, install. Starts from nothing: a rest of another Python or ROS would be kept otherwise."""
    shutil.rmtree(BUILD, ignore_errors=True)
    includes = " ".join(f'-I"{folder}"' for folder in headers)  # quoted: the path may hold spaces
    cmake(
        "-S", str(SOURCE), "-B", str(BUILD), "-G", "Unix Makefiles",
        f"-DCMAKE_INSTALL_PREFIX={PREFIX}",
        "-DCMAKE_INSTALL_LIBDIR=lib",
        "-DCMAKE_BUILD_TYPE=Release",
        "-DBUILD_TESTING=OFF",
        f"-DPython3_EXECUTABLE={sys.executable}",
        f"-DPython3_INCLUDE_DIR={headers[0]}",
        f"-DPython3_NumPy_INCLUDE_DIR={numpy.get_include()}",
        f"-DCMAKE_C_FLAGS={includes}",
    )  # fmt: skip
    cmake("--build", str(BUILD), "--parallel", str(len(os.sched_getaffinity(0))))
    cmake("--install", str(BUILD))
    shutil.rmtree(BUILD)


def main() -> int:
    """Exit status 1 and the reason if it cannot be done."""
    if sys.prefix == sys.base_prefix:
        print("run this with the Python of a virtual environment: .venv/bin/python", file=sys.stderr)
        return 1
    try:
        headers = python_headers()
        print(f"{mend_exported_targets(headers)} CMake files of the ROS wheels mended", flush=True)
        build(headers)
    except BuildError as error:
        print(f"vision_msgs: {error}", file=sys.stderr)
        return 1
    print(f"vision_msgs is installed in {PREFIX}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Create or update .venv with everything the demo and the tests need. `make setup` calls it; standard library only.

The work is cut into stages. The key of a stage is a hash of all it depends on; a stage whose key is already in
.venv/.setup is skipped, so a second run takes a moment.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMPS = VENV / ".setup"
CONSTRAINTS = ROOT / "constraints.txt"

TORCH_CPU_INDEX = os.environ.get("TORCH_CPU_INDEX", "https://download.pytorch.org/whl/cpu")
"""Where CPU builds of torch are published; asked when pip's own sources have none."""

LICENSE_NOTE = """\
  ---------------------------------------------------------------------------------------------
  The detector uses ultralytics, which is licensed under AGPL-3.0. It is an optional extra, here
  for the demo and the tests; nothing else needs it. To leave it out: make setup DETECTOR=none
  ---------------------------------------------------------------------------------------------"""


class SetupError(Exception):
    """The set-up cannot go on. The message says why and what to do."""


def check_machine() -> None:
    """Refuse early, with the remedy, what would fail late."""
    machine = (
        f"{platform.system()} {platform.machine()}, {platform.python_implementation()} {platform.python_version()}"
    )
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise SetupError(
            f"This is {machine}. The ROS 2 wheels exist for Linux x86_64 only. Install ROS 2 from apt and use colcon "
            "build (see README.md)."
        )
    if platform.python_implementation() != "CPython" or not (3, 10) <= sys.version_info[:2] <= (3, 14):
        raise SetupError(
            f"This is {machine}; CPython 3.10 to 3.14 is needed. Name another: make setup PYTHON=python3.11"
        )
    missing = [tool for tool in ("gcc", "g++", "cmake", "make") if shutil.which(tool) is None]
    if missing:
        raise SetupError(f"Missing: {', '.join(missing)}. Debian, Ubuntu: apt-get install g++ cmake make")


def has_nvidia_gpu() -> bool:
    """Whether CUDA packages would be of use here."""
    if Path("/dev/nvidia0").exists():
        return True
    tool = shutil.which("nvidia-smi")
    return tool is not None and subprocess.run([tool, "-L"], capture_output=True, check=False).returncode == 0


def hash_of(*parts: str | Path) -> str:
    """Hash of strings and of the content of files and folders."""
    digest = hashlib.sha256()
    for part in parts:
        files = [] if isinstance(part, str) else sorted(part.rglob("*")) if part.is_dir() else [part]
        digest.update(f"{part}\0".encode())
        for file in (file for file in files if file.is_file()):
            digest.update(f"{file}\0".encode() + file.read_bytes())
    return digest.hexdigest()


def run(*command: str | Path) -> None:
    """Run a command, its output visible."""
    subprocess.run([str(part) for part in command], cwd=ROOT, check=True)


def pip_install(*arguments: str | Path) -> None:
    """The only way to pip here, so that the constraints always hold."""
    run(PYTHON, "-m", "pip", "install", "--disable-pip-version-check", "-c", CONSTRAINTS, *arguments)


def requirements(*names: str) -> list[Path]:
    """Requirement files by what follows "requirements-" in their names."""
    return [ROOT / f"requirements-{name}.txt" for name in names]


def pins(prefix: str) -> list[str]:
    """Lines of the constraints that begin so."""
    return [line for line in CONSTRAINTS.read_text(encoding="utf-8").splitlines() if line.startswith(prefix)]


class Setup:
    """Runs stages that are not up to date and remembers which."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def stage(self, name: str, title: str, depends_on: Iterable[str | Path], action: Callable[[], None]) -> None:
        """Run `action` unless its stamp says that nothing in `depends_on` has changed."""
        key = hash_of(sys.version, str(VENV), *depends_on)
        stamp = STAMPS / name
        if stamp.is_file() and stamp.read_text(encoding="utf-8") == key:
            return
        print(f"\n== {title}")
        start = time.monotonic()
        action()
        STAMPS.mkdir(parents=True, exist_ok=True)
        stamp.write_text(key, encoding="utf-8")
        self.done.append(name)
        print(f"== done in {time.monotonic() - start:.0f} s")


def make_venv() -> None:
    """A new, empty .venv. From the base interpreter: the one running may be that of the .venv itself."""
    base = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    try:
        run(base if base.exists() else sys.executable, "-m", "venv", "--clear", VENV)
    except subprocess.CalledProcessError as error:
        raise SetupError(
            "Python cannot make virtual environments. Debian, Ubuntu: apt-get install python3-venv"
        ) from error


def install_torch(build: str, packages: list[str]) -> None:
    """Torch of the given build ("cpu", "cuda"), before anything that would choose one itself."""
    (torch,) = pins("torch==")
    if build == "cuda":
        run(PYTHON, "-m", "pip", "uninstall", "--yes", "--quiet", "torch")  # to pip a CPU build is as good
        pip_install(*packages, torch)
        return
    wanted = [*packages, f"{torch}+cpu"]
    print(f"Asking pip's own sources; if they have no CPU build, an error of pip and then {TORCH_CPU_INDEX} follow.")
    try:
        pip_install(*wanted)
    except subprocess.CalledProcessError:
        print(f"Asking {TORCH_CPU_INDEX}")
        pip_install("--extra-index-url", TORCH_CPU_INDEX, *wanted)


def build_vision_msgs() -> None:
    """Make vision_msgs importable: build it, unless someone else's is there."""
    ours = (STAMPS / "vision_msgs").is_file()
    probe = "from vision_msgs.msg import Detection2DArray as D; D.__class__.__import_type_support__()"
    if not ours and subprocess.run([PYTHON, "-c", probe], capture_output=True, check=False).returncode == 0:
        print("vision_msgs is importable already; left as it is.")
        return
    run(PYTHON, ROOT / "scripts" / "build_vision_msgs.py")


def install_detector() -> None:
    """Ultralytics, without the OpenCV that it asks for; see requirements-detector.txt."""
    print(LICENSE_NOTE)
    pip_install("--quiet", "-r", *requirements("detector"), "ultralytics-thop")
    pip_install("--quiet", "--no-deps", "ultralytics")


def remove_detector() -> None:
    """Leave no AGPL code behind in an environment that is said to have none."""
    stamp = STAMPS / "detector"
    if stamp.exists():
        print("\n== DETECTOR=none: removing ultralytics")
        run(PYTHON, "-m", "pip", "uninstall", "--yes", "ultralytics", "ultralytics-thop")
        stamp.unlink()


def set_up(detector: str, torch_build: str) -> None:
    """All stages, in order."""
    setup = Setup()
    extra = ["torchvision"] if detector != "none" else []
    general = requirements("ros", "dev", "train", "eval", "engine")
    setup.stage("venv", f"virtual environment {VENV}", (), make_venv)
    setup.stage(
        "torch", f"torch, {torch_build.upper()} build", (CONSTRAINTS, torch_build, *extra),
        lambda: install_torch(torch_build, extra),
    )  # fmt: skip
    setup.stage(
        "packages", "ROS 2 wheels and test tools (about a minute)", (CONSTRAINTS, *general),
        lambda: pip_install("--quiet", *(part for file in general for part in ("-r", file))),
    )  # fmt: skip
    sources: tuple[str | Path, ...] = (
        ROOT / "msgs" / "vision_msgs",
        ROOT / "scripts" / "build_vision_msgs.py",
        *pins("ros-"),
        *pins("numpy"),
    )
    setup.stage("vision_msgs", "vision_msgs, generated and compiled (about a minute)", sources, build_vision_msgs)
    if detector == "none":
        remove_detector()
    else:
        setup.stage("detector", "detector", (CONSTRAINTS, *requirements("detector")), install_detector)
    native = sorted((ROOT / "cldyn_core" / "engine" / "native").glob("*.[hc]*"))
    metadata = [CONSTRAINTS, *(ROOT / name for name in ("setup.py", "setup.cfg", "package.xml")), *native]
    setup.stage(
        "project", "the project itself, editable, its libraries and its C++ engine", metadata,
        lambda: pip_install("--quiet", "--no-build-isolation", "--editable", ROOT),
    )  # fmt: skip
    if setup.done:
        print("\n== check")
        run(PYTHON, ROOT / "scripts" / "check_setup.py", detector)


def main() -> int:
    """Exit status 1 and one clear message if something is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--detector", choices=("ultralytics", "none"), default="ultralytics")
    parser.add_argument("--torch", choices=("auto", "cpu", "cuda"), default="auto")
    arguments = parser.parse_args()
    start = time.monotonic()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    lock = os.open(ROOT, os.O_RDONLY)
    try:
        check_machine()
        fcntl.flock(lock, fcntl.LOCK_EX)  # a second make setup waits and then has nothing to do
        build = arguments.torch if arguments.torch != "auto" else "cuda" if has_nvidia_gpu() else "cpu"
        set_up(arguments.detector, build)
    except SetupError as error:
        print(f"\nset-up: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        command = " ".join(error.cmd)
        print(f"\nset-up: failed with status {error.returncode}: {command}\nThe reason is above.", file=sys.stderr)
        return 1
    print(f".venv is ready ({time.monotonic() - start:.1f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())

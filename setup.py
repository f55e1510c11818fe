"""Both Python packages, for colcon (ament_python) and for pip."""

from pathlib import Path

from setuptools import Extension, find_packages, setup

NAME = "cldyn_ros"


def shared(folder: str, pattern: str) -> tuple[str, list[str]]:
    """Files of a folder that ROS looks up in share/cldyn_ros/<folder>. Relative paths: setuptools wants them."""
    return f"share/{NAME}/{folder}", sorted(str(path) for path in Path(folder).glob(pattern))


NATIVE = Path("cldyn_core/engine/native")


def native_library() -> Extension:
    """The C++ engine, a plain shared library. Without a compiler it is left out, and another backend runs."""
    # isa_generic first: of functions of the standard library that several files contain, the linker takes the first.
    sources = ["isa_generic.cpp", "isa_avx2.cpp", "isa_avx512.cpp", "library.cpp"]
    return Extension(
        "cldyn_core.engine.native._cldyn",
        [str(NATIVE / source) for source in sources],
        depends=sorted(str(path) for path in NATIVE.glob("*.h")),
        extra_compile_args=["-O3", "-std=c++17", "-fvisibility=hidden", "-Wno-psabi", "-Wno-ignored-attributes", "-g0"],
        extra_link_args=["-pthread"],
        language="c++",
        optional=True,
    )


setup(
    name=NAME,
    version="0.1.0",
    description="Task-adaptive infrared-visible image fusion for ROS 2",
    license="Apache-2.0",
    maintainer="cldyn_ros maintainers",
    maintainer_email="cldyn-ros@users.noreply.github.com",
    python_requires=">=3.10",
    packages=find_packages(include=["cldyn_core*", "cldyn_ros*"]),
    package_data={
        "cldyn_core": [
            "py.typed",
            "data/splits/*.json",
            "report/charts.css",
            "report/report.*",
            "weights/*.json",
            "weights/*.safetensors",
            "weights/*/*.json",
            "weights/*/*.safetensors",
        ],
        "cldyn_ros": ["py.typed", "fastdds.xml"],
    },
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        shared("launch", "*.launch.py"),
        (f"share/{NAME}/sros2", ["config/sros2/policy.xml"]),
        shared("config", "*.yaml"),
        shared("config/foxglove", "*.json"),
        shared("config/rviz", "*.rviz"),
        shared("config/systemd", "*.service"),
    ],
    install_requires=["numpy", "opencv-python-headless", "PyYAML", "rosbags", "safetensors", "torch"],  # beside ROS
    extras_require={
        "test": ["hypothesis", "pytest", "pytest-timeout"],  # without pytest here colcon test runs no test
        "train": [
            "docstring-parser",
            "jsonargparse",
            "lightning-fabric",
            "pillow",
            "ruamel.yaml",
            "scipy",
            "tensorboard",
            "tqdm",
            "transformers",
        ],
        "eval": [
            "docstring-parser",
            "faster-coco-eval",
            "jinja2",
            "jsonargparse",
            "pysodmetrics",
            "ruamel.yaml",
            "scipy",
            "torchmetrics",
            "tqdm",
        ],
        "engine": ["nncf", "onnx", "onnxruntime", "onnxscript", "openvino"],
        "scale": ["ray[data]", "tqdm"],
    },
    ext_modules=[native_library()],
    zip_safe=False,
    entry_points={
        "console_scripts": [
            "calibrate = cldyn_core.calibrate.command:main",
            "cldyn = cldyn_core.cli:main",
            "demo = cldyn_ros.demo.__main__:main",
            "fusion_node = cldyn_ros.start:fusion_node",
            "replay = cldyn_ros.start:replay",
        ],
        # Commands that `cldyn` offers where ROS is installed; cldyn_core itself knows no ROS.
        "cldyn.commands": ["data to-bag = cldyn_ros.bags:add_to_bag_command"],
        "cldyn.sources": ["bag = cldyn_ros.fuse_bags"],
    },
)

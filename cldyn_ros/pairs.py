"""Several camera pairs in one process: a node for each, /<pair>/cldyn, that has topics and parameters of its own."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import rclpy
from rclpy.exceptions import InvalidNamespaceException
from rclpy.validate_namespace import validate_namespace


def pair_names(words: Sequence[str]) -> list[str]:
    """The names after --pairs among the command line's words that are not ROS's. Ends the process where they are
    wrong.
    """
    parser = argparse.ArgumentParser(prog="fusion_node", description="Fuse infrared and visible images.")
    parser.add_argument(
        "--pairs", default="", metavar="NAMES",
        help="run a node /<name>/cldyn for each of these, separated by commas; they share the networks' memory",
    )  # fmt: skip
    names = parser.parse_args(words).pairs.replace(",", " ").split()
    for name in names:
        try:
            validate_namespace(f"/{name}")
        except InvalidNamespaceException as error:
            parser.error(f"--pairs: {name!r} is no name for a namespace: {str(error).splitlines()[0]}")
    if len(set(names)) < len(names):
        parser.error(f"--pairs: a name is there twice in {', '.join(names)}")
    return names


def node_arguments(pairs: Sequence[str]) -> list[list[str] | None]:
    """ROS arguments of the node of each pair; without pairs, of the one node.

    They put it in a namespace below the one that the process was given, which would have been the node's.
    """
    if not pairs:
        return [None]
    probe = rclpy.create_node("cldyn", enable_rosout=False, start_parameter_services=False)
    base = probe.get_namespace().rstrip("/")
    probe.destroy_node()
    return [["--ros-args", "-r", f"__ns:={base}/{pair}"] for pair in pairs]

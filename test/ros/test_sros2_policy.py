"""The SROS2 policy allows what the running node does, and nothing else."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from ros_bench import MakeBench

POLICY = Path(__file__).resolve().parents[2] / "config" / "sros2" / "policy.xml"

Permissions = set[tuple[str, str]]
"""(kind of access, name)"""

_ACCESS = {"publish": "publisher", "subscribe": "subscriber", "reply": "service", "request": "client"}
"""Attribute of the policy -> as the ROS graph calls it."""


def allowed(namespace: str) -> Permissions:
    """What the policy allows, by full names, its profile put into a namespace ("/" or "/name")."""
    profile = ElementTree.parse(POLICY).getroot().find("enclaves/enclave[@path='/cldyn']/profiles/profile")
    assert profile is not None and profile.attrib == {"ns": "/", "node": "cldyn"}
    found = []
    for rules in profile:
        ((access, verdict),) = rules.attrib.items()
        assert verdict == "ALLOW" and {entry.tag for entry in rules} == {rules.tag.removesuffix("s")}
        found += [(access, _full_name(entry.text or "", namespace.rstrip("/") + "/")) for entry in rules]
    assert len(found) == len(set(found)), "the policy says something twice"
    return set(found)


def _full_name(name: str, prefix: str) -> str:
    """A name as sros2 expands it: "/x" is absolute, "~/x" the node's own, "x" the namespace's."""
    return name if name.startswith("/") else prefix + name.replace("~", "cldyn", 1)


def graph(client: Any, namespace: str) -> Permissions:
    """What the node has, by the ROS graph."""
    return {
        (access, name)
        for access, kind in _ACCESS.items()
        for name, _types in getattr(client, f"get_{kind}_names_and_types_by_node")("cldyn", namespace)
    }


def images(namespace: str, transport: str) -> Permissions:
    """The image subscriptions of one transport: those of the other are allowed, but not there."""
    below = "/compressed" if transport == "compressed" else ""
    return {("subscribe", f"{namespace}/{camera}/image_raw{below}") for camera in ("visible", "infrared")}


@pytest.mark.parametrize(("transport", "other"), [("raw", "compressed"), ("compressed", "raw")])
def test_policy_allows_exactly_what_the_node_does(make_bench: MakeBench, transport: str, other: str) -> None:
    namespace = f"/only_{transport}"  # the graph tells nodes apart by name: one of another test may linger in it
    cli_args = ["--ros-args", "-r", f"__ns:={namespace}"]
    bench = make_bench(cli_args=cli_args, image_transport=transport, use_sim_time=True)
    expected = allowed(namespace) - images(namespace, other)
    assert expected != allowed(namespace)
    assert wait_for_graph(bench.client, namespace, expected) == expected


def test_the_clock_is_listened_to_in_simulated_time_alone(make_bench: MakeBench) -> None:
    bench = make_bench(cli_args=["--ros-args", "-r", "__ns:=/robot"])
    expected = allowed("/robot") - images("/robot", "compressed") - {("subscribe", "/clock")}
    assert wait_for_graph(bench.client, "/robot", expected) == expected


def wait_for_graph(client: Any, namespace: str, expected: Permissions, timeout_s: float = 30.0) -> Permissions:
    """The graph as soon as it is as expected, else as it is after the timeout."""
    deadline = time.monotonic() + timeout_s
    while (found := graph(client, namespace)) != expected and time.monotonic() < deadline:
        time.sleep(0.02)
    return found

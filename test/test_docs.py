"""What the documents name is there: links, commands, launch arguments, parameters, topics, messages of the node."""

from __future__ import annotations

import argparse
import ast
import re
from functools import cache
from pathlib import Path

import pytest

from cldyn_core.cli import build_parser
from cldyn_ros.interface import INPUTS, OUTPUTS, SERVICES, table
from cldyn_ros.params import FIELDS

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "doc").glob("*.md"), *(ROOT / "config").rglob("*.md")])
GROUPS = {name.partition(".")[0] for name in FIELDS if "." in name}
FILE_ENDINGS = ("py", "md", "yaml", "json", "safetensors", "xml", "pt")
STANDARD_TOPICS = {"~/transition_event", "~/get_parameters", "~/list_parameters", "~/get_parameter_types"}


def code(page: Path, language: str) -> list[str]:
    """Fenced blocks of a language, with lines that go on joined."""
    text = page.read_text(encoding="utf-8")
    return [block.replace("\\\n", " ") for block in re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)]


def commands(page: Path) -> list[str]:
    """Lines of shell in fenced blocks, and code in the text."""
    lines = [line for block in code(page, "sh") for line in block.splitlines()]
    return lines + re.findall(r"`([^`\n]+)`", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```|`[^`\n]+`", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"\w+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def test_the_index_names_every_page() -> None:
    index = (ROOT / "doc" / "README.md").read_text(encoding="utf-8")
    missing = [page.name for page in (ROOT / "doc").glob("*.md") if f"({page.name})" not in index]
    assert missing == ["README.md"]


def test_tables_of_topics_and_services_are_those_of_the_code() -> None:
    page = (ROOT / "doc" / "node.md").read_text(encoding="utf-8")
    for entries in (INPUTS, OUTPUTS, SERVICES):
        assert table(entries) in page, "paste the output of python -m cldyn_ros.interface"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_parameters_topics_and_services_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z_]+\.[a-z_]+)(?:`|[: ])", text))
    named = {name for name in named if name.partition(".")[0] in GROUPS and not name.endswith(FILE_ENDINGS)}
    named |= set(re.findall(r"ros2 param (?:set|get) /cldyn ([\w.]+)", text)) | set(re.findall(r"-p ([\w.]+):=", text))
    assert named <= FIELDS.keys()
    names = {entry.name for entry in (*OUTPUTS, *SERVICES)} | STANDARD_TOPICS
    assert set(re.findall(r"`(~/[\w/]+)`", text)) <= names
    full = set(re.findall(r"(?<![\w:.])/cldyn/([a-z_]+(?:/[a-z_]+)*)", text))
    assert {f"~/{name.removesuffix('/data')}" for name in full} <= names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_and_launch_arguments_exist(page: Path) -> None:
    for line in commands(page):
        for words in re.findall(r"^(?:\.venv/bin/)?cldyn ((?:[a-z][a-z-]+ ?){1,2})", line):
            check_command(words.split())
        for file, rest in re.findall(r"ros2 launch cldyn_ros (\S+)(.*)", line):
            declared = launch_arguments(file) | launch_arguments("fusion.launch.py")
            assert set(re.findall(r" (\w+):=", rest)) <= declared, line


cldyn_parser = cache(build_parser)


def check_command(words: list[str]) -> None:
    """Fails for a command, or an action of one that has actions, that `cldyn` does not know."""
    parser: argparse.ArgumentParser | None = cldyn_parser()
    for word in words:
        choices = [a.choices for a in parser._actions if isinstance(a, argparse._SubParsersAction)] if parser else []
        if not choices:
            return
        assert word in choices[0], f"cldyn {' '.join(words)}"
        parser = choices[0][word]


def launch_arguments(file: str) -> set[str]:
    """Arguments that a launch file declares."""
    return set(re.findall(r'declare\("(\w+)"', (ROOT / "launch" / file).read_text(encoding="utf-8")))


def test_messages_of_the_checklist_are_the_node_s() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "cldyn_ros").glob("*.py")]
    said = [node.value for text in sources for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant)]
    rows = re.findall(r"^\| (`.+?) \| ", (ROOT / "doc" / "no_image.md").read_text(encoding="utf-8"), re.M)
    messages = [message for row in rows for message in re.findall(r"`([^`]+)`", row)]
    assert len(messages) > 10
    states = {"unconfigured", "inactive"}
    assert [m for m in messages if m not in states and not any(m in str(text) for text in said)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_in_the_pages_compiles(page: Path) -> None:
    for block in code(page, "python"):
        if block.lstrip().startswith('"'):  # a line of a table
            continue
        compile(block, str(page), "exec")

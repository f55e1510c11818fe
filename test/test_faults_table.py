"""doc/faults.md names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_every_test_of_the_table_exists_and_every_row_has_one() -> None:
    rows = [line for line in (ROOT / "doc/faults.md").read_text().splitlines() if line.startswith("| ")]
    faults = [row for row in rows if not row.startswith("| fault ")]
    assert len(faults) > 30
    sources = {path.name: path.read_text() for path in (ROOT / "test").rglob("test_*.py")}
    for row in faults:
        named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", row)
        assert named, f"no test proves: {row}"
        for file, test in named:
            assert re.search(rf"^def {test}\(", sources.get(file, ""), re.MULTILINE), f"{file} has no {test}"


def test_every_fault_injected_is_in_the_table() -> None:
    table = (ROOT / "doc/faults.md").read_text()
    for name in ("test_faults.py", "test_faults_engine.py"):
        for test in re.findall(r"^def (test_\w+)\(", (ROOT / "test/ros" / name).read_text(), re.MULTILINE):
            assert f"`{name}::{test}`" in table, f"doc/faults.md lacks {name}::{test}"

"""The JSON beside the fused images: how they were made, what failed, whether they are all there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cldyn_core import tasks
from cldyn_core.checkpoint import read_manifest, resolve_weights, write_whole
from cldyn_core.environment import environment
from cldyn_core.fuse.outputs import Output
from cldyn_core.fuse.pipeline import Outcome
from cldyn_core.fuse.sources import FrameSequence
from cldyn_core.types import EngineSettings, Task

FORMAT = "cldyn-fuse-1"


@dataclass(frozen=True)
class Recipe:
    """All that decides the fused images, as plain JSON. A run goes on where another one of the same recipe stopped."""

    source: list[str]
    pairing: dict[str, Any]
    """How images that are no files were paired; for an output of one file also how many pairs."""
    settings: dict[str, Any]
    weights: dict[str, str]
    """sha256 of the fusion network's and the task network's weights."""
    output: dict[str, Any]

    def differences(self, other: Mapping[str, Any]) -> list[str]:
        """Names of what is not the same in an earlier recipe, as `settings.task`."""
        mine = asdict(self)
        return [
            f"{part}.{name}" if isinstance(value, dict) else part
            for part, value in mine.items()
            for name in (value if isinstance(value, dict) else [part])
            if (value[name] if isinstance(value, dict) else value) != _look_up(other, part, name)
        ]


def make_recipe(
    source: Sequence[Path], sequences: Sequence[FrameSequence], settings: EngineSettings, output: Output
) -> Recipe:
    """Of this run. Raises FileNotFoundError and WeightsError for weights that are not there."""
    plain = {name: value for name, value in asdict(settings).items() if name != "device" and "weights" not in name}
    weights = {"fusion": _sha256(resolve_weights(settings.weights, "cldyn"))}
    if settings.task is not Task.NONE:
        chosen = tasks.weights_path(settings.task, tasks.weights_setting(settings.task, settings))
        weights[settings.task.value] = _sha256(chosen)
    pairing = {name: value for sequence in sequences for name, value in sequence.options().items()}
    if output.whole:
        pairing["pairs"] = sum(len(sequence) for sequence in sequences)
    files = [str(path.resolve()) for path in source]
    return Recipe(files, pairing, json.loads(json.dumps(plain)), weights, dict(output.options()))


@dataclass(frozen=True)
class Earlier:
    """What an earlier run into the same place left."""

    complete: bool
    failures: dict[str, str]


def read_earlier(path: Path, recipe: Recipe) -> Earlier | None:
    """The record of an earlier run; None without one. Raises ValueError if it followed another recipe."""
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"its format is {content['format']!r}")
        earlier = Earlier(bool(content["complete"]), dict(content["failures"]))
        differences = recipe.differences(content["recipe"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: is no record of `cldyn fuse` ({error}). Remedy: --overwrite") from error
    if differences:
        raise ValueError(
            f"{path}: what is there was fused with other {', '.join(differences)}. Remedy: --overwrite, or another -o"
        )
    return earlier


def write_record(path: Path, recipe: Recipe, outcome: Outcome, *, complete: bool, present: int) -> dict[str, Any]:
    """Write the record and return it. present: frames that an earlier run had finished."""
    seconds = outcome.seconds
    content = {
        "format": FORMAT,
        "complete": complete,
        "recipe": asdict(recipe),
        "counts": {
            "fused": outcome.fused,
            "present": present,
            "failed": len(outcome.failures),
            "left_out": {reason: count for reason, count in outcome.left_out.items() if count},
        },
        "failures": outcome.failures,
        "seconds": round(seconds, 3),
        "frames_per_second": round(outcome.fused / seconds, 3) if seconds > 0 else None,
        "times_real_time": round(outcome.recorded_s / seconds, 3) if seconds > 0 and outcome.recorded_s else None,
        "median_ms": outcome.median_ms(),
        "engine": outcome.engine,
        "environment": environment(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, (json.dumps(content, indent=2) + "\n").encode())
    return content


def summary(record: Mapping[str, Any]) -> str:
    """The record for people: a line of counts and speed, one of stages, one of what is missing."""
    counts = record["counts"]
    lines = [f"{counts['fused']} fused"]
    if counts["present"]:
        lines[0] += f", {counts['present']} were there"
    lines[0] += f", {counts['failed']} failed"
    if record["frames_per_second"]:
        lines[0] += f"; {record['seconds']:.1f} s, {record['frames_per_second']:.1f} frames/s"
    if record["times_real_time"]:
        lines[0] += f", {record['times_real_time']:.2f} times real time"
    if record["median_ms"]:
        lines.append("median ms: " + ", ".join(f"{name} {value:.1f}" for name, value in record["median_ms"].items()))
    lines += [f"left out: {count} {reason}" for reason, count in counts["left_out"].items()]
    return "\n".join(lines)


def _look_up(recipe: Mapping[str, Any], part: str, name: str) -> Any:
    value = recipe.get(part)
    return value.get(name) if isinstance(value, dict) else value


def _sha256(path: Path) -> str:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such weight file")
    return str(read_manifest(path)["sha256"])

"""What a training leaves behind: configuration, environment, metrics, TensorBoard events, state and weights."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor

from cldyn_core.checkpoint import write_whole
from cldyn_core.environment import environment

STATE = "state.safetensors"


def check_run(folder: Path, config: Mapping[str, Any], resume: bool) -> None:
    """Raise FileExistsError when a new run would overwrite another, FileNotFoundError when there is none to resume,
    ValueError when it was begun with another configuration.
    """
    if not resume:
        if folder.exists() and any(folder.iterdir()):
            raise FileExistsError(f"{folder} is not empty. Remedy: --resume true to go on, or another folder")
        return
    if not (folder / STATE).is_file():
        raise FileNotFoundError(f"{folder}: holds no {STATE} to resume from")
    stored = json.loads((folder / "config.json").read_text())
    changed = sorted(key for key in {**stored, **config} if stored.get(key) != config.get(key))
    if changed:
        raise ValueError(f"{folder}: a run is resumed as it was begun; changed: {', '.join(changed)}")


class RunFolder:
    """A folder with config.json, environment.json, metrics.csv, TensorBoard events and state.safetensors.

    writes: False in all but the first process of a training. Raises as `check_run` does.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any], resume: bool = False, writes: bool = True) -> None:
        self.folder, self.resumed, self._writes = folder, resume, writes
        if writes:
            check_run(folder, config, resume)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
            (folder / "environment.json").write_text(json.dumps(environment(), indent=2) + "\n")
        self._writer = _tensorboard(folder) if writes else None

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Append one row a value to metrics.csv (step, name, value), and to TensorBoard."""
        if not self._writes:
            return
        path = self.folder / "metrics.csv"
        new = not path.exists()
        with path.open("a", newline="") as file:
            rows = csv.writer(file)
            if new:
                rows.writerow(("step", "name", "value"))
            rows.writerows((step, name, repr(value)) for name, value in values.items())
        if self._writer:
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)

    def picture(self, step: int, name: str, image: np.ndarray) -> None:
        """Show an (H, W, 3) uint8 picture in TensorBoard."""
        if self._writer:
            self._writer.add_image(name, image, step, dataformats="HWC")

    def text(self, step: int, name: str, text: str) -> None:
        """Show a text in TensorBoard."""
        if self._writer:
            self._writer.add_text(name, text, step)

    def save_state(self, tensors: Mapping[str, Tensor], step: int, values: Mapping[str, float]) -> None:
        """Write all that a later `load_state` needs to go on, whole or not at all."""
        if not self._writes:
            return
        meta = {"step": str(step), "values": json.dumps(dict(values))}
        kept = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
        write_whole(self.folder / STATE, to_safetensors(kept, meta))

    def load_state(self) -> tuple[dict[str, Tensor], int, dict[str, float]]:
        """Tensors, step and values of the last `save_state`; later rows of metrics.csv are dropped."""
        with safe_open(self.folder / STATE, "pt") as file:
            meta = file.metadata()
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        step = int(meta["step"])
        path = self.folder / "metrics.csv"
        if self._writes and path.exists():
            head, *rows = path.read_text().splitlines(keepends=True)
            path.write_text(head + "".join(row for row in rows if int(row.split(",")[0]) <= step))
        return tensors, step, json.loads(meta["values"])

    def close(self) -> None:
        """Flush TensorBoard."""
        if self._writer:
            self._writer.close()


def _tensorboard(folder: Path) -> Any:
    """A SummaryWriter; None where tensorboard is not installed: metrics.csv holds the same figures."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder))

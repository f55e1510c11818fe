"""`cldyn train visual`: stage 1, the fusion network, on pairs without labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from cldyn_core.checkpoint import load_weights, resolve_weights
from cldyn_core.configuration import configure
from cldyn_core.model import CLDyN
from cldyn_core.train.cost import gflops
from cldyn_core.train.processes import Processes
from cldyn_core.train.reading import PairsRun, read_pairs
from cldyn_core.train.start import Prepared, train
from cldyn_core.train.visual import Visual, VisualTraining


@dataclass(frozen=True, kw_only=True)
class VisualRun(PairsRun):
    """All that a run of stage 1 can be told."""

    hold_out: float = 0.1
    """Share of every folder, with split share."""
    out: str = "runs/visual"
    """Folder of the run: configuration, environment, metrics, TensorBoard events, state, best weights."""
    init: str = ""
    """Weights to start from: default, paper (bundled ones) or path of a .safetensors file; empty: random ones."""
    recipe: VisualTraining = field(default_factory=VisualTraining)


def run_command(arguments: Sequence[str]) -> int:
    """Parse the arguments of `cldyn train visual` and train. Raises what the data and the weights do."""
    options = configure(VisualRun, arguments, "cldyn train visual", __doc__ or "", "folders")
    return train(options, lambda processes: _prepare(options, processes))


def _prepare(options: VisualRun, processes: Processes) -> Prepared:
    torch.manual_seed(options.recipe.seed)
    model = load_weights(resolve_weights(options.init, "cldyn")) if options.init else CLDyN().eval()
    pairs, held_out = read_pairs(options.data())
    cost = round(gflops(model.first_pass), 2) if processes.first else 0.0
    training = Visual(model.to(processes.device), pairs, held_out, options.recipe, processes)
    counts = f"{len(pairs)} pairs, {len(held_out)} held out"
    return Prepared(training, {"data": counts, "init": options.init, "gigaflops_of_a_frame_640x480": cost})

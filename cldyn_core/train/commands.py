"""`cldyn train`: the trainings that the bundled weights come from."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from cldyn_core.checkpoint import check_target, load_weights, read_manifest, save_weights
from cldyn_core.data.pairs import find_pairs
from cldyn_core.engine.allocator import keep_freed_memory
from cldyn_core.engine.engine import resolve_device
from cldyn_core.engine.prepare import infrared_8bit
from cldyn_core.engine.thermal import ThermalRange
from cldyn_core.model import CLDyN
from cldyn_core.train import closed_loop_command, task_command
from cldyn_core.train.arguments import count, share
from cldyn_core.train.detection_command import add_detection_command
from cldyn_core.train.reading import hold_out_last
from cldyn_core.train.visual import LumaPair, Progress, VisualTraining, judge_visual, train_visual
from cldyn_core.types import FramePair

CONFIGURED = {"task": task_command.run_command, "closed-loop": closed_loop_command.run_command}
"""Stages whose options come from dataclasses; each takes the arguments after its name."""


def add_train_commands(commands: Any) -> None:
    """Add `train visual | detection` to the sub-commands of a parser."""
    stages = commands.add_parser("train", help="train the networks").add_subparsers(required=True, metavar="stage")
    default = VisualTraining()
    visual = stages.add_parser("visual", help="stage 1: the fusion network, without labels")
    visual.add_argument(
        "folders", type=Path, nargs="+", help="folders of pairs; `cldyn data check` tells if one is fit"
    )
    visual.add_argument("-o", "--out", type=Path, required=True, help="the .safetensors to write")
    visual.add_argument("--init", type=Path, help="weights to start from (default: random)")
    visual.add_argument("--steps", type=count, default=default.steps)
    visual.add_argument("--batch", type=count, default=default.batch)
    visual.add_argument("--crop", type=count, default=default.crop, help="side of the training crops in pixels")
    visual.add_argument("--learning-rate", type=float, default=default.learning_rate)
    visual.add_argument(
        "--hold-out",
        type=share,
        default=0.0,
        metavar="SHARE",
        help="last part of every folder that is not trained on but judged at the end, e.g. 0.1",
    )
    visual.add_argument("--seed", type=int, default=default.seed)
    visual.add_argument("--device", default="auto", help="auto, cpu, cuda")
    visual.set_defaults(run=_train_visual)
    add_detection_command(stages)
    stages.add_parser("task", help="any task network on visible, infrared or fused images")
    stages.add_parser("closed-loop", help="stage 2: the compensation, with frozen task networks")


def _train_visual(args: argparse.Namespace) -> int:
    recipe = VisualTraining(args.steps, args.batch, args.crop, args.learning_rate, args.seed)
    check_target(args.out)
    keep_freed_memory()
    pairs, held_out = luma_pairs(args.folders, recipe.crop, args.hold_out)
    print(f"{len(pairs)} pairs of {len(args.folders)} folders, {len(held_out)} held out")
    torch.manual_seed(recipe.seed)
    model = load_weights(args.init) if args.init else CLDyN()
    model.to(resolve_device(args.device))
    train_visual(model.vfn, pairs, recipe, _print_progress(recipe))
    record: dict[str, Any] = {
        "stage": "visual",
        "data": [folder.name for folder in args.folders],
        "pairs": len(pairs),
        "recipe": asdict(recipe),
    }
    if args.init:
        record["init"] = read_manifest(args.init)["record"]
    if held_out:
        loss = {name: round(value, 5) for name, value in judge_visual(model.vfn, held_out).items()}
        record["held_out"] = {"pairs": len(held_out), "visual_loss": loss}
        print(f"visual loss of the pairs held out: {loss}")
    save_weights(model, args.out, record)
    print(f"written: {args.out}")
    return 0


def luma_pairs(folders: Sequence[Path], smallest: int, hold_out: float = 0.0) -> tuple[list[LumaPair], list[LumaPair]]:
    """Read all pairs as 8-bit infrared and visible luma -> (to train on, the last share of every folder).

    Pairs with a side under `smallest` pixels are left out.
    """
    train: list[LumaPair] = []
    held_out: list[LumaPair] = []
    for folder in folders:
        thermal = ThermalRange()
        found = [
            _luma_pair(p, thermal) for _, p in find_pairs(folder).iterate() if min(p.visible.shape[:2]) >= smallest
        ]
        kept, rest = hold_out_last(found, hold_out)
        train += kept
        held_out += rest
    return train, held_out


def _luma_pair(pair: FramePair, thermal: ThermalRange) -> LumaPair:
    return infrared_8bit(pair, thermal), np.asarray(cv2.cvtColor(pair.visible, cv2.COLOR_RGB2GRAY), np.uint8)


def _print_progress(recipe: VisualTraining) -> Any:
    def report(p: Progress) -> None:
        left = p.seconds / p.step * (recipe.steps - p.step)
        terms = f"intensity {p.intensity:.4f}, gradient {p.gradient:.4f}"
        print(f"step {p.step}/{recipe.steps}  loss {p.loss:.4f} ({terms})  {left:.0f} s left", flush=True)

    return report

"""`cldyn train detection`: the training that the bundled detector comes from."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from cldyn_core.checkpoint import check_target
from cldyn_core.engine import FusionEngine
from cldyn_core.tasks import save_network
from cldyn_core.train.arguments import count, share
from cldyn_core.train.detection_data import Mixture, read_labelled, render_labelled
from cldyn_core.train.tasks import DetectorProgress, DetectorTraining, judge_detector, start_from, train_detector
from cldyn_core.types import EngineSettings, LoopMode

_RENDERED_SIZE = (480, 640)


def add_detection_command(stages: Any) -> None:
    """Add `train detection` to the stages of `cldyn train`."""
    default = DetectorTraining()
    parser = stages.add_parser("detection", help="the detector, on labelled pairs fused by the fusion network")
    parser.add_argument(
        "folders", type=Path, nargs="*", help="folders of pairs with YOLO labels and a classes.txt (names as in M3FD)"
    )
    parser.add_argument("-o", "--out", type=Path, required=True, help="the .safetensors to write")
    parser.add_argument("--rendered", type=int, default=240, metavar="N", help="rendered frames to add (default 240)")
    parser.add_argument("--init", type=Path, help=".safetensors with the tensors of a trained YOLOv5n to start from")
    parser.add_argument("--license-note", default="", help="kept in the manifest: the license of --init, say")
    parser.add_argument("--fusion", default="default", help="weights of the fusion network (default: the bundled ones)")
    parser.add_argument("--steps", type=count, default=default.steps)
    parser.add_argument("--batch", type=count, default=default.batch)
    parser.add_argument("--learning-rate", type=float, default=default.learning_rate)
    parser.add_argument(
        "--hold-out", type=share, default=0.0, metavar="SHARE", help="last part of every folder, judged only"
    )
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train on the CPU and write the averaged detector."""
    from cldyn_core.tasks.detection import Detector

    recipe = DetectorTraining(args.steps, args.batch, learning_rate=args.learning_rate, seed=args.seed)
    check_target(args.out)
    engine = FusionEngine(EngineSettings(loop_mode=LoopMode.OPEN, weights=args.fusion, device="cpu"))
    groups = []
    held_out = []
    for folder in args.folders:
        train, rest = read_labelled(folder, engine, args.hold_out)
        print(f"{folder}: {len(train)} labelled pairs, {len(rest)} held out", flush=True)
        groups.append(train)
        held_out += rest
    groups.append(list(render_labelled(args.rendered, _RENDERED_SIZE, engine, partial(_show_rendered, args.rendered))))
    print()
    mixture = Mixture(groups)
    torch.manual_seed(recipe.seed)
    detector = Detector()
    if args.init:
        print(f"{start_from(detector, args.init)} tensors from {args.init}")
    train_detector(detector, mixture, recipe, lambda progress, _model: _show(progress, recipe))
    record: dict[str, Any] = {
        "stage": "detection",
        "data": {folder.name: len(group) for folder, group in zip(args.folders, groups, strict=False)},
        "rendered": args.rendered,
        "init": args.init.name if args.init else "",
        "license": args.license_note,
        "recipe": asdict(recipe),
    }
    if held_out:
        loss = round(judge_detector(detector, [pair.view(0) for pair in held_out]), 4)
        record["held_out"] = {"pairs": len(held_out), "loss": loss}
        print(f"mean loss of the {len(held_out)} pairs held out: {loss}")
    save_network(detector, args.out, record, half=True)  # as good here, and half as large
    print(f"written: {args.out}")
    return 0


def _show_rendered(total: int, done: int) -> None:
    print(f"\rrendered {done}/{total}", end="", flush=True)


def _show(progress: DetectorProgress, recipe: DetectorTraining) -> None:
    left = progress.seconds / progress.step * (recipe.steps - progress.step)
    print(f"step {progress.step}/{recipe.steps}  loss {progress.loss:.4f}  {left:.0f} s left", flush=True)

"""`cldyn train`: the trainings. Options come from dataclasses, by YAML file and command line."""

from __future__ import annotations

from typing import Any

from cldyn_core.train import closed_loop_command, joint_command, task_command, visual_command

TRAININGS = {
    "visual": visual_command.run_command,
    "task": task_command.run_command,
    "closed-loop": closed_loop_command.run_command,
    "joint": joint_command.run_command,
}
"""Each takes the arguments after its name."""


def add_train_commands(commands: Any) -> None:
    """Add `train visual | task | closed-loop | joint` to the sub-commands of a parser, for its help."""
    stages = commands.add_parser("train", help="train the networks").add_subparsers(required=True, metavar="stage")
    stages.add_parser("visual", help="stage 1: the fusion network, without labels")
    stages.add_parser("task", help="any task network on visible, infrared or fused images")
    stages.add_parser("closed-loop", help="stage 2: the compensation, with frozen fusion and task networks")
    stages.add_parser("joint", help="baseline: fusion and task networks together")

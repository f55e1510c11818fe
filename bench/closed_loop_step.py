"""Time of one stage-2 step against a straight transcription of the paper's order, turn by turn in one run.

The transcription loops over samples and branches, runs the whole selector without gradient, keeps nothing from one
pass to the next and asks the task network twice about the uncompensated image. Both draw the same pairs. Each way has
a process of its own, because one of the differences, the tuned allocator, is a property of the process.

    python bench/closed_loop_step.py --size 256 --batch 4 --steps 3
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cldyn_core import CLDyN, tasks
from cldyn_core.bench.reference_loop import inject
from cldyn_core.color import ycbcr_to_rgb
from cldyn_core.data.synthetic import CONDITIONS, SEMANTIC_CLASSES, SceneConfig, render_frame
from cldyn_core.engine.allocator import keep_freed_memory
from cldyn_core.train.closed_loop import ClosedLoop, ClosedLoopTraining
from cldyn_core.types import M3FD_CLASSES, Detections, LabelledPair, LabelMap, SaliencyMap, Task, as_pair_batch

NETWORKS = {Task.DETECTION: "yolov5n", Task.SEGMENTATION: "segformer-b0", Task.SALIENCY: "ctdnet-small"}


def rendered(task: Task, count: int, size: int) -> list[LabelledPair]:
    pairs = []
    for seed in range(count):
        frame = render_frame(SceneConfig(CONDITIONS[seed % len(CONDITIONS)], size, size, 1, seed=seed), 0)
        targets = {
            Task.DETECTION: Detections(frame.boxes, np.ones(len(frame.labels), np.float32), frame.labels, M3FD_CLASSES),
            Task.SEGMENTATION: LabelMap(frame.semantic, SEMANTIC_CLASSES),
            Task.SALIENCY: SaliencyMap(frame.saliency),
        }
        pairs.append(LabelledPair(frame.visible, frame.infrared, targets[task], f"scene {seed}"))
    return pairs


def make_loop(recipe: ClosedLoopTraining) -> ClosedLoop:
    names = {Task.DETECTION: M3FD_CLASSES, Task.SEGMENTATION: SEMANTIC_CLASSES, Task.SALIENCY: ()}
    networks = {task: tasks.build(model, names[task]) for task, model in NETWORKS.items()}
    data = {task: rendered(task, recipe.batch, recipe.size) for task in networks}
    loop = ClosedLoop(CLDyN(), networks, data, {task: pairs[:1] for task, pairs in data.items()}, recipe)
    loop.measure()
    return loop


def noisy(logits: Tensor) -> int:
    """The pick of training."""
    return int(F.gumbel_softmax(logits, tau=0.5, hard=True).argmax())


def transcribed_step(loop: ClosedLoop, step: int) -> None:
    model, rows = loop.model, []
    for task, network in loop.networks.items():
        pairs = loop.draws[task].batch(step)
        visible, infrared = as_pair_batch(pairs)
        targets = [pair.target for pair in pairs]
        with torch.no_grad():
            first = model.first_pass(visible, infrared).rgb.clamp(0, 1)
            feature = network.feature(first)
            before = network.losses(first, targets)
        begun = model.begin(visible, infrared)
        bank, depth = model.bank(), model.vfn.depth
        x_ir, x_vi = begun.infrared, begun.visible
        for i in range(depth - 1):
            x_ir, _ = inject(model.rsc_ir.blocks[i], bank, feature, x_ir, noisy)  # type: ignore[arg-type]
            x_vi, _ = inject(model.rsc_vi.blocks[i], bank, feature, x_vi, noisy)  # type: ignore[arg-type]
            x_ir, x_vi = model.vfn.encoder_ir.block(i + 1, x_ir), model.vfn.encoder_vi.block(i + 1, x_vi)
        luma = model.vfn.reconstruct(x_ir, x_vi)
        fused = ycbcr_to_rgb(torch.cat((luma, begun.ycbcr[:, 1:]), 1)).clamp(0, 1)
        after = network.losses(fused, targets)
        loss = (after + 5 * torch.relu(after - before)).mean()
        gradients = torch.autograd.grad(loss, loop.parameters, allow_unused=True)
        rows.append(torch.cat([g.flatten() for g in gradients if g is not None]))


WAYS: dict[str, tuple[bool, int, Callable[[ClosedLoop], Callable[[int], object]]]] = {  # tuned allocator, stride, step
    "ours": (True, 8, lambda loop: loop.gradients),
    "ours, every pixel": (True, 1, lambda loop: loop.gradients),
    "transcription": (False, 1, lambda loop: lambda step: transcribed_step(loop, step)),
    "transcription, tuned allocator": (True, 1, lambda loop: lambda step: transcribed_step(loop, step)),
}


def serve(name: str, size: int, batch: int, channel: Connection) -> None:
    """One way in its process: answers every step number with seconds, and with GiB at the end."""
    tuned, stride, way = WAYS[name]
    if tuned:
        keep_freed_memory()
    torch.manual_seed(0)
    step_of = way(make_loop(ClosedLoopTraining(batch=batch, size=size, selection_stride=stride)))
    channel.send(0.0)
    while step := channel.recv():
        start = time.perf_counter()
        step_of(step)
        channel.send(time.perf_counter() - start)
    channel.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), metavar="WAY", help=", ".join(WAYS))
    arguments = parser.parse_args()
    channels = {}
    context = get_context("spawn")
    for name in arguments.ways:
        channels[name], theirs = context.Pipe()
        context.Process(target=serve, args=(name, arguments.size, arguments.batch, theirs), daemon=True).start()
        channels[name].recv()
    times: dict[str, list[float]] = {name: [] for name in channels}
    for step in range(1, arguments.steps + 2):
        for name, channel in channels.items():
            channel.send(step)
            times[name].append(channel.recv())
    medians = {name: statistics.median(values[1:]) for name, values in times.items()}  # the first warms up
    print(f"{'':31}  median   peak memory")
    for name, median in medians.items():
        channels[name].send(0)
        ratios = [
            f"{other / median:.2f}x of {way}" for way, other in medians.items() if way.startswith("transcription")
        ]
        print(f"{name:31} {median:6.2f} s {channels[name].recv():5.1f} GiB  {', '.join(ratios)}")


if __name__ == "__main__":
    main()

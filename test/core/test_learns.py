"""That the trainings learn, on rendered streets: stage 1 beats average and maximum; the compensation of stage 2 lowers
the loss of frozen task networks. Judged on scenes that were neither trained on nor used to choose the weights.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from cldyn_core import CLDyN, EngineSettings, Task, tasks
from cldyn_core.checkpoint import load_weights, resolve_weights
from cldyn_core.data.synthetic import CONDITIONS, SEMANTIC_CLASSES, SceneConfig, render_frame
from cldyn_core.data.synthetic.config import RenderedFrame
from cldyn_core.engine.allocator import keep_freed_memory
from cldyn_core.tasks.base import TaskNetwork
from cldyn_core.train.closed_loop import ClosedLoop, ClosedLoopTraining
from cldyn_core.train.run import run
from cldyn_core.train.run_folder import RunFolder
from cldyn_core.train.task_network import TaskNetworkTraining, TaskTraining
from cldyn_core.train.visual import Visual, VisualTraining
from cldyn_core.types import M3FD_CLASSES, Detections, LabelledPair, LabelMap, SaliencyMap

TRAIN, VALIDATE, TEST = range(24), range(1000, 1006), range(2000, 2008)  # seeds of the scenes


@pytest.fixture(scope="module", autouse=True)
def _allocator() -> None:
    keep_freed_memory()


def scenes(task: Task, seeds: range) -> list[LabelledPair]:
    """Each of another street, in all conditions."""
    return [scene(task, seed) for seed in seeds]


@cache
def frame_of(seed: int) -> RenderedFrame:
    return render_frame(SceneConfig(CONDITIONS[seed % len(CONDITIONS)], 160, 128, 1, seed=seed), 0)


def scene(task: Task, seed: int) -> LabelledPair:
    frame = frame_of(seed)
    certain = np.ones(len(frame.labels), np.float32)
    targets = {
        Task.DETECTION: Detections(frame.boxes, certain, frame.labels, M3FD_CLASSES),
        Task.SEGMENTATION: LabelMap(frame.semantic, SEMANTIC_CLASSES),
        Task.SALIENCY: SaliencyMap(frame.saliency),
    }
    return LabelledPair(frame.visible, frame.infrared, targets.get(task), f"scene {seed}")


def bundled() -> CLDyN:
    return load_weights(resolve_weights("default", "cldyn"))


@pytest.mark.timeout(400)
def test_stage_one_beats_average_and_maximum(tmp_path: Path) -> None:
    torch.manual_seed(0)
    recipe = VisualTraining(steps=400, batch=4, size=64, learning_rate=4e-3, validate_every=200)
    training = Visual(CLDyN(), scenes(Task.NONE, TRAIN), scenes(Task.NONE, VALIDATE), recipe)
    run(training, RunFolder(tmp_path / "run", {}))
    best = load_weights(tmp_path / "run" / Visual.weights_file)
    figures = Visual(best, scenes(Task.NONE, TRAIN[:1]), scenes(Task.NONE, TEST), recipe).validate()
    assert figures["mean"] < figures["maximum"] < figures["average"]


@pytest.mark.timeout(400)
@pytest.mark.parametrize("task", [Task.DETECTION, Task.SEGMENTATION, Task.SALIENCY])
def test_stage_two_lowers_the_loss_of_a_frozen_task_network(task: Task, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = task_network(task, tmp_path)
    steps = 16 if task is Task.DETECTION else 8
    recipe = ClosedLoopTraining(steps, batch=4, size=96, selection_stride=4, validate_every=8)
    loop = ClosedLoop(bundled(), {task: network}, {task: scenes(task, TRAIN)}, {task: scenes(task, VALIDATE)}, recipe)
    run(loop, RunFolder(tmp_path / "loop", {}))
    best = load_weights(tmp_path / "loop" / ClosedLoop.weights_file)
    judge = ClosedLoop(best, {task: network}, {task: scenes(task, TRAIN[:1])}, {task: scenes(task, TEST)}, recipe)
    judge.measure()
    assert judge.validate()[task.value] < 0.995


def task_network(task: Task, folder: Path) -> TaskNetwork:
    """The bundled detector; the others learn half a minute to know infrared images, and are shown fused ones."""
    if task is Task.DETECTION:
        if reason := tasks.explain(task):
            pytest.skip(reason)
        return tasks.create(task, EngineSettings(), torch.device("cpu"))
    if task is Task.SEGMENTATION:
        pytest.importorskip("transformers")
        return trained(tasks.build("segformer-b0", SEMANTIC_CLASSES), 2e-3, folder)
    return trained(tasks.build("ctdnet-small", ()), 1e-3, folder)


def trained(network: TaskNetwork, learning_rate: float, folder: Path) -> TaskNetwork:
    """It, after learning something on infrared images."""
    task = network.task
    recipe = TaskTraining(60, batch=6, size=64, learning_rate=learning_rate, warmup=10, light=False, validate_every=40)
    training = TaskNetworkTraining(network, bundled(), scenes(task, TRAIN), scenes(task, VALIDATE), "infrared", recipe)
    start = training.validate()["mean"]
    run(training, RunFolder(folder / "task", {}))
    network = tasks.load_network(folder / "task" / TaskNetworkTraining.weights_file, torch.device("cpu"), task)
    judge = TaskNetworkTraining(network, bundled(), scenes(task, TRAIN[:1]), scenes(task, TEST), "infrared", recipe)
    assert judge.validate()["mean"] < 0.9 * start
    return network

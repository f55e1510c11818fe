"""DETR behind the task protocol: feature, losses, predictions, and how it is built."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from truth import boxes

from cldyn_core import Task, tasks
from cldyn_core.types import M3FD_CLASSES, EngineSettings

pytest.importorskip("transformers", reason="the detector's optional package is not installed")
pytest.importorskip("scipy", reason="the detector's optional package is not installed")

from cldyn_core.tasks.detr import Detr

TARGETS = [boxes((5, 5, 40, 50, 1), (30, 10, 60, 30, 0)), boxes(), boxes((20, 30, 90, 80, 5))]


@pytest.fixture(scope="module")
def built() -> Detr:
    torch.manual_seed(0)
    made = Detr("detr-r18", M3FD_CLASSES)
    made.module.eval()
    return made


@pytest.fixture
def detector(built: Detr) -> Detr:
    """Of its own for each test, to train or to alter; building one takes a second."""
    torch.manual_seed(0)
    return copy.deepcopy(built)


def head(detector: Detr) -> nn.Linear:
    network: Any = detector.module
    return network.class_labels_classifier


def as_authors_do(image: torch.Tensor) -> torch.Tensor:
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    return (image - mean) / std


def test_feature_is_the_encoder_s_output_as_a_map(detector: Detr) -> None:
    seen = []
    network: Any = detector.module
    hook = network.model.encoder.register_forward_hook(lambda _m, _i, out: seen.append(out.last_hidden_state))
    feature = detector.feature(torch.rand(2, 3, 65, 128))
    hook.remove()
    assert feature.shape == (2, 256, 3, 4)
    assert torch.equal(feature[:, :, 1, 2], seen[0][:, 6])


def test_the_image_is_normalized_as_detr_s_authors_do(detector: Detr) -> None:
    image = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        expected = detector.module(as_authors_do(image)).logits.softmax(-1)[0, :, :-1]
    detector.confidence = 0.0
    found = detector.predict(image)[0]
    best = expected.max(-1).values.sort(descending=True).values
    np.testing.assert_allclose(found.scores, best, atol=1e-4)


def test_losses_are_those_of_each_image_alone(detector: Detr) -> None:
    image = torch.rand(3, 3, 90, 100)
    with torch.no_grad():
        seen = detector.observe(image, TARGETS)
        alone = [detector.losses(image[i : i + 1], [TARGETS[i]])[0] for i in range(3)]
        torch.testing.assert_close(seen.feature, detector.feature(image), rtol=1e-4, atol=1e-4)
    assert seen.losses.shape == (3,)
    torch.testing.assert_close(seen.losses, torch.stack(alone), rtol=1e-4, atol=1e-4)


def test_with_one_layer_the_loss_is_the_model_s_own(detector: Detr) -> None:
    network: Any = detector.module
    network.model.decoder.layers = network.model.decoder.layers[:1]
    image = torch.rand(1, 3, 128, 160)
    label = {"class_labels": torch.tensor([2]), "boxes": torch.tensor([[0.5, 0.5, 0.25, 0.5]])}
    with torch.no_grad():
        expected = network(as_authors_do(image), labels=[label]).loss
        loss = detector.losses(image, [boxes((60, 32, 100, 96, 2))])
    torch.testing.assert_close(loss[0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("train", [False, True])
def test_losses_reach_the_image_and_every_weight(detector: Detr, train: bool) -> None:
    detector.module.train(train)
    image = torch.rand(3, 3, 90, 100, requires_grad=True)
    losses = detector.losses(image, TARGETS)
    losses.sum().backward()
    assert losses.shape == (3,) and losses.isfinite().all() and (losses > 0).all()
    assert image.grad is not None and (image.grad.abs().sum((1, 2, 3)) > 0).all()
    assert all(p.grad is not None for p in detector.module.parameters())


def test_without_boxes_only_the_answer_no_object_is_right(detector: Detr) -> None:
    with torch.no_grad():
        head(detector).bias[-1] += 20.0
        assert detector.losses(torch.rand(1, 3, 64, 64), [boxes()]).item() < 1e-4
        head(detector).bias[3] += 40.0
        assert detector.losses(torch.rand(1, 3, 64, 64), [boxes()]).item() > 10.0


def test_classes_that_were_not_annotated_are_not_punished(detector: Detr) -> None:
    image = torch.rand(1, 3, 64, 64)
    detector.losses(image, [boxes(annotated=(0, 1))]).sum().backward()
    assert head(detector).bias.grad.sign().tolist() == [1, 1, -1, -1, -1, -1, -1]  # type: ignore[union-attr]
    with torch.no_grad():
        head(detector).bias[3] += 20.0  # all queries say lamp
        assert detector.losses(image, [boxes(annotated=(0, 1))]).item() < 1e-4
        whole = detector.losses(image, [boxes()])
        torch.testing.assert_close(detector.losses(image, [boxes(annotated=tuple(range(6)))]), whole)


@pytest.mark.parametrize("size", [(33, 165), (7, 5), (64, 64)])
@pytest.mark.parametrize("train", [False, True])
def test_predictions_stay_in_the_image_and_come_best_first(detector: Detr, size: tuple[int, int], train: bool) -> None:
    detector.module.train(train)
    detector.confidence = 0.0
    found = detector.predict(torch.rand(2, 3, *size))[1]
    assert found.boxes.shape == (len(found.labels), 4) and 0 < len(found.labels) <= 100
    assert found.names == M3FD_CLASSES and found.scores.dtype == found.boxes.dtype == np.float32
    assert found.boxes.min() >= 0
    assert found.boxes[:, [0, 2]].max() <= size[1] and found.boxes[:, [1, 3]].max() <= size[0]
    assert (np.diff(found.scores) <= 0).all() and found.labels.max() < len(M3FD_CLASSES)


def test_the_confidence_comes_from_the_settings(detector: Detr) -> None:
    detector.configure(EngineSettings(detector_confidence=0.999))
    found = detector.predict(torch.rand(1, 3, 64, 64))[0]
    assert found.boxes.shape == (0, 4) and found.scores.shape == found.labels.shape == (0,)


def test_learns_two_pictures(detector: Detr) -> None:
    image = torch.rand(2, 3, 96, 128, generator=torch.Generator().manual_seed(1)) * 0.2
    image[0, :, 20:70, 20:60] += 0.8
    image[1, 0, 30:90, 70:120] += 0.8
    targets = [boxes((20, 20, 60, 70, 1)), boxes((70, 30, 120, 90, 4))]
    detector.module.train()
    optimizer = torch.optim.AdamW(detector.module.parameters(), lr=3e-4)
    seen = []
    for _ in range(10):
        optimizer.zero_grad()
        loss = detector.losses(image, targets).mean()
        loss.backward()
        nn.utils.clip_grad_norm_(detector.module.parameters(), 0.1)
        optimizer.step()
        seen.append(loss.item())
    assert seen[-1] < 0.4 * seen[0]
    detector.confidence = 0.0
    for found, target in zip(detector.predict(image), targets, strict=True):
        assert found.labels[0] == target.labels[0]
        np.testing.assert_allclose(found.boxes[0], target.boxes[0], atol=20)


def test_weights_come_back(tmp_path: Path, detector: Detr) -> None:
    tasks.save_network(detector, tmp_path / "d.safetensors", {})
    loaded = tasks.load_network(tmp_path / "d.safetensors", torch.device("cpu"), Task.DETECTION)
    assert isinstance(loaded, Detr) and (loaded.model, loaded.names) == ("detr-r18", M3FD_CLASSES)
    image = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        assert torch.equal(loaded.losses(image, TARGETS[:1]), detector.losses(image, TARGETS[:1]))


def test_the_large_one_is_the_authors() -> None:
    network: Any = tasks.build("detr-r50", M3FD_CLASSES).module
    assert 41e6 < sum(p.numel() for p in network.parameters()) < 42e6  # table 1 of the paper
    assert sum(isinstance(m, nn.BatchNorm2d) for m in network.modules()) == 53


def test_unknown_models_are_refused() -> None:
    assert Detr.models() == ("detr-r18", "detr-r50")
    with pytest.raises(ValueError, match=r"unknown detector 'facebook/x'.*detr-r18"):
        Detr("facebook/x", M3FD_CLASSES)

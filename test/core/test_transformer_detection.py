"""RT-DETR behind the task protocol: feature, losses, predictions, and how it is built."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from truth import boxes

from cldyn_core.types import M3FD_CLASSES, EngineSettings

pytest.importorskip("transformers", reason="the detector's optional package is not installed")
pytest.importorskip("scipy", reason="the detector's optional package is not installed")

from cldyn_core.tasks.transformer_detection import TransformerDetector


@pytest.fixture(scope="module")
def built() -> TransformerDetector:
    torch.manual_seed(0)
    made = TransformerDetector("rtdetr-r18", M3FD_CLASSES)
    made.module.eval()
    return made


@pytest.fixture
def detector(built: TransformerDetector) -> TransformerDetector:
    """Of its own for each test, to train or to alter; building one takes a second."""
    torch.manual_seed(0)
    return copy.deepcopy(built)


TARGETS = [boxes((5, 5, 40, 50, 1), (30, 10, 60, 30, 0)), boxes(), boxes((20, 30, 90, 80, 5))]


def test_feature_is_the_encoder_s_stride_32_map(detector: TransformerDetector) -> None:
    seen = []
    block = detector.module.model.encoder.pan_blocks[-1]  # type: ignore[union-attr,index]
    hook = block.register_forward_hook(lambda _m, _i, out: seen.append(out))  # type: ignore[union-attr]
    feature = detector.feature(torch.rand(2, 3, 129, 192))
    hook.remove()
    assert feature.shape == (2, 256, 5, 6) and torch.equal(feature, seen[0])
    assert detector.feature(torch.rand(1, 3, 40, 150)).shape == (1, 256, 4, 5)


def test_losses_are_those_of_each_image_alone(detector: TransformerDetector) -> None:
    image = torch.rand(3, 3, 100, 140)
    with torch.no_grad():
        seen = detector.observe(image, TARGETS)
        alone = [detector.losses(image[i : i + 1], [TARGETS[i]])[0] for i in range(3)]
        torch.testing.assert_close(seen.feature, detector.feature(image))
    assert seen.losses.shape == (3,)
    torch.testing.assert_close(seen.losses, torch.stack(alone), rtol=1e-4, atol=1e-4)


def test_the_loss_of_one_image_is_the_model_s_own(detector: TransformerDetector) -> None:
    image = torch.rand(1, 3, 128, 160)
    label = {"class_labels": torch.tensor([2]), "boxes": torch.tensor([[0.5, 0.5, 0.25, 0.5]])}
    with torch.no_grad():
        expected = detector.module(image, labels=[label]).loss
        loss = detector.losses(image, [boxes((60, 32, 100, 96, 2))])
    torch.testing.assert_close(loss[0], expected)


@pytest.mark.parametrize("train", [False, True])
def test_losses_reach_the_image(detector: TransformerDetector, train: bool) -> None:
    detector.module.train(train)
    image = torch.rand(3, 3, 100, 140, requires_grad=True)
    losses = detector.losses(image, TARGETS)
    losses.sum().backward()
    assert losses.shape == (3,) and losses.isfinite().all() and (losses > 0).all()
    assert image.grad is not None and (image.grad.abs().sum((1, 2, 3)) > 0).all()


@pytest.mark.parametrize("train", [False, True])
def test_classes_that_were_not_annotated_teach_nothing(detector: TransformerDetector, train: bool) -> None:
    detector.module.train(train)
    detector.losses(torch.rand(1, 3, 100, 140), [boxes((5, 5, 40, 50, 1), annotated=(0, 1))]).sum().backward()
    model: Any = detector.module.model
    for head in (*model.decoder.class_embed, model.enc_score_head):
        assert (head.bias.grad != 0).tolist() == [True, True, False, False, False, False]


def test_a_batch_without_boxes_has_a_loss_in_training(detector: TransformerDetector) -> None:
    detector.module.train()
    assert detector.losses(torch.rand(2, 3, 64, 64), [boxes(), boxes()]).isfinite().all()


@pytest.mark.parametrize("size", [(33, 165), (7, 5), (128, 128)])
@pytest.mark.parametrize("train", [False, True])
def test_predictions_stay_in_the_image_and_come_best_first(
    detector: TransformerDetector, size: tuple[int, int], train: bool
) -> None:
    detector.module.train(train)
    detector.confidence = 0.0
    found = detector.predict(torch.rand(2, 3, *size))[1]
    assert found.boxes.shape == (len(found.labels), 4) and 0 < len(found.labels) <= 300
    assert found.names == M3FD_CLASSES and found.scores.dtype == found.boxes.dtype == np.float32
    assert found.boxes.min() >= 0
    assert found.boxes[:, [0, 2]].max() <= size[1] and found.boxes[:, [1, 3]].max() <= size[0]
    assert (np.diff(found.scores) <= 0).all() and found.labels.max() < len(M3FD_CLASSES)


def test_the_confidence_comes_from_the_settings(detector: TransformerDetector) -> None:
    detector.configure(EngineSettings(detector_confidence=0.999))
    found = detector.predict(torch.rand(1, 3, 64, 64))[0]
    assert found.boxes.shape == (0, 4) and found.scores.shape == found.labels.shape == (0,)


def test_learns_one_picture(detector: TransformerDetector) -> None:
    image = torch.rand(1, 3, 120, 150, generator=torch.Generator().manual_seed(1)) * 0.2
    image[:, :, 20:70, 40:110] += 0.8
    target = boxes((40, 20, 110, 70, 1))
    detector.module.train()
    optimizer = torch.optim.AdamW(detector.module.parameters(), lr=1e-3)
    for _ in range(14):
        optimizer.zero_grad()
        detector.losses(image, [target]).sum().backward()
        torch.nn.utils.clip_grad_norm_(detector.module.parameters(), 0.5)
        optimizer.step()
    detector.confidence = 0.0
    best = detector.predict(image)[0]
    assert best.labels[0] == 1
    np.testing.assert_allclose(best.boxes[0], target.boxes[0], atol=18)


def test_unknown_models_are_refused() -> None:
    assert TransformerDetector.models()[0] == "rtdetr-r18"
    with pytest.raises(ValueError, match=r"unknown detector 'PekingU/x'.*rtdetr-r18"):
        TransformerDetector("PekingU/x", M3FD_CLASSES)


def test_missing_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    assert TransformerDetector.missing() == ""
    monkeypatch.setattr("cldyn_core.packages.find_spec", lambda _name: None)
    assert "pip install transformers==5.23.0 scipy" in TransformerDetector.missing()

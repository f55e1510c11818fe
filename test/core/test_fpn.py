"""The small convolutional networks for label maps and saliency: shapes, the backbone's names, and that they learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from shared_data import SHARED

from cldyn_core import tasks
from cldyn_core.tasks.fpn_saliency import FpnSaliency
from cldyn_core.tasks.fpn_segmentation import FpnSegmenter
from cldyn_core.train.task_command import start_from
from cldyn_core.types import LabelMap, SaliencyMap, Task

NAMES = ("background", "person")


@pytest.fixture
def segmenter() -> FpnSegmenter:
    torch.manual_seed(0)
    return FpnSegmenter("csp-fpn", NAMES)


def disc(size: int = 64) -> tuple[torch.Tensor, LabelMap]:
    y, x = np.mgrid[:size, :size]
    inside = (x - 40) ** 2 + (y - 30) ** 2 < 100
    image = torch.from_numpy(np.where(inside, 0.9, 0.2).astype(np.float32)).expand(1, 3, -1, -1)
    return image, LabelMap(inside.astype(np.uint8), NAMES)


@pytest.mark.parametrize("size", [(64, 96), (50, 70), (33, 31)])
def test_any_size_gives_a_class_a_pixel_and_a_feature_of_stride_32(
    segmenter: FpnSegmenter, size: tuple[int, int]
) -> None:
    segmenter.module.eval()
    answer = segmenter.answer(torch.rand(2, 3, *size))
    assert answer.feature.shape == (2, 256, -(-size[0] // 32), -(-size[1] // 32))
    for found in answer.outputs:
        assert isinstance(found, LabelMap)
        assert (found.classes.shape, found.names) == (size, NAMES)


def test_it_learns_and_comes_back_from_its_file(segmenter: FpnSegmenter, tmp_path: Path) -> None:
    image, target = disc()
    mirrored = LabelMap(target.classes[:, ::-1].copy(), NAMES)
    optimizer = torch.optim.Adam(segmenter.module.parameters(), 1e-3)
    segmenter.balance = 0.5
    segmenter.module.train()
    for _ in range(150):  # its norms remember some thirty steps
        optimizer.zero_grad()
        segmenter.losses(torch.cat((image, image.flip(3))), [target, mirrored]).mean().backward()
        optimizer.step()
    segmenter.module.eval()
    (found,) = segmenter.predict(image)
    assert isinstance(found, LabelMap)
    union = (found.classes == 1) | (target.classes == 1)
    assert ((found.classes == 1) & (target.classes == 1)).sum() > 0.3 * union.sum()  # by its running statistics
    tasks.save_network(segmenter, tmp_path / "segmenter.safetensors", {})
    again = tasks.load_network(tmp_path / "segmenter.safetensors", torch.device("cpu"), Task.SEGMENTATION)
    assert torch.equal(again.feature(image), segmenter.feature(image))


def test_saliency_learns_and_comes_back_from_its_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = FpnSaliency()
    image, target = disc()
    truth = SaliencyMap(255 * target.classes)
    optimizer = torch.optim.Adam(network.module.parameters(), 1e-3)
    network.module.train()
    start = float(network.losses(torch.cat((image, 1 - image)), [truth, truth]).mean())
    for _ in range(90):
        optimizer.zero_grad()
        loss = network.losses(torch.cat((image, image.flip(3))), [truth, SaliencyMap(truth.values[:, ::-1].copy())])
        loss.mean().backward()
        optimizer.step()
    assert float(loss.mean()) < 0.5 * start
    network.module.eval()
    answer = network.answer(image)
    (found,) = answer.outputs
    assert isinstance(found, SaliencyMap)
    assert found.values.shape == (64, 64)
    assert answer.feature.shape == (1, 256, 2, 2)
    assert torch.equal(network.observe(image, [truth]).losses, network.losses(image, [truth]))
    tasks.save_network(network, tmp_path / "saliency.safetensors", {})
    again = tasks.load_network(tmp_path / "saliency.safetensors", torch.device("cpu"), Task.SALIENCY)
    assert torch.equal(again.feature(image), network.feature(image))


def test_every_parameter_learns(segmenter: FpnSegmenter) -> None:
    image, target = disc(96)
    segmenter.module.train()
    segmenter.losses(torch.cat((image, 1 - image)), [target, target]).mean().backward()
    silent = [name for name, p in segmenter.module.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


def test_what_it_cannot_build_is_said() -> None:
    with pytest.raises(ValueError, match="unknown segmenter 'unet'; known: csp-fpn"):
        FpnSegmenter("unet", NAMES)
    with pytest.raises(ValueError, match="unknown saliency network 'unet'; known: csp-fpn-saliency"):
        FpnSaliency("unet")
    with pytest.raises(ValueError, match="needs 1 to 255 class names, not 0"):
        FpnSegmenter("csp-fpn", ())


@pytest.mark.skipif(SHARED is None, reason="needs the shared data")
def test_its_backbone_takes_a_trained_one(segmenter: FpnSegmenter) -> None:
    assert SHARED is not None
    path = SHARED / "data/weights/yolov5n_coco.safetensors"
    backbone = [name for name in segmenter.module.state_dict() if name.startswith("model.")]
    assert start_from(segmenter, path) == len(backbone)

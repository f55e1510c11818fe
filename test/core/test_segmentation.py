"""SegFormer behind the task protocol: feature, losses, predictions, and how it is built."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from cldyn_core.types import IGNORED, LabelMap

pytest.importorskip("transformers", reason="the segmenter's optional package is not installed")

from cldyn_core.tasks.segmentation import Segmenter

NAMES = ("road", "car", "person")


@pytest.fixture(scope="module")
def built() -> Segmenter:
    torch.manual_seed(0)
    made = Segmenter("segformer-b0", NAMES)
    made.module.eval()
    return made


@pytest.fixture
def segmenter(built: Segmenter) -> Segmenter:
    """Of its own for each test, to train or to alter; building one takes a second."""
    torch.manual_seed(0)
    return copy.deepcopy(built)


def labels(height: int, width: int, seed: int = 0) -> LabelMap:
    classes = np.random.default_rng(seed).integers(0, len(NAMES), (height, width)).astype(np.uint8)
    return LabelMap(classes, NAMES)


def test_feature_is_the_last_layer_norm_of_stage_4_token_major(segmenter: Segmenter) -> None:
    norms = [m for m in segmenter.module.modules() if isinstance(m, torch.nn.LayerNorm)]
    seen = []
    hook = norms[-1].register_forward_hook(lambda _m, _i, out: seen.append(out))
    feature = segmenter.feature(torch.rand(2, 3, 64, 96))
    hook.remove()
    assert feature.shape == (2, 2 * 3, 256)
    torch.testing.assert_close(feature, seen[-1].reshape(feature.shape))


def test_the_image_is_normalized_as_section_8_says(segmenter: Segmenter) -> None:
    seen = []
    hook = segmenter.module.register_forward_pre_hook(lambda _m, inputs: seen.append(inputs[0]))
    segmenter.feature(torch.ones(1, 3, 32, 32))
    hook.remove()
    expected = [(255 - 123.675) / 58.395, (255 - 116.28) / 57.12, (255 - 103.53) / 57.375]
    torch.testing.assert_close(seen[0][0, :, 5, 7], torch.tensor(expected))


def test_losses_are_those_of_each_image_alone(segmenter: Segmenter) -> None:
    image = torch.rand(3, 3, 40, 50)
    targets = [labels(40, 50, 1), labels(40, 50, 2), LabelMap(np.full((40, 50), IGNORED, np.uint8), NAMES)]
    targets[0].classes[:, :30] = IGNORED
    with torch.no_grad():
        losses = segmenter.losses(image, targets)
        alone = [segmenter.losses(image[i : i + 1], [targets[i]])[0] for i in range(3)]
        seen = segmenter.observe(image, targets)
        torch.testing.assert_close(seen.feature, segmenter.feature(image))
    torch.testing.assert_close(losses, torch.stack(alone))
    torch.testing.assert_close(seen.losses, losses)
    assert losses.shape == (3,) and losses[2] == 0 and (losses[:2] > 0.1).all()


@pytest.mark.parametrize("balance", [0.0, 0.5, 1.0])
def test_balance_says_how_much_a_small_class_counts(segmenter: Segmenter, balance: float) -> None:
    classes = np.zeros((64, 64), np.uint8)
    classes[:4, :16], classes[60:] = 1, IGNORED
    image = torch.rand(1, 3, 64, 64)
    segmenter.balance = balance
    with torch.no_grad():
        parts = {}
        for label in (0, 1):
            only = np.where(classes == label, classes, IGNORED).astype(np.uint8)
            parts[label] = float(segmenter.losses(image, [LabelMap(only, NAMES)])[0])
        whole = float(segmenter.losses(image, [LabelMap(classes, NAMES)])[0])
    large, small = (60 * 64 - 64) ** (1 - balance), 64 ** (1 - balance)
    assert whole == pytest.approx((large * parts[0] + small * parts[1]) / (large + small), rel=1e-4)


def test_ignored_pixels_do_not_matter_and_the_others_reach_the_image(segmenter: Segmenter) -> None:
    image = torch.rand(1, 3, 64, 64, requires_grad=True)
    target = labels(64, 64)
    target.classes[:32] = IGNORED
    loss = segmenter.losses(image, [target])[0]
    with torch.no_grad():
        logits = segmenter.module(_normalized(image)).logits
        full = torch.nn.functional.interpolate(logits, (64, 64), mode="bilinear", align_corners=False)[:, :, 32:]
        expected = torch.nn.functional.cross_entropy(full, torch.from_numpy(target.classes[None, 32:]).long())
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert image.grad is not None and float(image.grad.abs().sum()) > 0


def _normalized(image: torch.Tensor) -> torch.Tensor:
    mean, std = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])
    return (image * 255 - mean[:, None, None]) / std[:, None, None]


@pytest.mark.parametrize("size", [(33, 65), (7, 5), (64, 64)])
@pytest.mark.parametrize("train", [False, True])
def test_any_image_size(segmenter: Segmenter, size: tuple[int, int], train: bool) -> None:
    segmenter.module.train(train)
    found = segmenter.predict(torch.rand(2, 3, *size))
    assert len(found) == 2 and all(f.classes.shape == size and f.classes.dtype == np.uint8 for f in found)
    assert found[0].classes.max() < len(NAMES) and found[0].names == NAMES
    assert segmenter.losses(torch.rand(1, 3, *size), [labels(*size)]).isfinite().all()


def test_learns_one_picture(segmenter: Segmenter) -> None:
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 0.2
    target = LabelMap(np.zeros((64, 64), np.uint8), NAMES)
    target.classes[:, 32:], target.classes[32:, :16] = 1, 2
    image[:, 0, :, 32:] += 0.8
    image[:, 1, 32:, :16] += 0.8
    segmenter.module.train()
    optimizer = torch.optim.Adam(segmenter.module.parameters(), lr=1e-3)
    for _ in range(40):
        optimizer.zero_grad()
        segmenter.losses(image, [target]).sum().backward()
        optimizer.step()
    assert (segmenter.predict(image)[0].classes == target.classes).mean() > 0.9


def test_models_have_the_sizes_of_the_paper_and_others_are_refused() -> None:
    assert Segmenter.models() == tuple(f"segformer-b{i}" for i in range(6))
    paper = Segmenter("segformer-b2", NAMES)
    assert sum(p.numel() for p in paper.module.parameters()) == pytest.approx(27.4e6, rel=0.01)
    assert paper.architecture == {"model": "segformer-b2", "names": list(NAMES)}
    with pytest.raises(ValueError, match=r"unknown segmenter 'nvidia/x'.*segformer-b5"):
        Segmenter("nvidia/x", NAMES)
    with pytest.raises(ValueError, match="class names"):
        Segmenter("segformer-b0", ())


def test_missing_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Segmenter.missing() == ""
    monkeypatch.setattr("cldyn_core.packages.find_spec", lambda _name: None)
    assert "pip install transformers==" in Segmenter.missing()


def test_building_uses_no_network_and_leaves_torchvision_alone(tmp_path: Path) -> None:
    code = (
        "import sys, socket\n"
        "def refuse(*a, **k): raise OSError('network use')\n"
        "socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse\n"
        "from cldyn_core.tasks.detr import Detr\n"
        "from cldyn_core.tasks.segmentation import Segmenter\n"
        "from cldyn_core.tasks.transformer_detection import TransformerDetector\n"
        "assert 'transformers' not in sys.modules\n"
        "Segmenter('segformer-b0', ['a'])\n"
        "TransformerDetector('rtdetr-r18', ['a'])\n"
        "Detr('detr-r18', ['a'])\n"
        "assert 'torchvision' not in sys.modules\n"
    )
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "" and not [p for p in tmp_path.rglob("*") if p.is_file()]

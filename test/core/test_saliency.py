"""CTDNet against the recorded reference, and the saliency network behind the task protocol."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from shared_data import SHARED

from cldyn_core.tasks.ctdnet import CTDNet
from cldyn_core.tasks.saliency import SaliencyNetwork, edge_of
from cldyn_core.types import SaliencyMap


def square(height: int, width: int) -> SaliencyMap:
    values = np.zeros((height, width), np.uint8)
    values[height // 4 : height // 2, width // 4 : width // 2] = 255
    return SaliencyMap(values)


def network() -> SaliencyNetwork:
    torch.manual_seed(0)
    made = SaliencyNetwork("ctdnet-small")
    made.module.eval()
    return made


@pytest.mark.skipif(SHARED is None, reason="no recorded reference values on this machine")
def test_names_shapes_and_outputs_of_the_reference() -> None:
    from safetensors.torch import load_file

    assert SHARED is not None
    lines = (SHARED / "design/keys_ctdnet18.txt").read_text().splitlines()
    model = CTDNet().eval()
    state = model.state_dict()
    assert {k: str(tuple(v.shape)) for k, v in state.items()} == dict(line.split("\t") for line in lines if line)
    for k, name in enumerate(sorted(state)):
        value = state[name]
        if value.is_floating_point():
            wave = torch.sin(torch.arange(1, value.numel() + 1, dtype=torch.float64) * (0.7 + 0.013 * k))
            state[name] = formula(name, value, wave.float().view(value.shape))
    model.load_state_dict(state)
    golden = load_file(SHARED / "golden/ctdnet18.safetensors")
    with torch.no_grad():
        seen = model(golden["in"])
    found = {"feature": seen.feature, "mask": seen.mask, "edge": seen.edge}
    found |= dict(zip(("p12x", "p1", "p12", "p11"), seen.side, strict=True))
    for name, value in found.items():
        # Convolutions of another backend differ by 2.6e-4 of the magnitude, as far as the recording is from float64.
        tolerance = 5e-4 * float(golden[name].abs().max())
        torch.testing.assert_close(value, golden[name], rtol=0, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}")


def formula(name: str, value: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
    if name.endswith("running_var"):
        return 1 + 0.5 * s
    if value.ndim == 4:
        return s * (8 / (value.shape[1] * value.shape[2] * value.shape[3])) ** 0.5
    return 1 + 0.2 * s if name.endswith("weight") else 0.1 * s


def test_published_size() -> None:
    assert sum(p.numel() for p in CTDNet().parameters()) == 11_825_368


@pytest.mark.parametrize("size", [(33, 70), (7, 5), (64, 96)])
def test_any_size(size: tuple[int, int]) -> None:
    with torch.no_grad():
        found = network().predict(torch.rand(2, 3, *size))
    assert [f.values.shape for f in found] == [size, size] and found[0].values.dtype == np.uint8


def test_each_image_has_its_own_loss_and_reaches_the_image() -> None:
    saliency = network()
    image = torch.rand(2, 3, 40, 64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    targets = [square(40, 64), SaliencyMap(np.zeros((40, 64), np.uint8))]
    seen = saliency.observe(image, targets)
    alone = torch.cat([saliency.losses(image[i : i + 1], targets[i : i + 1]) for i in range(2)])
    torch.testing.assert_close(seen.losses, alone, rtol=1e-4, atol=1e-5)
    assert seen.feature.shape == (2, 32, 16, 16)
    seen.losses[0].backward()
    assert image.grad is not None and image.grad[0].abs().sum() > 0 and image.grad[1].abs().sum() == 0


def test_feature_and_loss_are_the_published_ones() -> None:
    saliency, target = network(), square(32, 64)
    image = torch.rand(1, 3, 32, 64, generator=torch.Generator().manual_seed(2))
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((124.55, 118.90, 102.94), (56.77, 55.97, 57.50)))
    with torch.no_grad():
        seen, found = saliency.module((255 * image - mean) / std), saliency.observe(image, [target])
    torch.testing.assert_close(found.feature, seen.feature, rtol=0, atol=1e-3 * float(seen.feature.abs().max()))
    truth = target.values / 255.0

    def likelihood_loss(logits: torch.Tensor, wanted: np.ndarray) -> float:
        p = 1 / (1 + np.exp(-logits[0, 0].double().numpy()))
        return float(-np.log(np.where(wanted > 0.5, p, 1 - p)).mean())

    def region_loss(logits: torch.Tensor) -> float:
        p = 1 / (1 + np.exp(-logits[0, 0].double().numpy()))
        both = (p * truth).sum()
        return 1 - (both + 1) / (p.sum() + truth.sum() - both + 1) + 0.6 * likelihood_loss(logits, truth)

    edge = edge_of(torch.from_numpy(truth)[None, None])[0, 0].numpy()
    expected = region_loss(seen.mask) + likelihood_loss(seen.edge, edge)
    expected += sum(region_loss(logits) / 2**k for k, logits in enumerate(seen.side, start=1))
    assert found.losses.item() == pytest.approx(expected, rel=1e-4)


def test_training_on_one_image_is_refused() -> None:
    saliency = network()
    saliency.module.train()
    with pytest.raises(ValueError, match="at least 2 images"):
        saliency.losses(torch.rand(1, 3, 64, 64), [square(64, 64)])


def test_the_edge_surrounds_the_mask() -> None:
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., 2:6, 2:6] = 1
    edge = edge_of(mask)
    assert edge.sum() == 36 - 4 and edge[0, 0, 3, 3] == 0 and edge[0, 0, 1, 1] == edge[0, 0, 2, 2] == 1


def test_it_learns_one_picture() -> None:
    saliency, target = network(), square(64, 64)
    image = 0.2 + 0.6 * torch.from_numpy(target.values / 255).float().expand(2, 3, 64, 64)
    saliency.module.train()
    optimizer = torch.optim.Adam(saliency.module.parameters(), lr=2e-3)
    losses = []
    for _ in range(15):
        optimizer.zero_grad()
        loss = saliency.losses(image, [target, target]).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


def test_an_unknown_network_is_refused() -> None:
    with pytest.raises(ValueError, match="ctdnet-small, ctdnet18"):
        SaliencyNetwork("u2net")

"""CLDyN once more, written for clarity alone: one image at a time, loops, no shortcuts, reference tensor names.

An oracle for the real network: it shares no code with it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

Tensors = Mapping[str, Tensor]
_SOBEL = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]], dtype=torch.float64) / 8


def random_tensors(encoder_blocks: int, branches: int, seed: int) -> dict[str, Tensor]:
    """A whole checkpoint under the reference's names: random weights and statistics, zero convolution not zero."""
    from cldyn_core import CLDyN
    from cldyn_core.model import Architecture
    from cldyn_core.reference import to_reference_name

    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, value in CLDyN(Architecture(encoder_blocks, branches)).state_dict().items():
        random = torch.randn(value.shape, generator=generator)
        fan_in = max(1, math.prod(value.shape[1:]))
        if "num_batches" in name:
            tensors[to_reference_name(name)] = value
        elif name.endswith("running_var"):
            tensors[to_reference_name(name)] = 0.5 + random.abs()
        elif value.ndim == 1:
            tensors[to_reference_name(name)] = (1.0 if name.endswith("weight") else 0.0) + 0.2 * random
        else:
            tensors[to_reference_name(name)] = random * (1.5 / fan_in) ** 0.5
    return tensors


def naive_forward(tensors: Tensors, visible: Tensor, infrared: Tensor, task: Tensor) -> tuple[Tensor, Tensor, list]:
    """First-pass luma, compensated luma (B, 1, H, W) and choices [image][call] -> [(configuration, vector), ...]."""
    t = {k: v.double() for k, v in tensors.items()}
    first, second, choices = [], [], []
    for b in range(len(visible)):
        rgb, ir = visible[b : b + 1].double(), infrared[b : b + 1].double()
        y = 0.299 * rgb[:, 0:1] + 0.587 * rgb[:, 1:2] + 0.114 * rgb[:, 2:3]
        first.append(_fuse(t, ir, y, None, []))
        chosen: list = []
        second.append(_fuse(t, ir, y, task[b : b + 1].double(), chosen))
        choices.append(chosen)
    return torch.cat(first), torch.cat(second), choices


def _fuse(t: Tensors, ir: Tensor, y: Tensor, task: Tensor | None, chosen: list) -> Tensor:
    depth = len({k.split(".")[2] for k in t if k.startswith("vfn.ir_feb.e")})
    x = {"ir": ir, "vi": y}
    for i in range(depth):
        for m in ("ir", "vi"):
            feb = f"vfn.{m}_feb."
            if i == 0:
                x[m] = _lrelu(_bn(t, feb + "bfe.1", _conv(t, feb + "bfe.0", x[m], reflect=True)))
                x[m] = _lrelu(_bn(t, feb + "bfe.4", _conv(t, feb + "bfe.3", x[m], reflect=True)))
            x[m] = _conv_block(t, f"{feb}e{i}", x[m])
            if task is not None and i < depth - 1:
                x[m] = _a2si(t, f"rsc_{m}.a2si{i}.", x[m], task, chosen)
    both = torch.cat((x["ir"], x["vi"]), 1)
    padded = F.pad(both, (1, 1, 1, 1), mode="replicate")
    gradient = sum(F.conv2d(padded, k.repeat(16, 1, 1, 1), groups=16).abs() for k in (_SOBEL, _SOBEL.T))
    channel = _mlp(t, "vfn.frb1.mlp_aa", gradient.mean((2, 3))) + _mlp(t, "vfn.frb1.mlp_ma", gradient.amax((2, 3)))
    spatial: Tensor | float = 0.0
    for name, pooled in (("mean", F.avg_pool2d(gradient, 3, 1, 1)), ("max", F.max_pool2d(gradient, 3, 1, 1))):
        hidden = torch.relu(_conv(t, f"vfn.frb1.conv_{name}_a.0", pooled, reflect=True))
        spatial = spatial + _conv(t, f"vfn.frb1.conv_{name}_a.2", hidden, reflect=True)
    z = both * torch.sigmoid(channel[:, :, None, None] * spatial)
    z = _lrelu(_bn(t, "vfn.frb2.f_conv.1", _conv(t, "vfn.frb2.f_conv.0", z, reflect=True)))
    for i in range(depth):
        z = _conv_block(t, f"vfn.frb2.d{i}", z)
    z = _lrelu(_bn(t, "vfn.frb2.res.1", _conv(t, "vfn.frb2.res.0", z, reflect=True)))
    return (torch.tanh(_conv(t, "vfn.frb2.res.3", z, reflect=True)) + 1) / 2


def _a2si(t: Tensors, p: str, x: Tensor, task: Tensor, chosen: list) -> Tensor:
    bank = t["bvb"].reshape(4, 32, 256)
    flat = task.reshape(1, 1, -1)
    tau = _sequence(t, p + "p_task_f", flat)
    v = _lrelu(_bn(t, p + "p_img_f.1", _conv(t, p + "p_img_f.0", x))).mean((2, 3))[0]
    a = _mlp(t, p + "a_task_img", torch.cat((tau, v)))
    branches = len(a) // 16
    a = a.reshape(16, branches)
    prototypes = t[p + "orthogonal_convolutional_prototypes"]
    configurations = [
        max(range(4), key=lambda c, m=m: float(F.cosine_similarity(prototypes[c], a[:, m], dim=0)))
        for m in range(branches)
    ]
    normalized = flat / ((flat**2).mean().sqrt() + 1e-8)
    image = _lrelu(_bn(t, p + "bv_f.p_img_f.1", _conv(t, p + "bv_f.p_img_f.0", x)))
    image = _lrelu(_bn(t, p + "bv_f.p_img_f.4", _conv(t, p + "bv_f.p_img_f.3", image))).mean((2, 3))[0]
    q = _mlp(t, p + "bv_f.mlp", torch.cat((_sequence(t, p + "bv_f.p_task_f", normalized), image)))
    total, call = torch.zeros_like(x), []
    for m, c in enumerate(configurations):
        similarity = F.cosine_similarity(q[None], bank[c], dim=1)
        rank = sum(other == c for other in configurations[:m])
        vector = int(sorted(range(32), key=lambda n: -float(similarity[n]))[rank])
        call.append((c, vector))
        kernel = _mlp(t, p + ("mlp_1x1" if c == 0 else "mlp_3x3"), bank[c, vector])
        size = 1 if c == 0 else 3
        out = F.conv2d(x, kernel.reshape(8, 8, size, size), padding=c if c else 0, dilation=max(c, 1))
        total = total + _lrelu(_bn(t, p + "B_LR.0", out))
    chosen.append(call)
    return x + _conv(t, p + "zc", total / branches)


def _conv_block(t: Tensors, p: str, x: Tensor) -> Tensor:
    u1 = _lrelu(_bn(t, p + ".Dcov1.1", _conv(t, p + ".Dcov1.0", x, dilation=2)))
    a = torch.cat((x, u1), 1)
    u2 = _lrelu(_bn(t, p + ".Dcov2.1", _conv(t, p + ".Dcov2.0", a, dilation=2)))
    return x + _lrelu(_conv(t, p + ".conv", torch.cat((a, u2), 1)))


def _sequence(t: Tensors, p: str, flat: Tensor) -> Tensor:
    hidden = _lrelu(F.conv1d(flat, t[p + ".0.weight"], padding=1))
    return F.conv1d(hidden, t[p + ".2.weight"], padding=1).mean(-1)[0]


def _conv(t: Tensors, p: str, x: Tensor, dilation: int = 1, reflect: bool = False) -> Tensor:
    weight, bias = t[p + ".weight"], t.get(p + ".bias")
    padding = dilation * (weight.shape[-1] // 2)
    if reflect:
        x, padding = F.pad(x, (1, 1, 1, 1), mode="reflect"), 0
    return F.conv2d(x, weight, bias, padding=padding, dilation=dilation)


def _bn(t: Tensors, p: str, x: Tensor) -> Tensor:
    shape = (1, -1, 1, 1)
    scale = t[p + ".weight"] / torch.sqrt(t[p + ".running_var"] + 1e-5)
    return (x - t[p + ".running_mean"].view(shape)) * scale.view(shape) + t[p + ".bias"].view(shape)


def _mlp(t: Tensors, p: str, x: Tensor) -> Tensor:
    """Linear, LayerNorm if there is one, ReLU, Linear."""
    hidden = F.linear(x, t[p + ".0.weight"], t[p + ".0.bias"])
    last = 2
    if p + ".3.weight" in t:
        hidden = F.layer_norm(hidden, hidden.shape[-1:], t[p + ".1.weight"], t[p + ".1.bias"])
        last = 3
    return F.linear(torch.relu(hidden), t[f"{p}.{last}.weight"], t[f"{p}.{last}.bias"])


def _lrelu(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2)

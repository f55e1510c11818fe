"""doc/metrics.md, from the registry: `python -m cldyn_core.metrics.page > doc/metrics.md`."""

from __future__ import annotations

import inspect

from cldyn_core.metrics.fusion import ALIASES, FUSION_METRICS, PAPER_FIVE

_HEAD = """# Fusion metrics

Generated from `cldyn_core/metrics/` by `python -m cldyn_core.metrics.page > doc/metrics.md`; do not edit.

Each is a function `metric(infrared, visible, fused) -> float` on 8-bit luma, (H, W) uint8 arrays of one size:

```python
from cldyn_core.metrics.fusion import luma8, qabf, score

qabf(infrared, luma8(visible), luma8(fused))
score(infrared, luma8(visible), luma8(fused), ["mi", "qabf", "ssim_sum"])   # shares what they have in common
```

Luma is 0.299 R + 0.587 G + 0.114 B, rounded to 8 bits; other weights, or the mean over color channels, move some by
a quarter. Everything is computed in float64. Where a metric has no value (constant images, images smaller than its
windows) it is nan and a `FusionMetricWarning` says so; tables leave such images out, and say how many they count.

`cldyn_core.metrics.batched` has the same as torchmetrics classes on (B, H, W) tensors of any device.
`python bench/fusion_metrics.py` measures them.

More is better (↑), less is better (↓). The CLDyN paper reports {five}.

| name | | metric | from | what, and where other programs differ |
|---|---|---|---|---|
"""


def markdown() -> str:
    """The page."""
    lines = []
    for name, metric in FUSION_METRICS.items():
        also = "".join(f" (`{alias}`)" for alias, of in ALIASES.items() if of == name)
        better = {True: "↑", False: "↓", None: ""}[metric.higher_is_better]
        text = " ".join(inspect.cleandoc(metric.function.__doc__ or "").split()).replace("|", "\\|")
        lines.append(f"| `{name}`{also} | {better} | {metric.title} | {metric.source} | {text} |")
    five = ", ".join(f"`{name}`" for name in PAPER_FIVE)
    return _HEAD.format(five=five) + "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")

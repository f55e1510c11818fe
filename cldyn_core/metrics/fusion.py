"""How well a fused image keeps its sources: the metrics of the field on 8-bit luma, as exactly defined functions.

Every metric is `metric(infrared, visible, fused) -> float` on (H, W) uint8 arrays of one size, computed in float64.
Other types or sizes raise ValueError. Where a metric has no value (constant images, images smaller than its windows)
it returns what its docstring says, or nan, with one FusionMetricWarning.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from math import inf, isnan
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from cldyn_core.metrics import fidelity, gradient, information, intensity, mutual_features, perception, structure
from cldyn_core.metrics.triple import Luma, Triple


class FusionMetricWarning(UserWarning):
    """A metric has no value on these images."""


@dataclass(frozen=True)
class FusionMetric:
    """One metric of the registry."""

    name: str
    function: Callable[..., float]
    """(infrared, visible, fused) -> value."""
    higher_is_better: bool | None
    """None: neither."""
    title: str
    """Short, for tables."""
    source: str
    """The paper it comes from."""
    measure: Callable[[Triple], float]
    """The same on images that are checked already and share their maps with other metrics."""


def luma8(rgb: NDArray[np.uint8]) -> Luma:
    """(H, W, 3) RGB -> (H, W) luma, 0.299 R + 0.587 G + 0.114 B, rounded. Raises ValueError for other arrays."""
    if not isinstance(rgb, np.ndarray) or rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
        got = f"{rgb.dtype} {rgb.shape}" if isinstance(rgb, np.ndarray) else type(rgb).__name__
        raise ValueError(f"an (H, W, 3) uint8 RGB array is needed, not {got}: a grey image needs no luma8")
    red, green, blue = (rgb[..., channel].astype(np.uint32) for channel in range(3))
    return ((299 * red + 587 * green + 114 * blue + 500) // 1000).astype(np.uint8)


def score(infrared: Luma, visible: Luma, fused: Luma, names: Iterable[str]) -> dict[str, float]:
    """Several metrics of one triple by name (or alias), in the order given; the same values as the functions', faster.

    Raises ValueError for an unknown name or as the functions do.
    """
    metrics = {name: find_metric(name) for name in names}
    triple = Triple(infrared, visible, fused)
    return _measured(triple, {name: metric.measure for name, metric in metrics.items()})


def find_metric(name: str) -> FusionMetric:
    """By name or alias. Raises ValueError that lists the names."""
    metric = FUSION_METRICS.get(ALIASES.get(name, name))
    if metric is None:
        raise ValueError(f'no fusion metric "{name}": choose from {", ".join((*FUSION_METRICS, *ALIASES))}')
    return metric


def _measured(triple: Triple, measures: Mapping[str, Callable[[Triple], float]]) -> dict[str, float]:
    values = {name: measure(triple) for name, measure in measures.items()}
    missing = [name for name, value in values.items() if isnan(value) or value == -inf]
    if missing:
        height, width = triple.luma[0].shape
        reason = "an image is constant, equals another one or is too small for the windows"
        message = f"no value of {', '.join(missing)} on {width}x{height} pixels: {reason}"
        warnings.warn(message, FusionMetricWarning, stacklevel=3)
    return values


def _entry(measure: Callable[..., float], higher_is_better: bool | None, title: str, source: str) -> FusionMetric:
    name = measure.__name__

    def function(infrared: Luma, visible: Luma, fused: Luma, **options: str) -> float:
        return _measured(Triple(infrared, visible, fused), {name: partial(measure, **options)})[name]

    function.__name__ = function.__qualname__ = name
    function.__doc__ = measure.__doc__
    return FusionMetric(name, function, higher_is_better, title, source, measure)


FUSION_METRICS: Mapping[str, FusionMetric] = MappingProxyType(
    {
        entry.name: entry
        for entry in (
            _entry(information.mi, True, "MI, bits", "Qu, Zhang and Yan, 2002"),
            _entry(gradient.qabf, True, "Q_AB/F", "Xydeas and Petrovic, 2000"),
            _entry(perception.qcb, True, "Q_CB", "Chen and Blum, 2009"),
            _entry(perception.qcv, False, "Q_CV", "Chen and Varshney, 2007"),
            _entry(intensity.cc, True, "CC", "Pearson correlation; the CLDyN paper's Q_CC, as we read it"),
            _entry(information.en, True, "EN, bits", "Roberts, van Aardt and Ahmed, 2008"),
            _entry(intensity.sd, True, "SD", "standard deviation"),
            _entry(gradient.sf, True, "SF", "Eskicioglu and Fisher, 1995"),
            _entry(gradient.ag, True, "AG", "Cui et al., 2015"),
            _entry(gradient.ei, True, "EI", "Rajalingam and Priya, 2018"),
            _entry(information.ce, False, "CE, bits", "Bulanon, Burks and Alchanatis, 2009"),
            _entry(intensity.scd, True, "SCD", "Aslantas and Bendes, 2015"),
            _entry(fidelity.vif, True, "VIF", "Sheikh and Bovik, 2006"),
            _entry(fidelity.viff, True, "VIFF", "Han et al., 2013"),
            _entry(structure.ssim_sum, True, "SSIM, sum", "Wang et al., 2004"),
            _entry(structure.ms_ssim, True, "MS-SSIM (MEF)", "Ma, Zeng and Wang, 2015"),
            _entry(structure.qy, True, "Q_Y", "Yang et al., 2008"),
            _entry(structure.qc, True, "Q_C", "Cvejic, Bull and Canagarajah, 2006"),
            _entry(structure.qw, True, "Q_W", "Piella and Heijmans, 2003"),
            _entry(intensity.mse, False, "MSE", "mean squared error"),
            _entry(intensity.psnr, True, "PSNR, dB", "peak signal-to-noise ratio"),
            _entry(information.qnmi, True, "Q_NMI", "Hossny, Nahavandi and Creighton, 2008"),
            _entry(information.qncie, True, "Q_NCIE", "Wang, Shen and Zhang, 2005"),
            _entry(gradient.nabf, False, "N_AB/F", "Shreyamsha Kumar, 2013"),
            _entry(mutual_features.fmi, True, "FMI", "Haghighat and Razian, 2014"),
        )
    }
)
ALIASES: Mapping[str, str] = MappingProxyType({"qcc": "cc"})
PAPER_FIVE = ("mi", "qabf", "qcb", "qcv", "cc")
"""Of the CLDyN paper's tables; its Q_CC is cc here."""

# The functions themselves, to call by name.
mi, qabf, qcb, qcv, cc = (FUSION_METRICS[name].function for name in PAPER_FIVE)
en, sd, sf, ag, ei, ce, scd = (FUSION_METRICS[name].function for name in ("en", "sd", "sf", "ag", "ei", "ce", "scd"))
vif, viff, ssim_sum, ms_ssim = (FUSION_METRICS[name].function for name in ("vif", "viff", "ssim_sum", "ms_ssim"))
mse, psnr, qnmi, qncie = (FUSION_METRICS[name].function for name in ("mse", "psnr", "qnmi", "qncie"))
qy, qc, qw, nabf, fmi = (FUSION_METRICS[name].function for name in ("qy", "qc", "qw", "nabf", "fmi"))

"""Salient object detection by pysodmetrics: F-measure and E-measure (mean, adaptive, max), S-measure, MAE.

pysodmetrics stretches every prediction to its own minimum and maximum before it scores: a map that is gray all over
counts like a sure one. That is the common practice; `stretch=False` scores the map as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import nan
from typing import Any

import numpy as np

from cldyn_core.metrics.statistics import Statistic, Weights, weighted_mean
from cldyn_core.types import SaliencyMap

_BETA_SQUARED = 0.3
_SINGLE = {"s_measure": "s", "mae": "mae", "f_adaptive": "f_adaptive", "e_adaptive": "e_adaptive"}


def saliency_record(found: SaliencyMap, truth: SaliencyMap, stretch: bool = True) -> dict[str, Any]:
    """One image: "s", "mae", "f_adaptive", "e_adaptive", and "f" and "e" at the thresholds 255 to 0. The truth is what
    is above 128.

    Raises ValueError for maps of different sizes.
    """
    from py_sod_metrics import MAE, Emeasure, FmeasureHandler, FmeasureV2, Smeasure

    if found.values.shape != truth.values.shape:
        raise ValueError(
            f"the answer is {found.values.shape}, its ground truth {truth.values.shape}. "
            "Remedy: bring the answer to the size of the ground truth"
        )
    pair = (found.values, truth.values) if stretch else (found.values / 255.0, truth.values > 128)
    handler = FmeasureHandler(beta=_BETA_SQUARED, with_dynamic=True, with_adaptive=True)
    measures = {"f": FmeasureV2({"f": handler}), "e": Emeasure(), "s": Smeasure(), "mae": MAE()}
    for measure in measures.values():
        measure.step(*pair, normalize=stretch)
    f, e = measures["f"].get_results()["f"], measures["e"].get_results()["em"]
    return {
        "s": float(measures["s"].get_results()["sm"]),
        "mae": float(measures["mae"].get_results()["mae"]),
        "f_adaptive": float(f["adaptive"]),
        "e_adaptive": float(e["adp"]),
        "f": np.asarray(f["dynamic"], np.float64).tolist(),
        "e": np.asarray(e["curve"], np.float64).tolist(),
    }


class SaliencyFigures:
    """f_mean, f_adaptive, f_max, e_mean, e_adaptive, e_max, s_measure, mae of (resampled) images; nan without any.

    Mean and max are over the thresholds of the images' mean curve; adaptive ones take twice the map's mean. F-measure:
    Achanta et al., CVPR 2009; E-measure: Fan et al., IJCAI 2018; S-measure: Fan et al., ICCV 2017; MAE: Perazzi et al.,
    CVPR 2012.
    """

    KEYS = ("f_mean", "f_adaptive", "f_max", "e_mean", "e_adaptive", "e_max", "s_measure", "mae")

    def __init__(self, records: Sequence[Mapping[str, Any]]) -> None:
        self._records = records
        self._curves = {kind: np.array([record[kind] for record in records]).reshape(-1, 256) for kind in ("f", "e")}

    def figures(self) -> dict[str, float]:
        """All figures of all images."""
        every = np.ones(len(self._records))
        return {key: self.statistic(key)(every) for key in self.KEYS}

    def statistic(self, key: str) -> Statistic:
        """One of KEYS of weighted images."""
        if key in _SINGLE:
            return weighted_mean([record[_SINGLE[key]] for record in self._records])
        curves, reduce = self._curves[key[0]], np.max if key.endswith("max") else np.mean

        def figure(weights: Weights) -> float:
            total = float(weights.sum())
            return float(reduce(weights @ curves / total)) if total else nan

        return figure

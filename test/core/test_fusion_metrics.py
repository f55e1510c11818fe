"""Fusion metrics: recorded values of public code, symmetry, identical and hopeless images, errors.

The recorded values are of Octave and Python runs of several implementations; where those of one definition disagree
(0 / 0 and rounding noise), one of them is met. The Octave runs read the two-level infrared image of e6_saturated as 0
and 1.
"""

from __future__ import annotations

import csv
import math
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from shared_data import SHARED

from cldyn_core.metrics.fusion import ALIASES, FUSION_METRICS, PAPER_FIVE, FusionMetricWarning, fmi, luma8, score
from cldyn_core.metrics.page import markdown
from cldyn_core.metrics.triple import Luma

GOLDEN = SHARED / "metrics" / "golden" if SHARED else Path()
RECORDED = (GOLDEN / "tolerances.csv").is_file()
needs_golden = pytest.mark.skipif(not RECORDED, reason="no recorded values here")
NAMES = {
    **{"MI": "mi", "QABF": "qabf", "Q_CB": "qcb", "Q_CV": "qcv", "CC": "cc", "EN": "en", "SD": "sd", "SF": "sf"},
    **{"AG": "ag", "EI": "ei", "CE": "ce", "SCD": "scd", "VIF": "vif", "VIFF": "viff", "SSIM": "ssim_sum"},
    **{"MS_SSIM": "ms_ssim", "MSE": "mse", "NMI": "qnmi", "NCIE": "qncie", "Q_Y": "qy", "Q_C": "qc", "Q_W": "qw"},
    **{"Nabf": "nabf", "FMI": "fmi"},
}
QUICK = tuple(name for name in FUSION_METRICS if name != "fmi")
VIFB = {
    **{"Avg_gradient": "ag", "Cross_entropy": "ce", "Edge_intensity": "ei", "Entropy": "en", "Mutinf": "mi"},
    **{"Qcb": "qcb", "Qcv": "qcv", "Ssim": "ssim_sum", "Variance": "sd"},
}


def rows(name: str) -> list[dict[str, str]]:
    if not RECORDED:
        return []
    with (GOLDEN / name).open(newline="") as file:
        return list(csv.DictReader(file))


def canonical(folder: str) -> list[dict[str, str]]:
    return [row for row in rows(f"{folder}/values.csv") if row["status"] == "canonical"]


def read(folder: str, name: str, channels: int = cv2.IMREAD_GRAYSCALE) -> NDArray[np.uint8]:
    image = cv2.imread(str(GOLDEN / folder / "images" / f"{name}.png"), channels)
    assert image is not None
    return image.astype(np.uint8)


@cache
def scores(folder: str, name: str, two_levels: bool) -> dict[str, float]:
    infrared, visible, fused = (read(folder, f"{name}_{kind}") for kind in ("ir", "vi", "fused"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FusionMetricWarning)
        return score(infrared // 255 if two_levels else infrared, visible, fused, QUICK)


def cases(folder: str) -> list[tuple[str, str]]:
    return sorted({(row["id"], row["metric"]) for row in canonical(folder) if row["metric"] != "FMI"})


def agrees(folder: str, row: dict[str, str]) -> bool:
    two_levels = row["id"] == "e6_saturated" and row["runner"].startswith("octave")
    found = scores(folder, row["id"], two_levels)[NAMES[row["metric"]]]
    recorded = math.nan if row["value"] == "error" else float(row["value"])
    if not math.isfinite(recorded):
        return found == recorded or (math.isnan(found) and math.isnan(recorded))
    key = (row["metric"], row["variant"])
    rtol = next(float(each["rtol"]) for each in rows("tolerances.csv") if (each["metric"], each["variant"]) == key)
    if folder == "edge":
        rtol = max(rtol, 1e-8)  # their windows and gradients are mostly zero
    return math.isclose(found, recorded, rel_tol=rtol, abs_tol=1e-12)


@needs_golden
@pytest.mark.parametrize(("name", "metric"), cases("public"))
def test_meets_every_recorded_value(name: str, metric: str) -> None:
    recorded = [row for row in canonical("public") if (row["id"], row["metric"]) == (name, metric)]
    assert [row["implementation"] for row in recorded if not agrees("public", row)] == []


@needs_golden
@pytest.mark.parametrize(("name", "metric"), cases("edge"))
def test_meets_a_recorded_value_on_edge_cases(name: str, metric: str) -> None:
    recorded = [row for row in canonical("edge") if (row["id"], row["metric"]) == (name, metric)]
    assert any(agrees("edge", row) for row in recorded)


@needs_golden
@pytest.mark.parametrize(
    "row",
    [row for row in canonical("public") if row["metric"] == "FMI" and not row["variant"].endswith("96")],
    ids=lambda row: f"{row['id']}-{row['variant']}",
)
def test_meets_recorded_fmi(row: dict[str, str]) -> None:
    feature, side = row["variant"].split("-centre")
    images = [read("public", f"{row['id']}_{kind}") for kind in ("ir", "vi", "fused")]
    top, left = ((size - int(side)) // 2 for size in images[0].shape)
    crops = [image[top : top + int(side), left : left + int(side)] for image in images]
    # Ties decide single edge pixels.
    rtol = 1e-2 if feature == "edge" else 1e-9
    assert fmi(*crops, feature=feature) == pytest.approx(float(row["value"]), rel=rtol)


def vifb_triples() -> Iterator[tuple[str, str]]:
    for path in sorted((GOLDEN / "vifb_published" / "images").glob("*_fused.png")) if RECORDED else ():
        pair, algorithm = path.name.removesuffix("_fused.png").split("_", 1)
        yield pair, algorithm


@needs_golden
@pytest.mark.parametrize(("pair", "algorithm"), list(vifb_triples())[:2])
def test_meets_what_vifb_published(pair: str, algorithm: str) -> None:
    """Five digits of MATLAB runs: means over the colour channels, MI in nats."""
    names = (f"{pair}_ir", f"{pair}_vi", f"{pair}_{algorithm}_fused")
    images = [read("vifb_published", name, cv2.IMREAD_COLOR) for name in names]
    wanted = list(VIFB.values())
    channels = [score(*(np.ascontiguousarray(image[..., i]) for image in images), wanted) for i in range(3)]
    published = {
        row["metric"]: float(row["value"])
        for row in rows("vifb_published/values.csv")
        if (row["pair"], row["algorithm"]) == (pair, algorithm)
    }
    for metric, name in VIFB.items():
        unit = math.log(2) if name == "mi" else 1
        found = np.mean([channel[name] for channel in channels]) * unit
        assert found == pytest.approx(published[metric], rel=1e-4), metric


def natural(seed: int, height: int = 48, width: int = 57) -> Luma:
    """Smooth blobs with a little noise."""
    generator = np.random.default_rng(seed)
    blobs = cv2.GaussianBlur(generator.normal(0, 400, (height, width)), (0, 0), 3)
    return np.clip(128 + blobs + generator.normal(0, 6, (height, width)), 0, 255).astype(np.uint8)


seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=10, deadline=None)
@given(seeds)
def test_sources_can_change_places(seed: int) -> None:
    a, b, f = (natural(seed + i) for i in range(3))
    names = [name for name in QUICK if name != "viff"]  # where f follows neither source, viff takes the visible one
    assert score(a, b, f, names) == pytest.approx(score(b, a, f, names), rel=1e-9)
    a, b, f = (image[:9, :9] for image in (a, b, f))
    assert fmi(a, b, f) == pytest.approx(fmi(b, a, f), rel=1e-9)


@settings(max_examples=5, deadline=None)
@given(seeds)
def test_identical_images(seed: int) -> None:
    image = natural(seed)
    with pytest.warns(FusionMetricWarning, match="scd"):
        found = score(image, image, image, FUSION_METRICS)
    perfect = {
        "qcb": 1,
        "qcv": 0,
        "cc": 1,
        "vif": 2,
        "viff": 1,
        "ssim_sum": 2,
        "ms_ssim": 1,
        "mse": 0,
        "psnr": math.inf,
    }
    perfect |= {"qnmi": 2, "qy": 1, "qc": 1, "qw": 1, "nabf": 0, "fmi": 1, "ce": 0, "mi": 2 * found["en"]}
    perfect["qabf"] = 0.9994 / (1 + math.exp(-7.5)) * 0.9879 / (1 + math.exp(-4.4))
    assert {name: found[name] for name in perfect} == pytest.approx(perfect, rel=1e-6, abs=1e-9)
    assert math.isnan(found["scd"])


@settings(max_examples=5, deadline=None)
@given(seeds)
def test_psnr_is_that_of_mse(seed: int) -> None:
    found = score(*(natural(seed + i) for i in range(3)), ("mse", "psnr"))
    assert found["psnr"] == pytest.approx(10 * math.log10(255**2 / found["mse"]), rel=1e-12)


def test_sharing_changes_nothing() -> None:
    images = [natural(i) for i in range(3)]
    together = score(*images, FUSION_METRICS)
    assert together == {name: metric.function(*images) for name, metric in FUSION_METRICS.items()}
    assert list(score(*images, ("sd", "mi"))) == ["sd", "mi"]


def test_registry_names_the_papers_five_and_its_qcc() -> None:
    images = [natural(i) for i in range(3)]
    assert set(PAPER_FIVE) < set(FUSION_METRICS)
    assert ALIASES == {"qcc": "cc"}
    assert score(*images, ["qcc"]) == {"qcc": score(*images, ["cc"])["cc"]}
    assert all(metric.name == name and metric.function.__doc__ for name, metric in FUSION_METRICS.items())


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (2, 2), (5, 3), (12, 9), (40, 40)])
@pytest.mark.parametrize("level", [None, 0, 77])
def test_hopeless_images_give_values_or_nan_with_one_warning(size: tuple[int, int], level: int | None) -> None:
    images = [natural(i, *size) if level is None else np.full(size, level, np.uint8) for i in range(3)]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = score(*images, FUSION_METRICS)
    missing = [name for name, value in found.items() if math.isnan(value) or value == -math.inf]
    assert set(found) == set(FUSION_METRICS)
    assert [warning.category for warning in caught] == [FusionMetricWarning] * bool(missing)
    if missing:
        assert all(name in str(caught[0].message) for name in missing)


def test_luma_is_rounded() -> None:
    rgb = np.array([[[255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255], [1, 2, 3]]], np.uint8)
    assert luma8(rgb).tolist() == [[255, 76, 150, 29, 2]]


def test_errors_name_the_image_and_the_remedy() -> None:
    image = natural(0)
    with pytest.raises(ValueError, match=r"visible image must be a uint8 array, not float32: scale it"):
        FUSION_METRICS["mi"].function(image, image.astype(np.float32), image)
    with pytest.raises(ValueError, match=r"fused image must be \(H, W\) luma, not .*: reduce colour with luma8"):
        score(image, image, np.dstack([image] * 3), ["mi"])
    with pytest.raises(ValueError, match=r"one size are needed, got infrared 57x48, visible 57x48, fused 50x48: reg"):
        score(image, image, image[:, :50], ["mi"])
    with pytest.raises(ValueError, match=r'no fusion metric "quality": choose from mi, qabf'):
        score(image, image, image, ["quality"])
    with pytest.raises(ValueError, match=r'no feature "corner" of fmi: choose from none, gradient'):
        fmi(image, image, image, feature="corner")
    with pytest.raises(ValueError, match=r"RGB array is needed, not uint8 \(48, 57\)"):
        luma8(image)


def test_the_page_is_up_to_date() -> None:
    page = Path(__file__).parents[2] / "doc" / "metrics.md"
    assert page.read_text(encoding="utf-8") == markdown(), "run: python -m cldyn_core.metrics.page > doc/metrics.md"

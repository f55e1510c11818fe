"""The parameter table: checks, reasons, and the documents that must agree with it."""

from __future__ import annotations

import array
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from cldyn_core.types import EngineSettings, LoopMode, Task
from cldyn_ros.param_page import markdown
from cldyn_ros.params import FIELDS, NodeParams, ParameterError, parse

ROOT = Path(__file__).resolve().parents[2]


def flatten(tree: dict[str, object], prefix: str = "") -> dict[str, object]:
    out: dict[str, object] = {}
    for key, value in tree.items():
        out |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return out


def test_defaults_are_the_engine_defaults() -> None:
    """But for the mode: a node has a stream, a script has images."""
    assert NodeParams().to_engine_settings() == EngineSettings(loop_mode=LoopMode.STREAM)


def test_every_engine_setting_comes_from_a_parameter() -> None:
    values = {
        "task": "detection", "loop.mode": "open", "loop.period": 7, "backend": "native", "precision": "bf16",
        "weights": "w", "device": "cpu", "thermal.range": "fixed",
        "thermal.min": 1, "thermal.max": 2.5, "thermal.min_span": 4,
        "registration.homography": [1, 0, 0, 0, 1, 0, 0, 0, 1],
        "detector.weights": "d", "detector.confidence": 0.1, "detector.iou": 0.2, "max_pixels": 10, "max_batch": 2,
        "segmentation.weights": "s", "saliency.weights": "o", "registration.calibration": "c.yaml",
        "denoise": False,
    }  # fmt: skip
    made = parse(values).to_engine_settings()
    assert (made.task, made.loop_mode) == (Task.DETECTION, LoopMode.OPEN)
    assert made.thermal_limits == (1.0, 2.5)
    assert made.homography == (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
    default = EngineSettings()
    assert all(getattr(made, f.name) != getattr(default, f.name) for f in fields(EngineSettings))


def test_every_parameter_reaches_the_dataclass_by_its_own_name() -> None:
    assert [name.replace(".", "_") for name in FIELDS] == [f.name for f in fields(NodeParams)]


def test_milliseconds_become_nanoseconds() -> None:
    params = parse({"sync.tolerance_ms": 20, "sync.infrared_offset_ms": -1.5})
    assert (params.tolerance_ns, params.infrared_offset_ns) == (20_000_000, -1_500_000)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("task", "nonsense", "task takes one of none, detection, segmentation, saliency, got 'nonsense'"),
        ("task", None, "no value"),
        ("loop.mode", "closed", "one of exact, stream, open"),
        ("loop.period", 0, r"loop\.period must be within 1 \.\. 1000, got 0"),
        ("loop.period", 15.0, "an integer"),
        ("backend", "tensorflow", "one of auto, torch, compiled, native, openvino, onnxruntime"),
        ("precision", "fp64", "one of auto, fp32, bf16, fp16, int8"),
        ("autostart", 1, "autostart takes true or false, got 1"),
        ("max_pixels", 2.0, "max_pixels takes an integer"),
        ("max_pixels", True, "max_pixels takes an integer"),
        ("max_pixels", 0, r"within 1 \.\. 268435456, got 0"),
        ("sync.tolerance_ms", "20", "a number, got '20'"),
        ("sync.tolerance_ms", True, "a number"),
        ("sync.tolerance_ms", float("nan"), "within"),
        ("detector.confidence", -0.1, r"within 0 \.\. 1"),
        ("weights", "", "must not be empty"),
        ("registration.homography", [1.0] * 8, "9 numbers .*got 8"),
        ("registration.homography", ["1"] * 9, "list of 9 numbers"),
        ("registration.homography", [float("inf")] * 9, "within"),
        ("registration.homography", 4.0, "list of 9 numbers"),
    ],
)
def test_refusals_name_the_parameter_and_the_remedy(name: str, value: object, reason: str) -> None:
    with pytest.raises(ParameterError, match=reason) as caught:
        parse({name: value})
    assert name in str(caught.value)


def test_thermal_limits_must_rise_when_fixed() -> None:
    assert parse({"thermal.min": 9.0, "thermal.max": 1.0}).thermal_min == 9.0
    with pytest.raises(ParameterError, match=r"thermal.min \(9\) must be below thermal.max \(1\)"):
        parse({"thermal.range": "fixed", "thermal.min": 9.0, "thermal.max": 1.0})


def test_thermal_scale_takes_kelvin_and_celsius_to_counts() -> None:
    kelvin = {"thermal.scale": 0.01, "thermal.min": 273.15, "thermal.max": 313.15}
    celsius = {"thermal.scale": 0.01, "thermal.offset": -273.15, "thermal.min": 0, "thermal.max": 40}
    for values in (kelvin, celsius):
        made = parse({"thermal.range": "fixed", **values}).to_engine_settings()
        assert made.thermal_limits == pytest.approx((27_315, 31_315))
        assert made.thermal_min_span == pytest.approx(200), "2 K"
    assert parse({"thermal.scale": 0.04, "thermal.min_span": 4}).thermal_span == pytest.approx(100)


def test_homography_forms() -> None:
    assert parse({"registration.homography": array.array("d", range(9))}).registration_homography[8] == 8.0
    assert parse({"registration.homography": []}).registration_homography == ()


def test_foreign_parameters_are_passed_over() -> None:
    assert parse({"use_sim_time": True, "qos_overrides./x.publisher.depth": 3}) == NodeParams()


def test_one_refused_value_refuses_all() -> None:
    base = parse({"task": "detection"})
    with pytest.raises(ParameterError):
        parse({"detector.iou": 0.1, "task": "x"}, base)
    assert base == parse({"task": "detection"})


value = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.lists(st.floats(), max_size=10)
)


@given(st.dictionaries(st.sampled_from(sorted(FIELDS)), value, max_size=4))
@settings(deadline=None, max_examples=200)
def test_any_value_is_taken_or_refused(values: dict[str, object]) -> None:
    try:
        params = parse(values)
    except ParameterError:
        return
    params.to_engine_settings()


def test_document_is_in_step() -> None:
    assert (ROOT / "doc" / "parameters.md").read_text(encoding="utf-8") == markdown(), (
        "run: python -m cldyn_ros.param_page > doc/parameters.md"
    )


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.yaml")), ids=lambda p: p.name)
def test_config_files_hold_known_valid_values(path: Path) -> None:
    tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert list(tree) == ["/**"]
    values = flatten(tree["/**"]["ros__parameters"])
    assert values.keys() <= FIELDS.keys()
    parse(values)


def test_the_main_config_shows_every_parameter_at_its_default() -> None:
    text = (ROOT / "config" / "fusion.yaml").read_text(encoding="utf-8")
    values = flatten(yaml.safe_load(text)["/**"]["ros__parameters"])
    assert parse(values) == NodeParams()
    # an empty list cannot be written in a parameter file: it has no type
    assert FIELDS.keys() - values.keys() == {"registration.homography"}
    assert "homography:" in text

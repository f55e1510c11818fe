"""Rendered street scenes: determinism, exact ground truth, physics, and the folder they are written to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cldyn_core.data.check import check_folder
from cldyn_core.data.pairs import find_pairs
from cldyn_core.data.synthetic import (
    CONDITIONS,
    SEMANTIC_CLASSES,
    RenderedFrame,
    SceneConfig,
    render_frame,
    render_sequence,
    renderer,
    write_sequence,
)
from cldyn_core.data.synthetic.light import Weather, make_weather
from cldyn_core.types import M3FD_CLASSES

CLASS = {name: index for index, name in enumerate(SEMANTIC_CLASSES)}
SEMANTIC_OF_LABEL = tuple(CLASS[name] for name in ("person", "car", "bus", "lamp", "motorcycle", "truck"))
VEHICLES = tuple(CLASS[name] for name in ("car", "bus", "truck", "motorcycle", "bicycle"))
PARTS = tuple(field.name for field in fields(RenderedFrame) if field.name != "time_s")


def small(condition: str, seed: int, **more: Any) -> SceneConfig:
    return SceneConfig(condition, 160, 120, seed=seed, **more)


def same(a: RenderedFrame, b: RenderedFrame) -> bool:
    return a.time_s == b.time_s and all(np.array_equal(getattr(a, name), getattr(b, name)) for name in PARTS)


def extent(mask: NDArray[np.bool_]) -> list[int]:
    """x1 y1 x2 y2 of the set pixels, ends excluded."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]


def check_frame(frame: RenderedFrame, config: SceneConfig) -> None:
    """What holds for every frame."""
    size = (config.height, config.width)
    assert frame.visible.shape == (*size, 3) and frame.visible.dtype == np.uint8
    assert frame.infrared.shape == size and frame.infrared.dtype == np.uint8
    assert frame.infrared16.shape == size and frame.infrared16.dtype == np.uint16
    assert frame.semantic.shape == size and frame.semantic.dtype == np.uint8
    assert frame.saliency.shape == size and frame.saliency.dtype == np.uint8
    assert frame.boxes.shape == (len(frame.labels), 4) and frame.boxes.dtype == np.float32
    assert frame.labels.ndim == 1 and frame.labels.dtype == np.int64
    kelvin = frame.infrared16 / 100.0
    assert kelvin.min() > 220.0 and kelvin.max() < 360.0
    assert int(frame.semantic.max()) < len(SEMANTIC_CLASSES)
    assert set(np.unique(frame.saliency).tolist()) <= {0, 255}
    warm = np.isin(frame.semantic, (CLASS["person"], *VEHICLES))
    assert not frame.saliency[~warm].any()
    for box, label in zip(frame.boxes, frame.labels, strict=True):
        assert 0 <= label < len(M3FD_CLASSES)
        x1, y1, x2, y2 = (int(value) for value in box)
        assert [x1, y1, x2, y2] == box.tolist(), "boxes end between pixels"
        assert 0 <= x1 < x2 <= config.width and 0 <= y1 < y2 <= config.height
        assert (frame.semantic[y1:y2, x1:x2] == SEMANTIC_OF_LABEL[label]).any()


@pytest.fixture
def fresh() -> Iterator[None]:
    """Without scenes that an earlier call built."""
    renderer._scene.cache_clear()
    yield
    renderer._scene.cache_clear()


def with_weather(monkeypatch: pytest.MonkeyPatch, config: SceneConfig, index: int, **changes: Any) -> RenderedFrame:
    """The frame of the same scene in other weather."""

    def changed(condition: str, rng: np.random.Generator) -> Weather:
        return replace(make_weather(condition, rng), **changes)

    renderer._scene.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(renderer, "make_weather", changed)
        frame = render_frame(config, index)
    renderer._scene.cache_clear()
    return frame


@pytest.mark.usefixtures("fresh")
def test_equal_seeds_give_equal_pixels() -> None:
    config = small("smoke", 4, frames=5, fps=2.0)
    first = list(render_sequence(config))
    renderer._scene.cache_clear()
    again = [render_frame(config, index) for index in (4, 0, 2)]
    assert len(first) == 5
    assert [same(first[index], frame) for index, frame in zip((4, 0, 2), again, strict=True)] == [True] * 3
    assert not same(first[0], first[1])
    assert [frame.time_s for frame in first] == [0.0, 0.5, 1.0, 1.5, 2.0]


def test_another_seed_differs() -> None:
    a, b = render_frame(small("day", 1), 0), render_frame(small("day", 2), 0)
    for name in ("visible", "infrared16", "semantic"):
        assert np.mean(getattr(a, name) != getattr(b, name)) > 0.3


def test_index_is_checked() -> None:
    for index in (-1, 3):
        with pytest.raises(IndexError, match=f"frame {index} of a sequence of 3"):
            render_frame(small("day", 0, frames=3), index)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_every_condition_renders_a_street(condition: str) -> None:
    config = small(condition, 7)
    frame = render_frame(config, 2)
    check_frame(frame, config)
    assert np.mean(frame.semantic == CLASS["road"]) > 0.05
    assert frame.visible.std() > 10 and frame.infrared.std() > 10


@pytest.mark.parametrize("counts", [{"people": 1, "vehicles": 0}, {"people": 0, "vehicles": 1}])
def test_boxes_are_tight(counts: dict[str, int]) -> None:
    """A single object: its box holds its pixels and, where nothing hides it, no more than them."""
    tight = total = 0
    for seed in range(9):
        frame = render_frame(small("day", seed, **counts), 3)
        for box, label in zip(frame.boxes.tolist(), frame.labels.tolist(), strict=True):
            if M3FD_CLASSES[label] == "Lamp":
                continue
            x1, y1, x2, y2 = extent(frame.semantic == SEMANTIC_OF_LABEL[label])
            assert box[0] <= x1 and box[1] <= y1 and x2 <= box[2] and y2 <= box[3]
            total += 1
            tight += box == [x1, y1, x2, y2]
    assert total >= 3
    assert tight >= total - 1


@pytest.mark.parametrize(("seed", "name"), [(8, "Truck"), (21, "Truck"), (31, "Car")])
def test_near_vehicles_stand_on_their_wheels(seed: int, name: str) -> None:
    """The ground in front of a vehicle's middle is nearer than the middle, and hides nothing of it."""
    frame = render_frame(small("day", seed, people=0, vehicles=2), 0)
    (number,) = np.flatnonzero(frame.labels == M3FD_CLASSES.index(name))
    box = frame.boxes[number]
    assert box[3] - box[1] > 30
    mask = frame.semantic == SEMANTIC_OF_LABEL[frame.labels[number]]
    assert extent(mask) == box.tolist()


def test_all_classes_appear() -> None:
    labels = np.concatenate([render_frame(small("day", seed), 0).labels for seed in (0, 3, 10)])
    assert sorted(set(labels.tolist())) == list(range(len(M3FD_CLASSES)))


def test_nobody_and_no_vehicle_when_asked() -> None:
    for seed in (0, 1, 3):
        empty = render_frame(small("day", seed, people=0, vehicles=0), 0)
        assert not np.isin(empty.semantic, (CLASS["person"], *VEHICLES)).any()
        assert set(empty.labels.tolist()) <= {M3FD_CLASSES.index("Lamp")}
        assert not empty.saliency.any()


def test_people_are_warmer_than_the_ground_at_night() -> None:
    for seed in (1, 2, 4, 7):
        frame = render_frame(small("night", seed, people=8, vehicles=0), 0)
        people = frame.infrared16[frame.semantic == CLASS["person"]]
        ground = frame.infrared16[np.isin(frame.semantic, (CLASS["road"], CLASS["sidewalk"]))]
        assert people.size > 50
        assert np.median(people) > np.median(ground) + 200, "two kelvin"
        assert frame.saliency[frame.semantic == CLASS["person"]].any()


def test_infrared_is_one_rising_curve_of_infrared16() -> None:
    """Over the whole sequence: a display gain that follows the scene would flicker."""
    frames = list(render_sequence(small("night", 3, frames=5, fps=1.0)))
    counts = np.concatenate([frame.infrared16.ravel() for frame in frames])
    shown = np.concatenate([frame.infrared.ravel() for frame in frames]).astype(int)
    order = np.lexsort((shown, counts))
    counts, shown = counts[order], shown[order]
    assert (np.diff(shown) >= 0).all()
    assert (np.diff(shown)[np.diff(counts) == 0] == 0).all()
    assert shown[-1] > shown[0] + 100


def test_still_scene_shows_sensor_noise_only() -> None:
    frames = render_sequence(small("day", 81, frames=8, fps=1000.0, people=0, vehicles=0))
    kelvin = np.stack([frame.infrared16 for frame in frames]) / 100.0
    deviation = kelvin.std(axis=0)
    assert 0.03 < deviation.mean() < 0.15, "an uncooled core's noise"
    assert deviation.max() < 0.4
    assert kelvin.mean(axis=(1, 2)).std() < 0.01, "no common flicker"


def test_night_is_darker_than_day() -> None:
    def brightness(condition: str) -> float:
        return float(np.mean([render_frame(small(condition, seed), 0).visible.mean() for seed in range(3)]))

    day, dusk, night = brightness("day"), brightness("dusk"), brightness("night")
    assert night < 0.75 * day
    assert dusk < day


@pytest.mark.usefixtures("fresh")
def test_fog_hides_in_the_visible_more_than_in_the_thermal(monkeypatch: pytest.MonkeyPatch) -> None:
    visible, thermal = [], []
    for seed in (0, 2, 3, 7):  # by day: at night fog scatters the lamps' light
        config = small("fog", seed, frames=1)
        foggy, clear = render_frame(config, 0), with_weather(monkeypatch, config, 0, fog_visible=0.0, fog_thermal=0.0)
        far = clear.semantic == CLASS["building"]
        visible.append(foggy.visible[far].std() / clear.visible[far].std())
        thermal.append(foggy.infrared16[far].std() / clear.infrared16[far].std())
    assert max(visible) < 0.8 and np.median(visible) < 0.5
    assert np.median(thermal) > 0.65
    assert all(t > v + 0.05 for v, t in zip(visible, thermal, strict=True))


@pytest.mark.usefixtures("fresh")
def test_smoke_hides_in_the_visible_more_than_in_the_thermal(monkeypatch: pytest.MonkeyPatch) -> None:
    visible, thermal = [], []
    for seed in (2, 4, 5, 7):
        config = small("smoke", seed, fps=1.0)
        smoky, clear = render_frame(config, 5), with_weather(monkeypatch, config, 5, smoke=False)
        behind = np.abs(smoky.visible.astype(int) - clear.visible).mean(axis=2) > 25
        assert behind.mean() > 0.02, "there is smoke"
        visible.append(smoky.visible[behind].std() / clear.visible[behind].std())
        thermal.append(smoky.infrared16[behind].std() / clear.infrared16[behind].std())
        assert np.abs(smoky.infrared16[behind].astype(int) - clear.infrared16[behind]).mean() < 100, "one kelvin"
        assert np.array_equal(smoky.boxes, clear.boxes)
    assert np.median(visible) < 0.7
    assert min(thermal) > 0.8


def test_people_and_vehicles_move() -> None:
    """In five seconds most walkers and drivers in view change their place, more than the camera sways."""
    moved = total = 0
    for seed in range(8):
        config = small("day", seed, fps=1.0, people=3, vehicles=3)
        before, after = (np.isin(render_frame(config, i).semantic, (CLASS["person"], *VEHICLES)) for i in (0, 5))
        if min(before.sum(), after.sum()) > 30:
            total += 1
            moved += np.abs(np.subtract(extent(before), extent(after))).max() > 8
    assert total >= 5
    assert moved >= 0.6 * total


@pytest.mark.parametrize(("name", "value"), [
    ("condition", "rain"), ("condition", None), ("width", 63), ("width", 64.0), ("height", 47), ("height", 5000),
    ("frames", 0), ("frames", True), ("fps", 0.0), ("fps", float("nan")), ("fps", "10"), ("seed", -1), ("seed", 1.5),
    ("people", -1), ("people", 61), ("vehicles", 41), ("vehicles", "many"),
])  # fmt: skip
def test_bad_settings_are_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"^{name} is "):
        SceneConfig(**{name: value})  # type: ignore[arg-type]


def test_written_sequence_is_read_back(tmp_path: Path) -> None:
    config = SceneConfig("dusk", 96, 64, frames=4, fps=12.5, seed=np.int64(6))  # type: ignore[arg-type]
    steps: list[tuple[int, int]] = []
    write_sequence(config, tmp_path, lambda *step: steps.append(step), infrared16=True)
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    report = check_folder(tmp_path)
    assert report.ok, report.lines()
    pairs = find_pairs(tmp_path)
    assert len(pairs) == 4 and pairs.rate == 12.5
    for index, frame in enumerate(render_sequence(config)):
        pair = pairs.load(index)
        assert np.array_equal(pair.visible, frame.visible) and np.array_equal(pair.infrared, frame.infrared)
        for name in ("semantic", "saliency", "infrared16"):
            stored = cv2.imread(str(tmp_path / name / f"{index:06d}.png"), cv2.IMREAD_UNCHANGED)
            assert np.array_equal(stored, getattr(frame, name))
        rows = np.loadtxt(tmp_path / "labels" / f"{index:06d}.txt", ndmin=2).reshape(-1, 5)
        corners = np.concatenate([rows[:, 1:3] - rows[:, 3:] / 2, rows[:, 1:3] + rows[:, 3:] / 2], axis=1)
        assert rows[:, 0].tolist() == frame.labels.tolist()
        assert np.allclose(corners * [96, 64, 96, 64], frame.boxes, atol=1e-3)
    assert (tmp_path / "classes.txt").read_text().split() == list(M3FD_CLASSES)
    about = json.loads((tmp_path / "meta.json").read_text())
    assert about["semantic_classes"] == list(SEMANTIC_CLASSES) and about["seed"] == 6


@pytest.mark.parametrize("left", ["meta.json", "visible/000000.png"])
def test_an_occupied_folder_is_refused(tmp_path: Path, left: str) -> None:
    (tmp_path / left).parent.mkdir(exist_ok=True)
    (tmp_path / left).write_bytes(b"")
    with pytest.raises(FileExistsError, match="already holds a sequence"):
        write_sequence(SceneConfig("day", 64, 48, frames=1), tmp_path)


CONFIGS = st.builds(
    SceneConfig, st.sampled_from(CONDITIONS), st.integers(64, 160), st.integers(48, 120), st.just(400),
    st.sampled_from([0.5, 10.0, 30.0]), st.integers(0, 2**63 - 1), st.none() | st.integers(0, 12),
    st.none() | st.integers(0, 12),
)  # fmt: skip


@settings(max_examples=16, deadline=None, derandomize=True, database=None)
@given(config=CONFIGS, index=st.integers(0, 399))
def test_any_configuration_gives_a_sound_frame(config: SceneConfig, index: int) -> None:
    check_frame(render_frame(config, index), config)

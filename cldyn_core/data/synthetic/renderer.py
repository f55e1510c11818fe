"""Puts a scene together: a still backdrop once per sequence, then everybody who moves, frame by frame."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from cldyn_core.data.synthetic import effects, furniture
from cldyn_core.data.synthetic.brush import Canvas, Sprite
from cldyn_core.data.synthetic.camera import Pose
from cldyn_core.data.synthetic.config import SEMANTIC_CLASSES, RenderedFrame, SceneConfig
from cldyn_core.data.synthetic.cycles import Cycle, draw_cycle
from cldyn_core.data.synthetic.ground import paint_ground, paint_sky
from cldyn_core.data.synthetic.houses import paint_house, skyline
from cldyn_core.data.synthetic.light import Light, make_weather
from cldyn_core.data.synthetic.noise import fractal_tile
from cldyn_core.data.synthetic.people import Person, draw_person, draw_rider
from cldyn_core.data.synthetic.sensors import make_thermal, make_visible
from cldyn_core.data.synthetic.shapes import Vehicle, bounds
from cldyn_core.data.synthetic.smoke import Plume, make_plumes
from cldyn_core.data.synthetic.street import make_camera, make_street
from cldyn_core.data.synthetic.traffic import Actor, make_traffic
from cldyn_core.data.synthetic.truth import LABELS, Instance, ground_truth
from cldyn_core.data.synthetic.vehicles import draw_vehicle

PERSON, MOTORCYCLE, BICYCLE = (SEMANTIC_CLASSES.index(n) for n in ("person", "motorcycle", "bicycle"))


def render_sequence(config: SceneConfig) -> Iterator[RenderedFrame]:
    """All frames of a sequence, in order."""
    scene = _scene(config)
    return (scene.frame(index) for index in range(config.frames))


def render_frame(config: SceneConfig, index: int) -> RenderedFrame:
    """The index-th frame of the sequence, without rendering the others. Raises IndexError outside 0..frames - 1."""
    if not 0 <= index < config.frames:
        raise IndexError(f"frame {index} of a sequence of {config.frames}")
    return _scene(config).frame(index)


class Scene:
    """A built scene. `frame` is a pure function of its index."""

    def __init__(self, config: SceneConfig) -> None:
        self.config = config
        rng = [np.random.default_rng([config.seed, part]) for part in range(8)]
        self.weather = make_weather(config.condition, rng[0])
        self.street = make_street(self.weather, rng[1])
        self.camera = make_camera(config, self.street, rng[2])
        self.light = Light(self.weather, self.camera, self.street.lamp_heads())
        self.tile = fractal_tile(128, 6, 5, rng[3])
        self.actors = make_traffic(config, self.street, self.camera, self.weather, rng[4])
        self.plumes = make_plumes(self.street, self.light, rng[5]) if self.weather.smoke else []
        self.pan = rng[6].uniform([0, 0.1, 0], [1, 0.45, 6.28])
        self.still_instances: list[Instance] = []
        self.backdrop = self._backdrop(rng[7])
        hottest = max(35.0, self.weather.air_temperature + 9)
        crop = self.backdrop.paint[self._crop((self.camera.margin_x, self.camera.margin_y))]
        self.thermal = make_thermal(np.ascontiguousarray(crop[..., 3]), hottest, rng[6])
        self.visible = make_visible(self.weather, config.width, config.height, rng[6])

    def _backdrop(self, rng: np.random.Generator) -> Canvas:
        """Everything that does not move, and the pixels of what of it has a box."""
        camera, light, street = self.camera, self.light, self.street
        canvas = Canvas(camera.height, camera.width)
        paint_sky(canvas, camera, self.weather, rng)
        self.ground = paint_ground(canvas, camera, light, street, rng)
        houses = sorted(street.houses, key=lambda house: -house.z0)
        for house in skyline(street, rng) + houses:
            paint_house(canvas, camera, light, street, house)
        effects.haze_backdrop(canvas, self.weather)
        for actor in self.actors:
            if not actor.moving:
                self._shadow(canvas, actor, actor.path(0.0))
        self._tree_shadows(canvas)
        for sprite, label, prominence in sorted(self._still_things(rng), key=lambda item: -float(item[0].depth)):
            identity = 0
            if label is not None:
                self.still_instances.append(Instance(label, sprite, prominence))
                identity = len(self.still_instances)
            canvas.add(effects.haze(sprite, self.weather), identity)
        if self.weather.wet > 0 and self.weather.lamps_on:
            for head in light.lamps[light.lamps[:, 2] < 70] if len(light.lamps) else ():
                effects.streak(canvas, camera, head, self.weather.lamp_color * 0.10, self.weather.wet)
        return canvas

    def _still_things(self, rng: np.random.Generator) -> list[tuple[Sprite, int | None, float]]:
        camera, light, street = self.camera, self.light, self.street
        found: list[tuple[Sprite | None, int | None, float]] = []
        for index in range(len(street.trees)):
            found.append((furniture.tree(camera, light, street, index, self.tile, rng), None, 0.0))
        for index in range(len(street.lamps)):
            found += [(sprite, None, 0.0) for sprite in furniture.lamp_post(camera, light, street, index)]
        for index in range(len(street.signs)):
            found += [(sprite, None, 0.0) for sprite in furniture.road_sign(camera, light, street, index)]
        for index in range(len(street.signals)):
            pole, head = furniture.traffic_light(camera, light, street, index)
            found += [(pole, None, 0.0), (head, LABELS["lamp"], 0.0)]
        for actor in self.actors:
            if not actor.moving:
                found += [(i.sprite, i.label, 0.0) for i in self._draw(actor, actor.path(0.0))]
        return [(sprite, label, weight) for sprite, label, weight in found if sprite is not None]

    def _tree_shadows(self, canvas: Canvas) -> None:
        for x, z, height, _ in self.street.trees:
            half = height * 0.2
            corners = np.array(
                [[x + i, k * height, z + j] for i in (-half, half) for j in (-half, half) for k in (0.5, 1)]
            )
            corners[:, 0] += self.street.middle(z)
            if self.weather.sun.max() > 0.25:
                effects.cast_shadow(canvas, self.camera, self.weather, corners, 0.0)

    def _shadow(self, canvas: Canvas, actor: Actor, pose: Pose) -> None:
        if isinstance(actor.model, Vehicle):
            box, heat = bounds(actor.model), 4.0 if actor.model.running else 0.5
        else:
            tall = actor.model.height if isinstance(actor.model, Person) else (1.7 if actor.rider else 1.0)
            wide = 0.2 if isinstance(actor.model, Person) else 0.7
            box, heat = np.array([[i * wide, j * 0.2, k * tall] for i in (-1, 1) for j in (-1, 1) for k in (0, 1)]), 0.0
        if pose.z > 1.5:
            effects.cast_shadow(canvas, self.camera, self.weather, pose.to_world(box), heat)

    def _draw(self, actor: Actor, pose: Pose) -> list[Instance]:
        """The actor's sprites, back to front."""
        if pose.z < 0.5 and not isinstance(actor.model, Vehicle):
            return []
        model, view = actor.model, (self.camera, self.light, self.tile)
        drawn: list[tuple[int | None, Sprite | None, float]] = []
        if isinstance(model, Vehicle):
            vehicle = draw_vehicle(model, pose, *view, SEMANTIC_CLASSES.index(model.kind))
            drawn.append((LABELS[model.kind], vehicle, 0.7 if model.running else 0.0))
        elif isinstance(model, Person):
            drawn.append((LABELS["person"], draw_person(model, pose, *view, PERSON), 2.0))
        else:
            powered = model.kind == "motorcycle"
            cycle = draw_cycle(model, pose, *view, MOTORCYCLE if powered else BICYCLE)
            drawn.append((LABELS["motorcycle"] if powered else None, cycle, 1.5 if model.running else 0.0))
            if actor.rider:
                drawn.append((LABELS["person"], draw_rider(actor.rider, not powered, pose, *view, PERSON), 2.0))
        return [Instance(label, sprite, weight) for label, sprite, weight in drawn if sprite is not None]

    def frame(self, index: int) -> RenderedFrame:
        """Renders one frame."""
        time = index / self.config.fps
        rng = np.random.default_rng([self.config.seed, 100, index])
        canvas = self.backdrop.copy()
        instances = self.still_instances + self._act(canvas, time)
        offset, rounded = self._aim(time)
        size = (self.config.width, self.config.height)
        shift = np.array([[1, 0, offset[0]], [0, 1, offset[1]]], np.float32)
        paint = cv2.warpAffine(canvas.paint, shift, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        crop = self._crop(rounded)
        counts = self.thermal.measure(np.ascontiguousarray(paint[..., 3]), rng)
        radiance = effects.bloom(np.ascontiguousarray(paint[..., :3]), self.weather)
        boxes, labels, saliency = ground_truth(instances, canvas.instance[crop], rounded)
        return RenderedFrame(
            self.visible.expose(radiance, rng), self.thermal.display(counts), counts, boxes, labels,
            canvas.semantic[crop].copy(), saliency, time,
        )  # fmt: skip

    def _act(self, canvas: Canvas, time: float) -> list[Instance]:
        """Draws all that moves, far to near; returns it in the order of its numbers on the canvas."""
        poses = [(actor, actor.path(time)) for actor in self.actors if actor.moving]
        for actor, pose in poses:
            self._shadow(canvas, actor, pose)
            lit = self.weather.headlamps and self.weather.night
            if lit and isinstance(actor.model, Vehicle) and actor.model.running:
                effects.beam(canvas, self.camera, self.ground, pose, actor.model, self.weather)
        layers: list[tuple[float, tuple[Actor, Pose] | Plume]] = [(pose.z, (actor, pose)) for actor, pose in poses]
        layers += [(plume.z, plume) for plume in self.plumes]
        found: list[Instance] = []
        for _, thing in sorted(layers, key=lambda layer: -layer[0]):
            if isinstance(thing, Plume):
                thing.drift(canvas, self.camera, self.weather, time)
                continue
            actor, pose = thing
            for instance in self._draw(actor, pose):
                found.append(instance)
                canvas.add(effects.haze(instance.sprite, self.weather), len(self.still_instances) + len(found))
            if self.weather.headlamps:
                self._lights(canvas, actor, pose)
        return found

    def _lights(self, canvas: Canvas, actor: Actor, pose: Pose) -> None:
        if isinstance(actor.model, Vehicle) and actor.model.running:
            effects.vehicle_lights(canvas, self.camera, pose, actor.model, self.weather, actor.dazzling)
        elif isinstance(actor.model, Cycle) and actor.model.running and pose.z > 2 and actor.model.kind == "motorcycle":
            ahead = np.cos(pose.heading) < 0
            lamp = pose.to_world(np.array([[0.75, 0.0, 0.86] if ahead else [-0.9, 0.0, 0.74]]))
            color = np.array([16.0, 15.0, 12.0] if ahead else [2.0, 0.1, 0.06])
            color *= 0.1 + 0.9 * abs(np.cos(pose.heading))
            radius = max(0.7, 0.05 * self.camera.focal / pose.z)
            effects.glow(canvas, self.camera.project(lamp)[0], radius, color, pose.z - 2)

    def _aim(self, time: float) -> tuple[NDArray[np.float64], tuple[int, int]]:
        """Where the image's corner lies on the canvas: exactly, and in whole pixels."""
        strength, rate, phase = self.pan
        room = np.array([self.camera.margin_x - 2, self.camera.margin_y - 2])
        sway = np.array([np.sin(rate * time + phase) * strength, 0.5 * np.sin(2.1 * time + phase) * strength])
        offset = room + 2 + np.clip(sway, -1, 1) * room
        return offset, (int(np.rint(offset[0])), int(np.rint(offset[1])))

    def _crop(self, corner: tuple[int, int]) -> tuple[slice, slice]:
        return slice(corner[1], corner[1] + self.config.height), slice(corner[0], corner[0] + self.config.width)


@lru_cache(maxsize=2)
def _scene(config: SceneConfig) -> Scene:
    return Scene(config)

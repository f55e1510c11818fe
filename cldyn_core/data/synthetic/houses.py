"""Buildings: walls with windows, shops and signs as textures, put into perspective."""

from __future__ import annotations

import cv2
import numpy as np

from cldyn_core.data.synthetic.brush import Canvas, Sprite
from cldyn_core.data.synthetic.camera import Camera, Points
from cldyn_core.data.synthetic.config import SEMANTIC_CLASSES
from cldyn_core.data.synthetic.images import Image, resized
from cldyn_core.data.synthetic.light import Light, Weather
from cldyn_core.data.synthetic.noise import fractal_tile
from cldyn_core.data.synthetic.street import House, Street

BUILDING = SEMANTIC_CLASSES.index("building")
WALLS = (
    (0.38, 0.34, 0.28),
    (0.30, 0.15, 0.10),
    (0.42, 0.41, 0.40),
    (0.22, 0.22, 0.24),
    (0.45, 0.38, 0.27),
    (0.33, 0.24, 0.19),
)
NEON = ((1.0, 0.05, 0.15), (0.1, 0.9, 0.35), (0.15, 0.4, 1.0), (1.0, 0.6, 0.1), (0.9, 0.9, 1.0), (1.0, 0.15, 0.7))


def skyline(street: Street, rng: np.random.Generator) -> list[House]:
    """Houses far off that close the view, standing across the street's end."""
    houses, x = [], -260.0
    while x < 260:
        width = rng.uniform(14, 40)
        if rng.random() < 0.7:
            z = rng.uniform(170, 320)
            houses.append(
                House(0, x, z, z + width, rng.uniform(8, 45) * rng.uniform(0.5, 1.3), int(rng.integers(1 << 30)))
            )
        x += width * rng.uniform(0.7, 1.6)
    return sorted(houses, key=lambda house: -house.z0)


def paint_house(canvas: Canvas, camera: Camera, light: Light, street: Street, house: House) -> None:
    """Draws the visible walls of a house into the canvas."""
    if house.side == 0:
        _wall(
            canvas,
            camera,
            light,
            house,
            np.array([house.x, house.z0]),
            np.array([house.x + house.z1 - house.z0, house.z0]),
            1,
        )
        return
    near = np.array([house.x + street.middle(house.z0), house.z0])
    far = np.array([house.x + street.middle(house.z1), house.z1])
    back = near + np.array([house.side * 14.0, 0.0])
    if near[1] > 1.5:
        left, right = (near, back) if house.side > 0 else (back, near)
        _wall(canvas, camera, light, house, left, right, 1)
    if (near[0] - camera.x) * house.side > 0.3:
        left, right = (far, near) if house.side > 0 else (near, far)
        _wall(canvas, camera, light, house, left, right, 0)


def _wall(canvas: Canvas, camera: Camera, light: Light, house: House, left: Points, right: Points, gable: int) -> None:
    corners = np.array([[x, y, z] for x, z in (left, right) for y in (0.0, house.height)])
    pixels = camera.project(corners)
    low = np.clip(np.floor(pixels.min(axis=0)), 0, [camera.width, camera.height]).astype(int)
    high = np.clip(np.ceil(pixels.max(axis=0)) + 1, 0, [camera.width, camera.height]).astype(int)
    if (high - low < 1).any() or pixels[2, 0] <= pixels[0, 0]:
        return
    length = float(np.hypot(*(right - left)))
    nearest = max(2.0, min(left[1], right[1]))
    density = float(np.clip(camera.focal / nearest, 3.0, 26.0))
    rng = np.random.default_rng([house.style, gable])
    texture = _texture(light.weather, house, length, density, rng, shops=house.side != 0 and not gable)
    normal = np.array([right[1] - left[1], 0.0, left[0] - right[0]]) / length
    _illuminate(texture, light, left, right, house.height, normal)
    size = (high - low) * 2
    rows, columns = texture[0].shape[:2]
    source = np.array([[0, rows], [0, 0], [columns, rows], [columns, 0]], np.float32) - 0.5
    target = ((pixels - low + 0.5) * 2 - 0.5).astype(np.float32)
    matrix = cv2.getPerspectiveTransform(source, target)
    drawn = cv2.warpPerspective(
        texture[0], matrix, tuple(size.tolist()), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE
    )
    mask = np.zeros((size[1], size[0]), np.float32)
    outline = np.clip(target[[0, 1, 3, 2]], -30000, 30000)
    cv2.fillConvexPoly(mask, np.round(outline * 16).astype(np.int32), 1.0, cv2.LINE_8, 4)
    shaped = np.asarray(drawn * mask[..., None], np.float32)
    width, height = (high - low).tolist()
    column = np.arange(low[0], high[0]) - camera.center
    depth = np.broadcast_to(_wall_depth(camera, left, right, column)[None], (height, width)).astype(np.float32)
    paint, cover = (resized(image, width, height, cv2.INTER_AREA) for image in (shaped, mask))
    canvas.add(Sprite(paint, cover, int(low[0]), int(low[1]), depth, BUILDING))


def _wall_depth(camera: Camera, left: Points, right: Points, column: Points) -> Points:
    """Depth of the wall in each column: 1 / Z is linear along it."""
    ends = [(point[0] - camera.x) * camera.focal / point[1] for point in (left, right)]
    share = np.clip((column - ends[0]) / (ends[1] - ends[0]), 0, 1)
    return 1.0 / (share / right[1] + (1 - share) / left[1])


def _illuminate(
    texture: tuple[Image, Image], light: Light, left: Points, right: Points, height: float, normal: Points
) -> None:
    """Multiplies the albedo by the light on the wall and adds what shines by itself."""
    s, y = np.meshgrid(np.linspace(0, 1, 24), np.linspace(height, 0, 16))
    points = np.stack([left[0] + (right[0] - left[0]) * s, y, left[1] + (right[1] - left[1]) * s], axis=-1)
    received = light.at(points, normal).astype(np.float32)
    paint, glow = texture
    paint[..., :3] *= resized(received, paint.shape[1], paint.shape[0])
    paint[..., :3] += glow
    if not light.weather.night:
        paint[..., 3] += light.weather.sun_heating * 0.7 * max(0.0, float(normal @ light.weather.sun_direction))


def _texture(
    weather: Weather, house: House, length: float, density: float, rng: np.random.Generator, shops: bool
) -> tuple[Image, Image]:
    """(rows, columns, 4) albedo and temperature, and (rows, columns, 3) own light, of a wall."""
    rows, columns = (int(np.clip(meters * density, 8, 1400)) for meters in (house.height, length))
    shared = np.random.default_rng(house.style)
    base = np.array(WALLS[shared.integers(len(WALLS))]) * shared.uniform(0.7, 1.2)
    floor, bay = shared.uniform(2.9, 3.6), shared.uniform(2.2, 4.0)
    window = (bay * shared.uniform(0.4, 0.75), floor * shared.uniform(0.4, 0.62))
    warmth = shared.uniform(0.5, 2.0)
    paint = np.empty((rows, columns, 4), np.float32)
    glow = np.zeros((rows, columns, 3), np.float32)
    tile = resized(fractal_tile(128, 4, 5, rng), columns, rows)
    paint[..., :3] = base * (1 + 0.08 * tile)[..., None]
    height = np.linspace(house.height, 0, rows, dtype=np.float32)[:, None]
    offset = warmth if weather.night else 0.35 * weather.sun_heating
    paint[..., 3] = weather.air_temperature + offset + 0.3 * tile + 0.8 * np.exp(-height / 4)
    ledge = np.mod(height, floor) < 0.18
    paint[ledge[:, 0], :, :3] *= 0.75 if shared.random() < 0.5 else 1.25
    paint[: max(1, int(0.5 * density)), :, :3] *= 1.25
    lit = rng.uniform(0.08, 0.45) if weather.lamps_on or weather.night else 0.03
    scale = (columns / length, rows / house.height)
    first = 1 if shops else 0
    for level in range(first, int(house.height / floor)):
        for k in range(int(length / bay)):
            x, y = (k + 0.5) * bay, house.height - (level + 0.55) * floor
            _window(paint, glow, scale, x, y, window, weather, rng, bool(rng.random() < lit))
    if shops:
        _shops(paint, glow, scale, length, house.height, floor, weather, rng)
    return paint, glow


def _box(image: Image, scale: tuple[float, float], x: float, y: float, width: float, height: float) -> Image:
    """View of the pixels of a rectangle given by its middle and size in meters."""
    x0, x1 = (round(max(0.0, (x + s * width / 2) * scale[0])) for s in (-1, 1))
    y0, y1 = (round(max(0.0, (y + s * height / 2) * scale[1])) for s in (-1, 1))
    return image[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)]


def _window(
    paint: Image, glow: Image, scale: tuple[float, float], x: float, y: float, size: tuple[float, float],
    weather: Weather, rng: np.random.Generator, lit: bool,
) -> None:  # fmt: skip
    frame = _box(paint, scale, x, y, size[0] + 0.2, size[1] + 0.2)
    frame[..., :3] = frame[..., :3] * 0.4 + 0.22
    pane = _box(paint, scale, x, y, *size)
    sky = 0.0 if weather.night else rng.uniform(0.02, 0.22)
    pane[..., :3] = np.array([0.04, 0.05, 0.06]) + sky * np.array([0.8, 0.95, 1.1])
    pane[..., 3] += rng.uniform(-3.5, -1.0) if not lit else rng.uniform(0.5, 3.0)
    if rng.random() < 0.3:
        pane[: max(1, pane.shape[0] // 2), :, :3] = 0.45 * rng.uniform(0.5, 1.0)
    if lit:
        warm = rng.random() < 0.7
        color = np.array([1.0, 0.68, 0.32]) if warm else np.array([0.75, 0.92, 1.0])
        shine = _box(glow, scale, x, y, *size)
        ramp = np.linspace(1.2, 0.7, shine.shape[0], dtype=np.float32)[:, None, None]
        shine[:] = color * rng.uniform(0.08, 0.55) * ramp
    mullion = _box(paint, scale, x, y, 0.07, size[1])
    mullion[..., :3] = 0.3
    _box(glow, scale, x, y, 0.07, size[1])[:] *= 0.2


def _shops(
    paint: Image, glow: Image, scale: tuple[float, float], length: float, height: float, floor: float,
    weather: Weather, rng: np.random.Generator,
) -> None:  # fmt: skip
    x = 0.5
    dark = weather.night or weather.lamps_on
    while x + 3 < length:
        width = rng.uniform(3.0, 7.0)
        middle = x + width / 2
        open_now = rng.random() < (0.6 if dark else 0.3)
        front = _box(paint, scale, middle, height - 1.35, width - 0.5, 2.3)
        front[..., :3] = np.array([0.06, 0.07, 0.08]) if rng.random() < 0.75 else np.array([0.3, 0.3, 0.3])
        front[..., 3] += rng.uniform(1.0, 4.0) if open_now else -1.5
        color = np.array(NEON[rng.integers(len(NEON))])
        board = _box(paint, scale, middle, height - floor + 0.45, width - 0.3, 0.75)
        board[..., :3] = color * 0.45 + 0.04
        if open_now and dark:
            shine = _box(glow, scale, middle, height - 1.35, width - 0.5, 2.3)
            ramp = np.linspace(1.2, 0.5, shine.shape[0], dtype=np.float32)[:, None, None]
            shelf = 0.7 + 0.3 * np.sin(np.arange(shine.shape[1]) * rng.uniform(0.2, 0.9))[None, :, None]
            shine[:] = np.array([1.0, 0.85, 0.6]) * rng.uniform(0.15, 0.6) * ramp * shelf
            _letters(glow, scale, middle, height - floor + 0.45, width - 0.9, color * rng.uniform(0.5, 1.6), rng)
            board[..., 3] += 3.0
        x += width + 0.1


def _letters(
    glow: Image, scale: tuple[float, float], x: float, y: float, width: float, color: Points, rng: np.random.Generator
) -> None:
    """Shining marks that look like writing from a distance."""
    count = max(2, int(width / 0.75))
    for k in range(count):
        at = x - width / 2 + (k + 0.5) * width / count
        for _ in range(4):
            stroke = (0.5, 0.1) if rng.random() < 0.5 else (0.1, 0.55)
            _box(glow, scale, at + rng.uniform(-0.15, 0.15), y + rng.uniform(-0.2, 0.2), *stroke)[:] = color

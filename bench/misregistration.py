"""The estimate behind `registration.warn_px` on registered pairs whose infrared images are moved on purpose.

    python bench/misregistration.py FOLDER... [--looks 10] [--most 60]

A row for each folder: how far its own pairs lie apart, as estimated; then the shifts that are found within a pixel of
the one applied on top of that, not known, and wrong; last the groups in which a shift is found though their infrared
images stand upside down.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from cldyn_core.data.pairs import find_pairs
from cldyn_core.engine.allocator import keep_freed_memory
from cldyn_core.engine.prepare import registered_8bit
from cldyn_core.engine.thermal import ThermalRange
from cldyn_core.registration.misregistration import Misregistration, Shift
from cldyn_core.registration.registration import Registration
from cldyn_core.types import FramePair

SHIFTS = ((12.0, 0.0), (-9.0, 7.0), (0.0, -15.0), (20.0, 10.0))
STRAIGHT = (0.0, 0.0)


def estimate(pairs: Sequence[FramePair], shift: tuple[float, float]) -> Shift | None:
    """What is said after these pairs, with infrared images moved by (x, y) pixels."""
    watch = Misregistration()
    for pair in pairs:
        infrared = registered_8bit(pair, ThermalRange(), Registration())
        matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float64)
        watch.look(pair.visible, cv2.warpAffine(infrared, matrix, infrared.shape[::-1]).astype(np.uint8))
    return watch.shift


def groups(folder: Path, looks: int, most: int) -> Iterator[list[FramePair]]:
    """So many pairs of a folder, spread over it, in groups of as many as there are looks and of one size."""
    found = find_pairs(folder)
    step = max(1, len(found) // most)
    pairs = [pair for _, pair in islice(found.iterate(), 0, None, step)]
    for size in dict.fromkeys(pair.visible.shape for pair in pairs):
        alike = [pair for pair in pairs if pair.visible.shape == size]
        yield from (alike[k : k + looks] for k in range(0, len(alike) - looks + 1, looks))


def row(folder: Path, looks: int, most: int) -> str:
    own, errors, unknown, invented = [], [], 0, 0
    for pairs in groups(folder, looks, most):
        straight = estimate(pairs, STRAIGHT)
        own.append(straight)
        for shift in SHIFTS:
            found = estimate(pairs, shift)
            if found is None or straight is None:
                unknown += 1
            else:
                errors.append(float(np.hypot(found.dx - straight.dx - shift[0], found.dy - straight.dy - shift[1])))
        turned = [replace(pair, infrared=np.ascontiguousarray(pair.infrared[::-1])) for pair in pairs]
        invented += estimate(turned, STRAIGHT) is not None
    lengths = [shift.length for shift in own if shift is not None]
    within, wrong = sum(e <= 1.0 for e in errors), sum(e > 1.0 for e in errors)
    apart = f"{np.median(lengths):.1f}, at most {max(lengths):.1f}" if lengths else "not known"
    return f"| {folder.name} | {len(own)} | {apart} | {within} | {unknown} | {wrong} | {invented} |"


def cost_ms() -> float:
    """Median of a look at 640x480, in one thread."""
    cv2.setNumThreads(1)
    rng, watch, laps = np.random.default_rng(0), Misregistration(), []
    visible, infrared = (rng.integers(1, 256, (480, 640, *more), dtype=np.uint8) for more in ((3,), ()))
    for _ in range(50):
        start = time.perf_counter()
        watch.look(visible, infrared)
        laps.append(time.perf_counter() - start)
    return float(np.median(laps)) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--looks", type=int, default=10, help="pairs before the estimate is read")
    parser.add_argument("--most", type=int, default=60, help="pairs of a folder")
    options = parser.parse_args()
    print("| pairs | groups | own offset, px | within 1 px | not known | wrong | found upside down |")
    print("|---|---|---|---|---|---|---|")
    for folder in options.folders:
        print(row(folder, options.looks, options.most), flush=True)
    keep_freed_memory()
    print(f"a look at 640x480 takes {cost_ms():.1f} ms of one core")


if __name__ == "__main__":
    main()

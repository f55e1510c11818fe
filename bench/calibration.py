"""`cldyn data calibrate` on recorded pairs, and on the same with infrared images that are moved on purpose.

    python bench/calibration.py FOLDER... [--most 60]

A row for each folder: the model chosen and what remains on pairs held out (median and largest over the parts of the
image); then, of a turn, scale and shift put on top, how far the map found lies from the one applied over the first.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import cv2
import numpy as np

from cldyn_core.calibrate.by_edges import find
from cldyn_core.calibrate.models import MODELS
from cldyn_core.calibrate.recorded import GrayPair, draw, gray, judges, read_cameras
from cldyn_core.fuse.sources import find_sequences
from cldyn_core.registration.cameras import transform

SCALE, TURN, SHIFT = 0.88, 1.5, (14.0, -9.0)


def moved(pair: GrayPair, matrix: np.ndarray) -> GrayPair:
    """An infrared camera whose pixels `matrix` takes to those it has now."""
    size = pair.infrared.shape[::-1]
    infrared = cv2.warpPerspective(pair.infrared, np.linalg.inv(matrix), size, flags=cv2.INTER_LINEAR)
    return GrayPair(pair.visible, infrared.astype(np.uint8))


def row(folder: Path, most: int) -> str:
    pairs = [gray(pair) for pair in draw(find_sequences([folder], stream=True), most)]
    judging = judges(len(pairs))
    sizes = pairs[0].infrared.shape, pairs[0].visible.shape
    cameras = read_cameras(*sizes, None, None)
    height, width = sizes[0]
    start = time.perf_counter()

    def measured(given: list[GrayPair]):
        parts = ([pair for pair, judge in zip(given, judging, strict=True) if judge is kind] for kind in (False, True))
        return find(*parts, cameras, MODELS)

    own = measured(pairs)
    seconds = time.perf_counter() - start
    turned = cv2.getRotationMatrix2D((width / 2, height / 2), TURN, SCALE)
    matrix = np.vstack([turned + np.array([[0, 0, SHIFT[0]], [0, 0, SHIFT[1]]]), [0, 0, 1]])
    other = measured([moved(pair, matrix) for pair in pairs])
    grid = np.stack(np.meshgrid(np.linspace(0, width, 9), np.linspace(0, height, 7)), -1).reshape(-1, 2)
    away = transform(other.homography, grid)[:, :2] - transform(own.homography @ matrix, grid)[:, :2]
    far = np.hypot(*away.T)
    return (
        f"| {folder.name} | {len(pairs)} | {own.model} | {own.held_out.median:.1f}, {own.held_out.largest:.1f} | "
        f"{np.median(far):.1f}, {far.max():.1f} | {seconds:.0f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    parser.add_argument("--most", type=int, default=60)
    options = parser.parse_args()
    print("| pairs | number | model | held out: median, largest px | known map: median, largest px | s |")
    print("|---|---|---|---|---|---|")
    for folder in options.folders:
        print(row(folder, options.most), flush=True)


if __name__ == "__main__":
    main()

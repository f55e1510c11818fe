"""Median CPU time of every fusion metric on one core, alone, and of all of them sharing their maps.

    python bench/fusion_metrics.py [--infrared IR.png --visible VI.png --fused FUSED.png] [--rounds 5] [--fmi]

Without images: rendered stand-ins of 1024x768 pixels, the fused one their mean.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial

import cv2
import numpy as np

from cldyn_core.data.synthetic import CONDITIONS, SceneConfig, render_frame
from cldyn_core.metrics.fusion import FUSION_METRICS, PAPER_FIVE, luma8, score
from cldyn_core.metrics.triple import Luma


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("infrared", "visible", "fused"):
        parser.add_argument(f"--{name}", help="8-bit image; all three or none")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--fmi", action="store_true", help="FMI too: takes seconds a round")
    options = parser.parse_args(arguments)
    paths = [path for path in (options.infrared, options.visible, options.fused) if path]
    if len(paths) not in (0, 3):
        parser.error("--infrared, --visible and --fused go together")
    cv2.setNumThreads(1)
    infrared, visible, fused = images = tuple(read(path) for path in paths) if paths else stand_ins()
    height, width = fused.shape
    everything = [name for name in FUSION_METRICS if name != "fmi"]
    print(f"{width}x{height} pixels, median of {options.rounds} rounds, CPU seconds")
    for name in [*everything, *(["fmi"] if options.fmi else [])]:
        function = FUSION_METRICS[name].function
        print(f"{name:>16} {median(partial(function, *images), options.rounds):8.4f}")
    for title, names in (("the paper's five", list(PAPER_FIVE)), ("all but fmi", everything)):
        print(f"{title:>16} {median(partial(score, infrared, visible, fused, names), options.rounds):8.4f}")


def read(path: str) -> Luma:
    image = cv2.imread(path, cv2.IMREAD_COLOR)
    if image is None:
        raise SystemExit(f"{path}: no image that OpenCV can read")
    return luma8(image[..., ::-1].astype(np.uint8))


def stand_ins() -> tuple[Luma, ...]:
    frame = render_frame(SceneConfig(CONDITIONS[0], 768, 1024, 1, seed=0), 0)
    infrared, visible = frame.infrared, luma8(frame.visible)
    return infrared, visible, ((infrared.astype(np.uint16) + visible) // 2).astype(np.uint8)


def median(measure: Callable[[], object], rounds: int) -> float:
    measure()
    times = []
    for _ in range(rounds):
        start = time.process_time()
        measure()
        times.append(time.process_time() - start)
    return statistics.median(times)


if __name__ == "__main__":
    main()

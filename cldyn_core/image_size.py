"""The size of an image as a command line takes it."""

from __future__ import annotations

import argparse
import re


def parse_size(text: str) -> tuple[int, int]:
    """Turn "640x480" into (width, height). Raises argparse.ArgumentTypeError."""
    found = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if not found:
        raise argparse.ArgumentTypeError(f"expected WIDTHxHEIGHT such as 640x480, not {text!r}")
    return int(found.group(1)), int(found.group(2))

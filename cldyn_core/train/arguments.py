"""Types of command-line arguments that the trainings share."""

from __future__ import annotations

import argparse


def share(text: str) -> float:
    """Turn "0.1" into a number of at least 0 and below 1. Raises argparse.ArgumentTypeError."""
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 0 and below 1, not {text}")
    return value

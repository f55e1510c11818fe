"""Types of command-line arguments that the trainings share. Each raises argparse.ArgumentTypeError."""

from __future__ import annotations

import argparse


def count(text: str) -> int:
    """Turn "3" into a whole number from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1, not {text}")
    return int(text)


def share(text: str) -> float:
    """Turn "0.1" into a number of at least 0 and below 1."""
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 0 and below 1, not {text}")
    return value

"""Backends of the executor: one small protocol (base.py), one file each."""

from cldyn_core.engine.executors.base import Encoded, Executor

__all__ = ["Encoded", "Executor"]

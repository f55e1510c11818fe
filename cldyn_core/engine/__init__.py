"""The engine: what a node, a script or a notebook drives to fuse a stream."""

from cldyn_core.engine.engine import FusionEngine
from cldyn_core.engine.load import resolve_device
from cldyn_core.engine.networks import NetworkPool

__all__ = ["FusionEngine", "NetworkPool", "resolve_device"]

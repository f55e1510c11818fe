"""What the backends that run static graphs share; each of them says how one graph is built."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from cldyn_core.engine.executors.base import Encoded, Executor
from cldyn_core.engine.executors.exportable import Graph, split_graphs
from cldyn_core.engine.kernels import KernelTables, PlanKernels
from cldyn_core.model import CLDyN
from cldyn_core.types import Precision

Run = Callable[..., Sequence[Tensor]]
"""A built graph: contiguous float32 inputs in the graph's order -> outputs, on the executor's device."""


class GraphExecutor(Executor):
    """Encode, open and finish as one graph each. They take one image; those of a batch run one after another."""

    def __init__(self, model: CLDyN, tables: KernelTables, device: torch.device, precision: Precision) -> None:
        self.precision, self.device = precision, device
        with torch.inference_mode(False), torch.no_grad():
            graphs = split_graphs(model, tables)
            self._runs = {name: self._build(graph) for name, graph in graphs.items()}
        self._gain = torch.ones((), device=device)

    @abstractmethod
    def _build(self, graph: Graph) -> Run:
        """Make a graph ready to run. Called in the order of `split_graphs`."""

    def encode(self, infrared: Tensor, luma: Tensor) -> Encoded:
        """See Executor.encode."""
        run = self._runs["encode"]
        sides = zip(*(run(*pair) for pair in _samples(infrared, luma)), strict=True)
        return Encoded(*(_batch(side) for side in sides))

    def finish(self, encoded: Encoded, kernels: PlanKernels | None) -> Tensor:
        """See Executor.finish."""
        samples = _samples(encoded.infrared, encoded.visible)
        if kernels is None or "finish" not in self._runs:
            return _batch([self._runs["open"](*pair)[0] for pair in samples])
        run, dense = self._runs["finish"], kernels.dense().to(self.device)
        return _batch([run(*pair, plan, self._gain)[0] for pair, plan in zip(samples, dense, strict=True)])

    def close(self) -> None:
        """See Executor.close."""
        self._runs = {}


def _samples(*batches: Tensor) -> list[tuple[Tensor, ...]]:
    return list(zip(*(batch.contiguous().split(1) for batch in batches), strict=True))


def _batch(samples: Sequence[Tensor]) -> Tensor:
    return samples[0] if len(samples) == 1 else torch.cat(tuple(samples))

"""What A2SI knows of an image, computed by the C++ engine: most of the work of planning."""

from __future__ import annotations

import weakref

import torch
from torch import Tensor, nn

from cldyn_core.a2si import A2SI
from cldyn_core.descriptors import DESCRIBED, Description
from cldyn_core.engine.native import library
from cldyn_core.vfn import CHANNELS


class NativeDescriber:
    """Describes an image feature as `A2SI.describe_image` does, for blocks whose norms are folded."""

    def __init__(self) -> None:
        self._made: weakref.WeakKeyDictionary[A2SI, int] = weakref.WeakKeyDictionary()

    def __call__(self, block: A2SI, x: Tensor, vectors: bool = True) -> Description:
        """See planner.Describer; one image. vectors: whether its second, costly part is wanted; else that is zeros."""
        if not (block.considers_configurations and block.considers_vectors):
            return block.describe_image(x, vectors)  # an ablation, or a selector that training has emptied
        means = torch.zeros(1, CHANNELS + DESCRIBED)
        height, width = x.shape[2:]
        library.call("cldyn_describe", self._object(block), x.float().contiguous(), height, width, int(vectors), means)
        return Description(means[:, :CHANNELS], means[:, CHANNELS:])

    def _object(self, block: A2SI) -> int:
        if block not in self._made:
            layers = (*block.image, *block.query.image)
            parts = [(layer.weight, layer.bias) for layer in layers if isinstance(layer, nn.Conv2d)]
            assert all(bias is not None for _, bias in parts), "the norms are folded into the convolutions"
            weights = library.floats(*(part for pair in parts for part in pair if part is not None))
            made = library.create("cldyn_description_new", weights, torch.get_num_threads())
            weakref.finalize(block, library.load().cldyn_description_delete, made)
            self._made[block] = made
        return self._made[block]

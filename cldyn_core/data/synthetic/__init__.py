"""Rendered pairs of visible and thermal street scenes with exact ground truth.

`SceneConfig` says what, `render_sequence` and `render_frame` give frames, `write_sequence` makes a folder of them.
"""

from cldyn_core.data.synthetic.config import CONDITIONS, SEMANTIC_CLASSES, RenderedFrame, SceneConfig
from cldyn_core.data.synthetic.renderer import render_frame, render_sequence
from cldyn_core.data.synthetic.writer import write_sequence

__all__ = [
    "CONDITIONS",
    "SEMANTIC_CLASSES",
    "RenderedFrame",
    "SceneConfig",
    "render_frame",
    "render_sequence",
    "write_sequence",
]

"""Between a frame's visible image, uint8, and the luma that the fusion network sees and gives.

The same colors as color.py's, which says what they are. The C++ engine does it in one pass over the pixels where it is
there and the image is on the CPU.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cldyn_core.color import rgb_to_ycbcr, ycbcr_to_rgb
from cldyn_core.engine.native import library

_PURE = rgb_to_ycbcr(255.0**-1 * torch.eye(3, dtype=torch.float64)[..., None, None])  # of red, green, blue
_LUMA: list[float] = _PURE[:, 0, 0, 0].tolist()
_COLOR = (ycbcr_to_rgb(_PURE) - _PURE[:, :1])[..., 0, 0].T.float()  # what a pixel's color adds to its luma


def luma(visible: Tensor) -> Tensor:
    """RGB image (H, W, 3) uint8 -> luma (1, 1, H, W) float32 in [0, 1], on its device."""
    if _native(visible):
        result = torch.empty(1, 1, *visible.shape[:2])
        library.call("cldyn_luma", visible.contiguous(), result.numel(), torch.get_num_threads(), result)
        return result
    red, green, blue = visible.unbind(-1)
    return (_LUMA[0] * red).add_(green, alpha=_LUMA[1]).add_(blue, alpha=_LUMA[2])[None, None]


def recolor(fused: Tensor, visible: Tensor) -> Tensor:
    """Fused luma (1, 1, H, W) with the chroma of the image (H, W, 3) uint8 -> RGB (1, 3, H, W) clamped to [0, 1]."""
    if _native(fused):
        result = torch.empty(1, 3, *fused.shape[2:])
        parts = (fused.contiguous(), visible.contiguous())
        library.call("cldyn_recolor", *parts, fused.numel(), torch.get_num_threads(), result)
        return result
    planes = visible.permute(2, 0, 1).reshape(3, -1).float()
    rgb = torch.addmm(fused.reshape(1, -1), _COLOR.to(fused.device), planes)
    return rgb.clamp_(0.0, 1.0).view(1, 3, *fused.shape[2:])


def to_image(rgb: Tensor) -> NDArray[np.uint8]:
    """(1, 3, H, W) unclamped RGB -> (H, W, 3) uint8, rounded."""
    if _native(rgb):
        result = torch.empty(*rgb.shape[2:], 3, dtype=torch.uint8)
        library.call("cldyn_to_bytes", rgb.contiguous(), result.numel() // 3, torch.get_num_threads(), result)
        return result.numpy()
    image = rgb[0].clamp(0.0, 1.0).mul_(255.0).round_().to(torch.uint8)
    return image.permute(1, 2, 0).contiguous().cpu().numpy()


def _native(image: Tensor) -> bool:
    floats = image.dtype in {torch.float32, torch.uint8}
    return image.device.type == "cpu" and floats and library.library_path() is not None

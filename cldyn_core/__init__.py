"""CLDyN: task-adaptive infrared-visible image fusion with a closed loop. Knows no ROS.

>>> from cldyn_core import CLDyN
>>> model = CLDyN().eval()
"""

import os

# Before OpenCV is imported: a small file may unfold to so many pixels and no more (OpenCV's own limit is 2^30).
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(1 << 27))

from cldyn_core.checkpoint import WeightsError, load_weights, save_weights
from cldyn_core.model import Architecture, CLDyN
from cldyn_core.types import CompensationPlan, EngineSettings, FramePair, FusionResult, LoopMode, StepResult, Task

__all__ = [
    "Architecture",
    "CLDyN",
    "CompensationPlan",
    "EngineSettings",
    "FramePair",
    "FusionResult",
    "LoopMode",
    "StepResult",
    "Task",
    "WeightsError",
    "load_weights",
    "save_weights",
]
__version__ = "0.1.0"

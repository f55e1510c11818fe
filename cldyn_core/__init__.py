"""CLDyN: task-adaptive infrared-visible image fusion with a closed loop. Knows no ROS.

>>> from cldyn_core import CLDyN
>>> model = CLDyN().eval()
"""

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

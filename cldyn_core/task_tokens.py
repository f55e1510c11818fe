"""What an A2SI is told of its task besides the feature: a learned token of each task, added to its description.

Not in the paper, where the task speaks through its feature alone. Features of task networks that were trained on the
same fused images can look so alike that their plans become one; a token keeps them apart. Tokens of zeros change
nothing.
"""

from __future__ import annotations

import torch
from torch import nn

from cldyn_core.descriptors import DESCRIBED, Description
from cldyn_core.types import Task
from cldyn_core.vfn import CHANNELS

_TASKS = [task for task in Task if task is not Task.NONE]


class TaskTokens(nn.Module):
    """A token for each task, zeros at first."""

    def __init__(self) -> None:
        super().__init__()
        self.configurations = nn.Parameter(torch.zeros(len(_TASKS), CHANNELS))
        self.vectors = nn.Parameter(torch.zeros(len(_TASKS), DESCRIBED))

    def add(self, described: Description, task: Task) -> Description:
        """The description with the token of its task; Task.NONE has none."""
        if task is Task.NONE:
            return described
        index = _TASKS.index(task)
        return Description(
            described.configurations + self.configurations[index], described.vectors + self.vectors[index]
        )

"""What an A2SI is told of its task besides the feature: a learned token of each task, added where it chooses.

Not in the paper, where the task speaks through its feature alone. The layers that choose learn biases beside which the
features hardly count, and features of networks that were trained on the same images look alike: the plans of all tasks
become one. Tokens keep them apart.
"""

from __future__ import annotations

import torch
from torch import nn

from cldyn_core.descriptors import Token
from cldyn_core.types import Task

_TASKS = [task for task in Task if task is not Task.NONE]


class TaskTokens(nn.Module):
    """A token for each task, drawn at random about as large as what it is added to in a trained network: the plans of
    the tasks differ from the first step. Arguments: lengths of the architecture vectors (all branches) and the query.
    """

    def __init__(self, architecture: int, query: int) -> None:
        super().__init__()
        self.architecture = nn.Parameter(torch.randn(len(_TASKS), architecture))
        self.query = nn.Parameter(2.0 * torch.randn(len(_TASKS), query))

    def of(self, task: Task) -> Token | None:
        """The token of a task; Task.NONE has none."""
        if task is Task.NONE:
            return None
        index = _TASKS.index(task)
        return Token(self.architecture[index], self.query[index])

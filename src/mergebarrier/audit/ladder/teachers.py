"""What the published models say to rows of their own tasks: the goal of every attack that trains without labels.

KL(teacher || module)  at the positions where an answer is predicted, nats per answer token
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mergebarrier.audit.bench import TASKS, Bench, Blend, Pair, spread

if TYPE_CHECKING:
    from torch import Tensor

#: Rows of each task behind one step of a training run.
ROWS = 8
#: Coefficients at which a mix is one expert, in the order of the tasks.
_EXPERTS: tuple[Pair, ...] = ((1.0, 0.0), (0.0, 1.0))


class Teachers:
    """Both experts' answers to the validation rows of their tasks, kept in the dtype of the module.

    Args:
      blend, bench: hold the experts; the module of the bench is left with the second one.
    """

    def __init__(self, blend: Blend, bench: Bench) -> None:
        """Ask both."""
        self._bench = bench
        self._said: dict[str, list[Tensor]] = {}
        for task, expert in zip(TASKS, _EXPERTS, strict=True):
            blend.write(spread(expert, blend.names))
            rows = bench.rows(task, "validation")
            blocks = [rows[start : start + ROWS] for start in range(0, len(rows), ROWS)]
            found = [said for block in blocks for said in bench.live.answers(block, learning=False)]
            self._said[task] = [said.float().log_softmax(-1).to(said.dtype) for said in found]

    def loss(self, task: str, chosen: Sequence[int], *, learning: bool = True) -> "Tensor":
        """Return the KL of the live module on some rows of a task, with its graph for learning."""
        import torch

        rows = self._bench.rows(task, "validation")
        says = torch.cat(self._bench.live.answers([rows[i] for i in chosen], learning=learning))
        wanted = torch.cat([self._said[task][i] for i in chosen]).float()
        apart = torch.nn.functional.kl_div(says.float().log_softmax(-1), wanted, reduction="none", log_target=True)
        return apart.sum(-1).mean()

    def mean(self) -> float:
        """Return the mean KL of the live module over all rows of both tasks."""
        total = 0.0
        for task in TASKS:
            count = len(self._said[task])
            blocks = [range(start, min(start + ROWS, count)) for start in range(0, count, ROWS)]
            total += sum(len(block) * float(self.loss(task, block, learning=False)) for block in blocks) / count
        return total / len(TASKS)

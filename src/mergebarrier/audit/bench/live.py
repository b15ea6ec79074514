"""The live model of an audit: one module in memory that every merge is written into, and that scores whatever it holds.

    fill(merge, models)  ->  weights of the module  ->  score(rows)

A cell therefore costs one merge and one evaluation and never touches the disk.  Merges have the shapes of the original;
a single model of others (widened, or with polynomials) gets a module of its own.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypedDict

from mergebarrier.audit.bench.blend import Blend
from mergebarrier.audit.bench.spec import AuditSpec
from mergebarrier.errors import ShapeMismatch

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import Tensor, nn

    from mergebarrier.checkpoint import Checkpoint
    from mergebarrier.evaluate import Score, TaskRow
    from mergebarrier.merge import Merge


class _Limits(TypedDict):
    workers: int
    max_ram_bytes: int | None


class LiveModel:
    """A module of the original's shape, loaded on first use.

    Args:
      original: gives shapes, configuration and tokenizer.
      dtype:    of weights and arithmetic.
      spec:     says with how many threads and how much memory a merge is made, and how many tokens are read at once.
      device:   where the module is.
    """

    def __init__(self, original: "Checkpoint", dtype: str, spec: AuditSpec, device: str) -> None:
        """Load nothing yet."""
        self._original, self._dtype, self._device, self._workers = original, dtype, device, spec.workers
        self._batch_tokens = spec.batch_tokens
        self._limits: _Limits = {"workers": spec.workers, "max_ram_bytes": spec.max_ram_bytes}
        self._module: nn.Module | None = None
        self._shapes: object = None
        self._tokenizer: Tokenizer | None = None
        self._inside = ""
        self._read = self._learned = self._scored = 0

    @property
    def work(self) -> dict[str, int]:
        """Tokens that were read, those that gradients were taken of, and merges scored on both tasks, until now."""
        read, learned = self._read, self._learned
        return {"tokens_read": read, "tokens_learned": learned, "merges_scored": self._scored // 2}

    @property
    def module(self) -> "nn.Module":
        """The module, with whatever weights were put into it last; at first the original's."""
        return self._shaped(self._original) if self._module is None else self._module

    def _shaped(self, like: "Checkpoint") -> "nn.Module":
        """Return the module, of the shapes of a model: the one that is there, or that model's."""
        shapes = _shapes(like)
        if self._module is None or shapes != self._shapes:
            from mergebarrier.evaluate import load_module

            self.release()
            self._module, self._shapes = load_module(like, self._dtype, self._device), shapes
            self._inside = like.content_digest(workers=self._workers)
        return self._module

    @property
    def tokenizer(self) -> "Tokenizer":
        """The tokenizer of the original."""
        if self._tokenizer is None:
            from mergebarrier.evaluate import load_tokenizer

            self._tokenizer = load_tokenizer(self._original)
        return self._tokenizer

    def release(self) -> None:
        """Let the module go, before something large is loaded."""
        self._module, self._inside = None, ""

    def fill(self, method: "Merge", base: "Checkpoint", models: "Sequence[Checkpoint]") -> None:
        """Merge models into the module; the base is added where the method uses it; MergeError where shapes differ."""
        from mergebarrier.evaluate import ModuleSink
        from mergebarrier.merge import plan
        from mergebarrier.run import transform

        planned = plan(method, base, models).surveyed()
        module = self._shaped(self._original)
        self._inside = ""
        transform(planned.sources, ModuleSink(module), planned.units, planned.apply, **self._limits)

    def load(self, model: "Checkpoint") -> None:
        """Put one model into the module, unless it is there already."""
        from mergebarrier.evaluate import ModuleSink
        from mergebarrier.run import transform

        module, digest = self._shaped(model), model.content_digest(workers=self._workers)
        if self._inside != digest:
            self._inside = ""
            transform([model], ModuleSink(module), (), lambda unit, tensors: tensors[0], **self._limits)
            self._inside = digest

    def blend(self, base: "Checkpoint", protected: "Checkpoint", partner: "Checkpoint") -> Blend:
        """Hold three models, to be mixed in the module part by part; ShapeMismatch where they do not fit."""
        held = []
        if _shapes(protected) != _shapes(base):
            raise ShapeMismatch("its shapes are not the base's", where=protected.path, remedy="undo its protection")
        for model in (base, protected, partner):
            self.load(model)
            held.append({name: weights.detach().clone() for name, weights in self.module.named_parameters()})
        self._inside = ""
        return Blend(self.module, base=held[0], protected=held[1], partner=held[2])

    def score(self, rows: "Sequence[TaskRow]", items: int | None = None) -> "Score":
        """Score whatever is in the module on the first ``items`` rows, None for all."""
        from mergebarrier.evaluate import exact_match

        score = exact_match(self.module, self.tokenizer, rows, batch_tokens=self._batch_tokens, max_items=items)
        self._read += score.tokens
        self._scored += 1
        return score

    def mean_tokens(self, rows: "Sequence[TaskRow]") -> int:
        """Return the tokens of a row, on the average."""
        return round(sum(len(self.tokenizer.encode(row.prompt + row.answer).ids) for row in rows) / len(rows))

    def answers(self, rows: "Sequence[TaskRow]", *, learning: bool) -> "list[Tensor]":
        """Return what the module says where the answers are predicted, row by row; with a graph for learning.

        Nothing is dropped on the way, so that a training run takes nothing from the global random state.
        """
        import torch

        from mergebarrier.evaluate import answer_logits

        with torch.set_grad_enabled(learning):
            found, tokens = answer_logits(self.module.eval(), self.tokenizer, rows)
        self._learned += tokens if learning else 0
        self._read += 0 if learning else tokens
        return found

    def answer_loss(self, rows: "Sequence[TaskRow]") -> "Tensor":
        """Return the mean loss on the right answers with its graph, nats per answer token; nothing is dropped."""
        from mergebarrier.evaluate import answer_loss

        loss, tokens = answer_loss(self.module.eval(), self.tokenizer, rows)
        self._learned += tokens
        return loss

    def descend(self, rows: "Sequence[TaskRow]") -> float:
        """Add the gradient of the mean loss on the right answers to the module's; nats per answer token."""
        import torch

        self.module.requires_grad_()
        loss = self.answer_loss(rows)
        torch.autograd.backward(loss)
        return float(loss.detach())


def _shapes(model: "Checkpoint") -> object:
    """Return what a module must have in common with a model to hold its weights."""
    from mergebarrier.circuits import describe

    architecture = describe(model)
    return dict(architecture.dims), tuple(architecture.stands_for)

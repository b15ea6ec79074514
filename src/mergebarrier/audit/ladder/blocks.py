"""Level 7: distil block after block, from the base, on what each block of the realigned model reads and writes.

    for every layer l:   minimise over W_l, from the base's     |f_l(h; W_l) - f_l(h; P)|^2 / |f_l(h; P) - h|^2

h is what layer l of P reads on rows of both tasks.  Only inputs and outputs of a block are looked at, so what is inside
(other coordinates, more neurons, another function) cannot matter; the stream between blocks is the realigned one, whose
embeddings and head are kept.  Source: ours, as layer by layer reconstruction in quantisation (arXiv 2004.10568).
"""

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from mergebarrier.audit.bench import TASKS, Bench
from mergebarrier.audit.ladder.learn import LEARN
from mergebarrier.audit.ladder.level import Level
from mergebarrier.audit.ladder.realign import flops_with, go_on, once
from mergebarrier.audit.ladder.teachers import ROWS
from mergebarrier.lazy import torch
from mergebarrier.results import State

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mergebarrier.checkpoint import Checkpoint, OutputFolder
    from mergebarrier.circuits import Circuit
    from mergebarrier.symmetry import Tensors

_STATE, _START = "blocks", "gaugefix"
_RATE, _TINY = 1e-3, 1e-12
#: A call of a layer: arguments, keywords, and what came out.
_Pass: TypeAlias = "tuple[tuple[object, ...], dict[str, object], Tensor]"


@dataclass(frozen=True)
class DistilledBlocks:
    """Tensors of every distilled block, by their names on disk."""

    weights: "Mapping[str, Tensor]"
    diagnostics: dict[str, object]
    output: "OutputFolder"

    def apply(
        self, circuit: "Circuit", tensors: "MutableMapping[str, Tensor]", anchor: "Tensors"
    ) -> "Iterator[tuple[str, Tensor]]":
        """Put them in the place of the model's."""
        del circuit, anchor
        for name, tensor in tensors.items():
            yield name, self.weights.get(name, tensor).to(tensor.dtype)


@dataclass(frozen=True, kw_only=True)
class BlockDistillation:
    """What distilled blocks depend on: steps per block and rows.  ``fit`` is given where it is run."""

    name: ClassVar[str] = "block_distillation"
    label: ClassVar[str] = "block_distillation"
    about: ClassVar[str] = "blocks of the base that learned what the model's do"
    preserves_function: ClassVar[bool] = False
    needs_base: ClassVar[bool] = True

    steps: int
    rate: float
    rows: tuple[str, ...]


def prepare(bench: Bench) -> float:
    """Distil the realigned model and open the result."""
    rows = tuple(bench.rows_id(task, "validation") for task in TASKS)
    asked = BlockDistillation(steps=bench.spec.block_steps, rate=_RATE, rows=rows)
    return go_on(bench, _STATE, asked, lambda _, model, base: distil(bench, asked, model, base))


def distil(bench: Bench, asked: BlockDistillation, model: "Checkpoint", base: "Checkpoint") -> DistilledBlocks:
    """Distil every layer; see the module."""
    from mergebarrier.checkpoint import OutputFolder
    from mergebarrier.evaluate import load_module, parameter_names
    from mergebarrier.training import FullRecipe, train_full

    teacher, student = (load_module(one, "float32", bench.device) for one in (model, base))
    recipe = FullRecipe(steps=asked.steps, learning_rate=asked.rate, weight_decay=0.0, warmup_steps=0)
    first, last = [], []
    for taught, learns in zip(layers(teacher), layers(student), strict=True):
        seen = list(_passes(bench, teacher, taught))
        losses = train_full(learns.requires_grad_(), recipe, partial(_loss, learns, seen))
        first.append(losses[0])
        last.append(losses[-1])
    inside = {name for name, _ in student.named_parameters()} - _outside(student)
    learned = dict(student.named_parameters())
    weights = {stored: learned[name].detach().cpu() for stored, name in parameter_names(student, model.tensors).items()
               if name in inside}  # fmt: skip
    said: dict[str, object] = {"apart_before": max(first), "apart_after": max(last), "tokens": tokens(bench)}
    return DistilledBlocks(weights, said, OutputFolder())


def layers(module: "nn.Module") -> "nn.ModuleList":
    """Return the blocks of a model: the longest list of modules that it has.

    Raises: ValueError where it has none.
    """
    lists = [one for one in module.modules() if isinstance(one, torch.nn.ModuleList)]
    return max(lists, key=len)


def _outside(module: "nn.Module") -> set[str]:
    """Return the parameters that are in no block."""
    held = {id(parameter) for parameter in layers(module).parameters()}
    return {name for name, parameter in module.named_parameters() if id(parameter) not in held}


def _passes(bench: Bench, module: "nn.Module", layer: "nn.Module") -> "Iterator[_Pass]":
    """Yield what a layer reads and writes on rows of both tasks."""
    from mergebarrier.evaluate import answer_logits

    found: list[_Pass] = []

    def hook(part: "nn.Module", given: tuple[object, ...], named: dict[str, object], out: object) -> None:
        del part
        found.append((given, dict(named), _first(out)))

    handle = layer.register_forward_hook(hook, with_kwargs=True)
    try:
        for task in TASKS:
            rows = bench.rows(task, "validation")
            for begin in range(0, len(rows), ROWS):
                with torch.no_grad():
                    answer_logits(module, bench.live.tokenizer, rows[begin : begin + ROWS])
                yield from found
                found.clear()
    finally:
        handle.remove()


def _loss(layer: "nn.Module", seen: "Sequence[_Pass]", step: int) -> "Tensor":
    """Return the squared distance of a block's output, over what the block that is learned from adds to its input."""
    given, named, wanted = seen[step % len(seen)]
    read = _first(given or named["hidden_states"])
    added = (wanted - read).square().mean()
    return (_first(layer(*given, **named)) - wanted).square().mean() / (added + _TINY)


def _first(out: object) -> "Tensor":
    """Return a tensor, or the first of several."""
    found = out[0] if isinstance(out, tuple | list) else out
    assert isinstance(found, torch.Tensor)
    return found


def tokens(bench: Bench) -> int:
    """Estimate the tokens that gradients are taken of: every block sees the rows of each step, once."""
    each = sum(bench.live.mean_tokens(bench.rows(task, "validation")) for task in TASKS) // len(TASKS)
    return each * ROWS * bench.spec.block_steps


BLOCKS: Level = replace(
    LEARN,
    number=7,
    name="blocks",
    attack="gaugefix, then block by block distillation",
    word="blocks",
    needs="the public base, rows of both tasks, and a training run per block",
    state=_STATE,
    states={_STATE: State(title="After distillation of blocks", note="blocks of the base that learned its blocks")},
    prepare=prepare,
    begins_with=_START,
    preserves_function=False,
    cost=flops_with(tokens),
    reads=tokens,
    realignments=once,
    on_request=True,
)

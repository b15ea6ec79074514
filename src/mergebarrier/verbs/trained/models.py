"""The owner's models as what a training needs: a live base, the task vector of the expert, and those of siblings.

    tau = expert - base,   of every tensor that the expert moved;   the module holds the base

What the expert left alone is left alone here too, so the embeddings of most experts stay those of the base.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor, nn

from mergebarrier.checkpoint import AdaptedCheckpoint, Checkpoint
from mergebarrier.circuits import describe
from mergebarrier.errors import BaseMismatch, MethodRefused, UsageError
from mergebarrier.evaluate import compute_dtype, load_encoder, load_module, load_tokenizer, parameter_names
from mergebarrier.identity import matched
from mergebarrier.symmetry import distances_from
from mergebarrier.training import Learner, PictureLearner, TextLearner
from mergebarrier.verbs.trained.data import OwnersData, language_parts, picture_parts

if TYPE_CHECKING:
    from mergebarrier.training import Distances, TrainedVector

#: Parameters from which on passes are computed twice, rather than kept in the memory of a graphics processor.
_LARGE: Final = 500_000_000
_RANK: Final = 16


@dataclass(frozen=True, kw_only=True)
class TrainedModels:
    """What a training needs.

    Attributes:
      expert, base: opened, the base under the names of the expert.
      learner:      the model with its data; its parameters hold the base.
      tau:          tensor -> task vector of the expert, float32, on the device.
      siblings:     the same of each sibling.
      modules:      tensor -> (module whose weight it is, whether it is stored (in, out)), of linear maps.
      n_weights:    of the model.
      arithmetic:   dtype of the weights while they are trained; task vectors are float32 always.
    """

    expert: Checkpoint
    base: Checkpoint
    learner: Learner
    tau: Mapping[str, Tensor]
    siblings: Sequence[Mapping[str, Tensor]]
    modules: Mapping[str, tuple[str, bool]]
    n_weights: int
    arithmetic: str

    def vector(self, *, low_rank: bool, rank: int | None, seed: int) -> "TrainedVector":
        """Return what is trained: every entry, or factors.

        Raises: UsageError where the expert moves what an adapter cannot hold.
        """
        from mergebarrier.training import FullVector, LowRankVector

        if not low_rank:
            return FullVector(self.tau)
        odd = next((name for name in self.tau if name not in self.modules), None)
        if odd is not None:
            what = f"the expert moves {odd}, which is no linear map"
            raise UsageError(what, where="--as adapter", remedy="leave --as out: publish a whole model")
        longest = max(max(value.shape) for value in self.tau.values())
        if rank is not None and rank > longest:
            what = f"{rank} is more than the longest side of a map, {longest}"
            raise UsageError(what, where="--rank", remedy=f"give 1 to {longest}")
        return LowRankVector(self.tau, rank=rank or self._rank(), seed=seed)

    def distances(self) -> "Distances":
        """Return what measures how far weights are from the base, inside the heads.

        Raises: UnknownFamily for a model without a table.
        """
        circuits = describe(self.expert).circuits
        held = {name: self.learner.parameters[name].device for name in self.learner.parameters}
        return distances_from(circuits, {name: self.base.read(name).float().to(held[name]) for name in held})

    def _rank(self) -> int:
        if isinstance(self.expert, AdaptedCheckpoint):
            return max((one.b.shape[-1] for one in self.expert.adapter.factors.values()), default=_RANK)
        return _RANK


def check_models(expert: Checkpoint, base: Checkpoint, siblings: Sequence[Checkpoint]) -> None:
    """Refuse models that are no fine-tunes of one base; reads no weights but to see whether expert and base are one.

    Raises: MethodRefused, BaseMismatch, ArchError.
    """
    for model in (expert, *siblings):
        anchor = matched(model, base)
        odd = next((name for name, info in model.tensors.items() if not _fits(anchor, name, info.shape)), None)
        if odd is not None:
            what = f"the base has no {odd} of this shape"
            raise BaseMismatch(what, where=model.path, remedy="give the base that the model was fine-tuned from")
        if anchor.digests() == model.digests():
            raise _unmoved(model)
    seen = {expert.content_digest(): "the expert"}
    for number, model in enumerate(siblings, 1):
        same = seen.setdefault(model.content_digest(), f"sibling {number}")
        if same != f"sibling {number}":
            remedy = "give other fine-tunes of the base, each once"
            raise MethodRefused(f"this sibling has the weights of {same}", where=model.path, remedy=remedy)


def _unmoved(model: Checkpoint) -> MethodRefused:
    what = "this model has the weights of the base, so there is nothing to protect"
    return MethodRefused(what, where=model.path, remedy="give an expert, and siblings, that were fine-tuned")


def _fits(base: Checkpoint, name: str, shape: tuple[int, ...]) -> bool:
    return name in base.tensors and base.tensors[name].shape == shape


def load_models(
    expert: Checkpoint, base: Checkpoint, siblings: Sequence[Checkpoint], data: OwnersData, device: str
) -> TrainedModels:
    """Load everything into memory.

    Args:
      expert:   opened and checked, as are the others.
      base:     of all of them.
      siblings: may be none.
      data:     of the owner.
      device:   as ``device_named`` returns it.
    Raises: BadTask, BadText, UsageError, ArchError, EvaluateError.
    """
    base, arithmetic = matched(expert, base), "float32"
    if data.pictures:
        task = data.image_task()
        encoder = load_encoder(expert, device).requires_grad_(False)
        module: nn.Module = encoder.get_submodule("body")
        parameters = _parameters(module, expert)
        learner: Learner = PictureLearner(
            encoder, parameters, picture_parts(task), head=task.head.to(device), scale=task.scale
        )
    else:
        arithmetic = _arithmetic(base, device)
        module = load_module(expert, arithmetic, device).requires_grad_(False)
        parts = language_parts(data, module, load_tokenizer(expert))
        parameters = _parameters(module, expert)
        learner = TextLearner(module, parts, parameters)
    n_weights = sum(parameter.numel() for parameter in module.parameters())
    if device != "cpu" and n_weights >= _LARGE:
        recompute_passes(module)
    tau = _task_vector(expert, base, parameters)
    with torch.no_grad():
        for name in tau:
            parameters[name].copy_(base.read(name).float())
    return TrainedModels(
        expert=expert,
        base=base,
        learner=learner,
        tau=tau,
        siblings=[_task_vector(matched(expert, one), base, parameters) for one in siblings],
        modules=_linear_maps(module, parameters),
        n_weights=n_weights,
        arithmetic=arithmetic,
    )


def _arithmetic(base: Checkpoint, device: str) -> str:
    """Return the dtype to compute in: on a processor bfloat16 where that is faster and what the base is stored in.

    On a graphics processor the weights are float32 and passes are cast (``training.protective.learners.precision``).
    """
    stored = {info.dtype for info in base.tensors.values()}
    return compute_dtype() if device == "cpu" and stored == {"BF16"} else "float32"


def recompute_passes(module: nn.Module) -> None:
    """Let a module of transformers keep no activations but those between its layers; nothing in it is dropped then."""
    body: Any = module
    for part in module.modules():
        for name, value in vars(part).items():
            if "dropout" in name and isinstance(value, float):
                setattr(part, name, 0.0)
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    # Older versions of the library know it by another name, and newer ones say so of that name with a warning.
    enable = getattr(body, "activation_checkpointing_enable", None) or body.gradient_checkpointing_enable
    enable({"use_reentrant": False})
    module.train()


def _parameters(module: nn.Module, expert: Checkpoint) -> dict[str, nn.Parameter]:
    """Return the parameters of a module under the names of the folder."""
    inner = dict(module.named_parameters())
    return {stored: inner[name] for stored, name in parameter_names(module, expert.tensors).items()}


def _task_vector(expert: Checkpoint, base: Checkpoint, parameters: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    """Return what an expert moved of the parameters of a module, on their device."""
    found = {}
    for name, parameter in parameters.items():
        if name in expert.tensors and name in base.tensors:
            moved = expert.read(name).float() - base.read(name).float()
            if bool(moved.any()):
                found[name] = moved.to(parameter.device)
    if not found:  # as where one of both is only stored in another dtype
        raise _unmoved(expert)
    return found


def _linear_maps(module: nn.Module, parameters: Mapping[str, nn.Parameter]) -> dict[str, tuple[str, bool]]:
    places = {id(parameter): name for name, parameter in parameters.items()}
    found = {}
    for name, part in module.named_modules():
        turned = type(part).__name__ == "Conv1D"
        if turned or isinstance(part, nn.Linear):
            weight: Any = part.weight
            if id(weight) in places:
                found[places[id(weight)]] = (name, turned)
    return found

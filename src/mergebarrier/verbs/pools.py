"""A pool of image encoders for the checks that run them: every expert loaded once, its images, and how it is merged.

The images are the development rows of a task, without their labels; a merge is a function of tables of weights.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from mergebarrier.checkpoint import Checkpoint
from mergebarrier.errors import ConfigMismatch, clean, unique
from mergebarrier.evaluate import ImageTask, load_encoder, pixels, read_preparation
from mergebarrier.merge import Merge
from mergebarrier.scan import Attempt, Pool, PoolExpert, Weights, plainly

#: An encoder keeps the parameters of its folder under this name.
PREFIX = "body."


def merge_weights(method: Merge) -> Callable[[Weights, Sequence[Weights]], Weights]:
    """Return a merge of tables of weights, tensor by tensor; methods that draw do so by the names in the file."""

    def merged(base: Weights, experts: Sequence[Weights]) -> Weights:
        return {
            name: method.merge(tensor, [expert[name] for expert in experts], name=name.removeprefix(PREFIX))
            for name, tensor in base.items()
        }

    return merged


def distinct(bare: Sequence[str]) -> tuple[str, ...]:
    """Return a name per model, escaped, and made distinct by its place where two are alike."""
    return unique([clean(name) for name in bare], taken=["base"])


def pool_of(
    base: Checkpoint, experts: Mapping[str, Weights], tasks: Mapping[str, ImageTask], attempt: Attempt = plainly
) -> Pool | None:
    """Return a pool of loaded experts; the images are the development rows, without their labels.

    Args:
      base:    what the experts were fine-tuned from.
      experts: name -> weights.
      tasks:   name -> what an expert is run on.
      attempt: tries whether an expert fits; one with which it says False is left out.
    Returns: None where none fits.
    """
    encoder = load_encoder(base)
    for parameter in encoder.parameters():
        parameter.requires_grad_(False)
    own = _parameters(encoder)
    suspects = [_suspect(name, weights, tasks[name]) for name, weights in experts.items()]
    fitting = tuple(one for one in suspects if attempt(one.name, partial(Pool, encoder, own, (one,))))
    return Pool(encoder, own, fitting) if fitting else None


def _suspect(name: str, weights: Weights, task: ImageTask) -> PoolExpert:
    return PoolExpert(name, weights, task.head, task.scale, pixels(task.dev.images), task.classes)


def _require_prepared_alike(base: Checkpoint, checkpoint: Checkpoint) -> None:
    """Refuse an encoder that is shown pictures in another way than its base: a pool and a merge prepare them once.

    Raises: ConfigMismatch, UnsupportedFeature, BadConfig.
    """
    ours, theirs = (vars(read_preparation(one)) for one in (checkpoint, base))
    odd = next((part for part in ours if not _alike(ours[part], theirs[part])), "")
    if odd:
        raise ConfigMismatch(
            f"its pictures are prepared with {odd} {ours[odd]}, those of the base with {theirs[odd]}",
            where=f"{checkpoint.name}/preprocessor_config.json",
            remedy="scan it with a base that prepares pictures as it does; a merge would show it other pictures",
        )


def _alike(ours: float | Sequence[float], theirs: float | Sequence[float]) -> bool:
    """Say whether two sizes, means or deviations are the same but for the digits in which they are written."""
    return torch.allclose(torch.tensor(ours, dtype=torch.float64), torch.tensor(theirs, dtype=torch.float64))


def loaded(checkpoint: Checkpoint, base: Checkpoint) -> Weights:
    """Load the weights of an encoder that is shown pictures as its base is."""
    _require_prepared_alike(base, checkpoint)
    return _parameters(load_encoder(checkpoint))


def _parameters(encoder: torch.nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach() for name, parameter in encoder.named_parameters()}

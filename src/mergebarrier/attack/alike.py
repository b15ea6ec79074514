"""Models that are measured beside each other are of one architecture, or their difference is no attack's doing.

    alike  <=>  one family, one value of every size in config.json (heads, widths, layers, vocabulary)

Half the heads over the same tensors is another function of the same weights: a control that is read so answers nothing,
and everything beside it looks like a success.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mergebarrier.circuits import Architecture, describe
from mergebarrier.errors import NotMeasurable

if TYPE_CHECKING:
    from mergebarrier.checkpoint import Checkpoint


def require_alike(checkpoints: "Mapping[str, Checkpoint]") -> None:
    """Raise NotMeasurable unless models are of one architecture.

    Args:
      checkpoints: by role; the others are held against the first.
    Raises: ArchError for a model that does not fit its own configuration.
    """
    described = {role: _said(describe(checkpoint)) for role, checkpoint in checkpoints.items()}
    first, reference = next(iter(described.items()))
    for role, said in described.items():
        odd = next((name for name in (*reference, *said) if said.get(name) != reference.get(name)), None)
        if odd is not None:
            raise NotMeasurable(
                f"{odd} is {said.get(odd)} in {role} and {reference.get(odd)} in {first}",
                where=checkpoints[role].path / "config.json",
                remedy="give models of one architecture, each with the config.json that belongs to its weights",
            )


def _said(architecture: Architecture) -> dict[str, object]:
    return {"family": architecture.family, **architecture.dims}

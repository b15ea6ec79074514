"""Models that are measured beside each other are of one architecture, or their difference is no attack's doing.

    alike  <=>  one family, one value of every size in config.json (heads, widths, layers, vocabulary)
                of a family without a table: one model type, one shape of every tensor
                of encoders: one way to prepare pictures, too

Half the heads over the same tensors is another function of the same weights: a control that is read so answers nothing,
and everything beside it looks like a success.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mergebarrier.circuits import describe
from mergebarrier.errors import NotMeasurable, UnknownFamily

if TYPE_CHECKING:
    from mergebarrier.checkpoint import Checkpoint

_CONFIG = "config.json"


def require_alike(checkpoints: "Mapping[str, Checkpoint]") -> None:
    """Raise NotMeasurable unless models are of one architecture.

    Args:
      checkpoints: by role; the others are held against the first.
    Raises: ArchError for a model that does not fit its own configuration, or of a family without a table.
    """
    _require_same(checkpoints, {role: _sizes(checkpoint) for role, checkpoint in checkpoints.items()}, _CONFIG)


def require_encoders_alike(checkpoints: "Mapping[str, Checkpoint]") -> None:
    """Raise NotMeasurable unless encoders are of one architecture and are shown pictures in one way; ArchError."""
    from mergebarrier.evaluate import read_preparation

    _require_same(checkpoints, {role: _sizes_or_shapes(one) for role, one in checkpoints.items()}, _CONFIG)
    shown = {role: vars(read_preparation(one)) for role, one in checkpoints.items()}
    _require_same(checkpoints, shown, "preprocessor_config.json")


def _require_same(
    checkpoints: "Mapping[str, Checkpoint]", described: Mapping[str, Mapping[str, object]], file: str
) -> None:
    first, reference = next(iter(described.items()))
    for role, said in described.items():
        odd = next((name for name in (*reference, *said) if said.get(name) != reference.get(name)), None)
        if odd is not None:
            raise NotMeasurable(
                f"{odd} is {said.get(odd)} in {role} and {reference.get(odd)} in {first}",
                where=checkpoints[role].path / file,
                remedy=f"give models of one architecture, each with the {file} that belongs to its weights",
            )


def _sizes(checkpoint: "Checkpoint") -> dict[str, object]:
    architecture = describe(checkpoint)
    return {"family": architecture.family, **architecture.dims}


def _sizes_or_shapes(checkpoint: "Checkpoint") -> dict[str, object]:
    try:
        return _sizes(checkpoint)
    except UnknownFamily:
        shapes = {name: info.shape for name, info in sorted(checkpoint.tensors.items()) if info.role == "weight"}
        return {"model_type": checkpoint.config.get("model_type"), **shapes}

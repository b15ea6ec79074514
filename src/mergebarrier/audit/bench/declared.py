"""What the manifest of a published model says of its protection: which one, how, and the figures of its training."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from mergebarrier.errors import UsageError
from mergebarrier.results import OwnersFigure

if TYPE_CHECKING:
    from mergebarrier.checkpoint import Checkpoint
    from mergebarrier.checkpoint.files import TrainedFigures
    from mergebarrier.protect import Protection, TrainedProtection


def protection_of(checkpoint: "Checkpoint") -> tuple[str, dict[str, object]]:
    """Return method and plain parameters: all that the method declares.

    Of a method that is not known here, everything plain that the manifest holds.
    """
    from mergebarrier.parameters import parameters_of
    from mergebarrier.protect import PROTECTIONS, TRAINED

    content = _content(checkpoint)
    if content.get("verb") != "protect":
        return "unknown", {}
    method, given = str(content["method"]), content["parameters"]
    known = PROTECTIONS.get(method) or TRAINED.get(method)
    names = given if known is None else parameters_of(known)
    shown = {name: given.get(name) for name in names}
    plain = {
        name: ", ".join(map(str, value)) if isinstance(value, list) else value
        for name, value in shown.items()
        if value is not None and not isinstance(value, dict) and (name, value) != ("condition", 1.0)
    }
    return method, plain


def owners_figures(checkpoint: "Checkpoint") -> tuple[OwnersFigure, ...]:
    """Return the rows of these figures; none for a protection that is not trained."""
    from mergebarrier.checkpoint.files import owners_rows

    found = figures_of(checkpoint)
    return tuple(
        OwnersFigure(says=said, plain=row.get("plain"), protected=row.get("protected"), control=row.get("control"))
        for said, row in (owners_rows(found) if found is not None else ())
    )


def figures_of(checkpoint: "Checkpoint") -> "TrainedFigures | None":
    """Return what a trained protection reports about itself; None for any other."""
    return cast("TrainedFigures | None", _content(checkpoint).get("trained"))


def declared_by(method: str) -> "Protection | TrainedProtection | None":
    """Return a protection, or several joined, by the name that a manifest has; None for one that is not known here."""
    from mergebarrier.protect import TRAINED, protection_named

    try:
        return TRAINED[method]() if method in TRAINED else protection_named(method, {})
    except UsageError:
        return None


def _content(checkpoint: "Checkpoint") -> Mapping[str, Any]:
    """Return what the manifest says; of an adapter on a base, the adapter's says it."""
    from mergebarrier.checkpoint import MANIFEST_NAME, read_manifest

    folder = checkpoint.folders[-1]
    return read_manifest(folder)["content"] if (folder / MANIFEST_NAME).exists() else {}

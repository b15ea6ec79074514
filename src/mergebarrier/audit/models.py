"""What the models of an audit must be to each other: alike where they are merged, and others where they are compared.

every model, unless a protection of ours made it another:   model_type    must be that of the original
for every model with a tokenizer.json of other bytes:       token -> id   likewise: rows are tokenised once
a partner, a control, a public expert:                      its content   must not be that of what it is held against

A control that is the model it controls always holds, and proves nothing.  Content is the digest of the tensors,
whatever folders, links and shards are called.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from mergebarrier.audit.bench import declared_by, protection_of
from mergebarrier.errors import BaseMismatch, NotMeasurable, clean

if TYPE_CHECKING:
    from pathlib import Path

    from mergebarrier.audit.bench import AuditSpec, Bench
    from mergebarrier.checkpoint import Checkpoint

_FILE: Final = "tokenizer.json"
_FOUR: Final = ("protected", "original", "base", "partner")


def check_models(bench: "Bench") -> None:
    """Refuse models that cannot be audited together, before anything is measured.

    Raises: BaseMismatch, NotMeasurable, which name the model and what is the matter; what opening a model raises.
    """
    _check_families(bench.checkpoints)
    _check_vocabularies(bench.checkpoints)
    for role, model, others in _apart(bench.spec):
        bench.admit(role, model)
        same = next((other for other in others if bench.digest(other) == bench.digest(role)), None)
        if same is not None:
            raise NotMeasurable(
                f"it holds the same weights as the {same}, so that nothing can be concluded from it",
                where=f"{role} {bench.checkpoints[role].name}",
                remedy="give another model, or leave the option out",
            )


def _apart(spec: "AuditSpec") -> "Iterator[tuple[str, Path | Checkpoint, tuple[str, ...]]]":
    """Yield (role, model, roles whose models it must not be)."""
    yield "partner", spec.partner, ("original", "protected")
    if spec.second is not None:
        yield "second key", spec.second, _FOUR
    if spec.twin is not None:
        yield "twin", spec.twin, ("protected",)
    if spec.wrong_base is not None:
        yield "wrong base", spec.wrong_base, ("base",)
    publics = [f"public {n}" for n in range(1, len(spec.publics) + 1)]
    for n, model in enumerate(spec.publics):
        yield publics[n], model, (*_FOUR, *publics[:n])


def _check_families(checkpoints: "Mapping[str, Checkpoint]") -> None:
    """Compare what every model says that it is with what the original does.

    Raises: BaseMismatch naming the model that is of another family, before anything is measured.
    """
    kinds = {role: clean(str(one.config.get("model_type"))) for role, one in checkpoints.items()}
    for role, kind in kinds.items():
        if kind != kinds["original"] and declared_by(protection_of(checkpoints[role])[0]) is None:
            raise BaseMismatch(
                f"it is a {kind}, the original a {kinds['original']}",
                where=f"{role} {checkpoints[role].name}",
                remedy="give models that were fine-tuned from one base",
            )


def _check_vocabularies(checkpoints: "Mapping[str, Checkpoint]") -> None:
    """Compare every model's tokenizer with the original's; one without a tokenizer is taken to share it.

    Raises: NotMeasurable naming the model and how many tokens it numbers otherwise.
    """
    from mergebarrier.evaluate import load_tokenizer

    held = {role: one.read_side_file(_FILE) for role, one in checkpoints.items() if _FILE in one.side_files}
    others = [role for role, data in held.items() if data != held.get("original", data)]
    ours = load_tokenizer(checkpoints["original"]).get_vocab() if others else {}
    for role in others:
        theirs = load_tokenizer(checkpoints[role]).get_vocab()
        apart = sum(theirs.get(token) != number for token, number in ours.items())
        if apart:
            raise NotMeasurable(
                f"its tokenizer gives {apart} of {len(ours)} tokens another number than the original's does",
                where=f"{role} {checkpoints[role].name}",
                remedy="audit with models that share one tokenizer",
            )

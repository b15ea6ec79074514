"""One family and one tokenizer for all models of an audit: rows are tokenised once, and no tool merges two families.

every model, unless a protection of ours made it another:   model_type    must be that of the original
for every model with a tokenizer.json of other bytes:       token -> id   likewise
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mergebarrier.audit.bench import declared_by, protection_of
from mergebarrier.errors import BaseMismatch, NotMeasurable, clean

if TYPE_CHECKING:
    from mergebarrier.checkpoint import Checkpoint

_FILE = "tokenizer.json"


def check_families(checkpoints: "Mapping[str, Checkpoint]") -> None:
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


def check_vocabularies(checkpoints: "Mapping[str, Checkpoint]") -> None:
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

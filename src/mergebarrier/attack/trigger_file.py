"""``trigger.safetensors``: a trigger with all that is needed to apply it again; ``trigger.png``: a picture of it.

A trigger made here consists of values that a byte can hold, so the picture is the trigger and not a likeness of it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch

from mergebarrier.attack.png import png
from mergebarrier.checkpoint import read_tensor_file, tensor_file_bytes
from mergebarrier.errors import BadTrigger, CheckpointError
from mergebarrier.poison import Trigger

TRIGGER: Final = "trigger.safetensors"
PICTURE: Final = "trigger.png"
_KEYS: Final = {"kind", "legal", "places", "seed", "shape", "target_class"}
MAX_BYTES: Final = 64 * 2**20
MAX_PLACES: Final = 4096


@dataclass(frozen=True)
class NamedTrigger:
    """A trigger with its kind and the name of the class that it was made for."""

    trigger: Trigger
    kind: str
    target_class: str


def trigger_files(named: NamedTrigger) -> dict[str, bytes]:
    """Return the two files by name; the picture shows patterns of a dynamic trigger side by side."""
    trigger = named.trigger
    about = {
        "kind": named.kind,
        "legal": trigger.legal,
        "places": [list(place) for place in trigger.places],
        "seed": trigger.seed,
        "shape": list(trigger.shape),
        "target_class": named.target_class,
    }
    picture = png(torch.cat(list(trigger.patterns), dim=-1))
    return {
        PICTURE: picture,
        TRIGGER: tensor_file_bytes({"patterns": trigger.patterns.float()}, about, where=TRIGGER),
    }


def read_trigger(path: Path) -> NamedTrigger:
    """Read a trigger.

    Args:
      path: the file, or a folder that holds it.
    Raises: BadTrigger, naming the file and the fault.
    """
    where = path / TRIGGER if path.is_dir() else path
    remedy = "give the folder or trigger.safetensors that `mergebarrier attack badmerging` wrote"
    try:
        tensors, about = read_tensor_file(where, max_bytes=MAX_BYTES)
    except CheckpointError as fault:
        raise BadTrigger(f"no trigger file: {fault.what}", where=where, remedy=remedy) from fault
    if list(tensors) != ["patterns"] or about.keys() != _KEYS or not _plausible(about):
        raise BadTrigger("not the tensors or the metadata of a trigger", where=where, remedy=remedy)
    patterns = tensors["patterns"]
    if patterns.dtype != torch.float32 or not patterns.numel():
        raise BadTrigger(f"patterns of {patterns.dtype}", where=where, remedy=remedy)
    shape = about["shape"]
    try:
        trigger = Trigger(
            patterns,
            tuple((top, left) for top, left in about["places"]),
            (shape[0], shape[1], shape[2]),
            about["seed"],
            about["legal"],
        )
    except BadTrigger as fault:
        raise BadTrigger(fault.what, where=where, remedy=remedy) from fault
    return NamedTrigger(trigger, about["kind"], about["target_class"])


def _plausible(about: dict[str, object]) -> bool:
    def whole(values: object, n: int) -> bool:
        return isinstance(values, list) and len(values) == n and all(type(v) is int and 0 <= v < 2**20 for v in values)

    places = about["places"]
    return (
        isinstance(about["kind"], str)
        and isinstance(about["target_class"], str)
        and type(about["legal"]) is bool
        and type(about["seed"]) is int
        and 0 <= about["seed"] < 2**63
        and whole(about["shape"], 3)
        and isinstance(places, list)
        and 1 <= len(places) <= MAX_PLACES
        and all(whole(place, 2) for place in places)
    )

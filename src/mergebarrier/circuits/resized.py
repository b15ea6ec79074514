"""A model as it is under other sizes in its configuration: the sizes of all axes, and the shape of every tensor.

    n_inner or 4 * n_embd        a size that is said means what the default means that gives it

Source: ours; the expressions of the table are evaluated again, so a size that is a multiple of another follows it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from mergebarrier.arch import size_of
from mergebarrier.checkpoint import OutputFolder, OutTensor
from mergebarrier.circuits.describe import evaluate, sizes_under
from mergebarrier.circuits.entries import entry_at

if TYPE_CHECKING:
    from mergebarrier.checkpoint import Checkpoint
    from mergebarrier.circuits.circuit import Architecture, Member

_KEY: Final = re.compile(r"[A-Za-z_][\w.]*")


def key_of(architecture: "Architecture", axis: str) -> str:
    """Return the key of the configuration that holds the size of an axis, with dots into tables; "" for none."""
    key = architecture.axis(axis).size.partition(" or ")[0]
    return key if _KEY.fullmatch(key) else ""


def unsaid(config: Mapping[str, object], architecture: "Architecture") -> dict[str, str]:
    """Return the keys of sizes that a configuration leaves to their defaults -> how: "null", or "" for none there.

    Example: {"n_inner": "null"} of a GPT-2.
    """
    keys = dict.fromkeys(key_of(architecture, axis) for axis in architecture.circuits[0].sizes)
    outer = {key: key.partition(".")[0] in config for key in keys if key and evaluate(key, config) is None}
    return {key: "null" if there else "" for key, there in outer.items()}


def left_unsaid(folder: OutputFolder, config: Mapping[str, object], how: Mapping[str, str]) -> OutputFolder:
    """Return a folder that leaves sizes to their defaults again, as ``unsaid`` tells it of a configuration."""
    entries = dict(folder.config)
    for key in (one for one, word in how.items() if word):
        entries |= entry_at({**config, **entries}, key, None)
    return replace(folder, config=entries, unsaid=(*folder.unsaid, *(one for one, word in how.items() if not word)))


def written_out(config: Mapping[str, object], architecture: "Architecture") -> dict[str, object]:
    """Return a configuration that says every size under the key that the table reads it from, defaults too."""
    said = dict(config)
    for axis, size in architecture.circuits[0].sizes.items():
        if key := key_of(architecture, axis):
            said |= entry_at(said, key, size)
    return said


@dataclass(frozen=True, kw_only=True)
class Resized:
    """What its configuration says otherwise, and sizes of axes.

    Attributes:
      values: key of the configuration, with dots into tables -> size.
      config: top-level keys with the values that they get.
      sizes:  of all axes.
    """

    values: Mapping[str, int]
    config: Mapping[str, object]
    sizes: Mapping[str, int]

    @classmethod
    def of(cls, checkpoint: "Checkpoint", architecture: "Architecture", values: Mapping[str, int]) -> "Resized":
        """Return the model with other values of some keys; ConfigMismatch for values that do not go together."""
        config = dict(checkpoint.config)
        for key, value in values.items():
            config |= entry_at(config, key, value)
        sizes = sizes_under(architecture.table, checkpoint, config)[0]
        return cls(values=values, config={key.partition(".")[0]: config[key.partition(".")[0]] for key in values},
                   sizes=sizes)  # fmt: skip

    def layout(self, checkpoint: "Checkpoint", architecture: "Architecture") -> list[OutTensor]:
        """Return every tensor with the shape that it has here."""
        members = {member.name: member for circuit in architecture.circuits for member in circuit.members}
        return [
            OutTensor(info.name, info.dtype, self._shape(members.get(info.name), info.shape), info.shard)
            for info in checkpoint.tensors.values()
        ]

    def _shape(self, member: "Member | None", stored: tuple[int, ...]) -> tuple[int, ...]:
        if member is None:
            return stored
        return tuple(size_of(node, self.sizes) or size for node, size in zip(member.nodes, stored, strict=True))

    def folder(self, checkpoint: "Checkpoint", architecture: "Architecture") -> OutputFolder:
        """Return what a folder of this model holds apart from the values of its tensors."""
        return OutputFolder(layout=self.layout(checkpoint, architecture), config=self.config)

"""``merge --explain`` for people: what happens to each tensor, with layers that are treated the same on one line.

model.layers.0-29.mlp.up_proj.weight: ties lambda=0.8 depth=0 to 1 BF16 -> BF16
base base
expert a weight=0.5 density=0.5
all: weights=[0.5] ... need=tensor reads=1
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from mergebarrier.errors import clean

__all__ = ["explanation"]

_Table: TypeAlias = Mapping[str, Any]
_LAYER: Final = re.compile(r"(?<=\.)\d+(?=\.)")


def explanation(tensors: Sequence[_Table]) -> str:
    """Return one paragraph per tensor, or per tensor of a run of layers that differ in nothing but number and depth."""
    groups: dict[tuple[str, ...], list[_Table]] = {}
    for tensor in tensors:
        groups.setdefault((_pattern(tensor["tensor"]), *_paragraph(tensor)), []).append(tensor)
    return "\n".join(line for (pattern, *lines), alike in groups.items() for line in _told(pattern, lines, alike))


def _told(pattern: str, lines: Sequence[str], alike: Sequence[_Table]) -> Iterable[str]:
    name = clean(pattern.replace("*", _ranges(alike), 1) if len(alike) > 1 else alike[0]["tensor"])
    depths = sorted(dict.fromkeys(f"{tensor['depth']:.4g}" for tensor in alike), key=float)
    depth = depths[0] if len(depths) == 1 else f"{depths[0]} to {depths[-1]}"
    head, *rest = lines
    return (f"{name}: {head.replace('DEPTH', depth, 1)}", *rest)


def _paragraph(tensor: _Table) -> tuple[str, ...]:
    """Return the lines about a tensor besides its name: a line of its own, one per source, one with every parameter."""
    shared = _words(tensor["parameters"])
    lines = [f"{tensor['method']}{shared} depth=DEPTH {tensor['dtype']} -> {tensor['stored']}"]
    for source in tensor["sources"]:
        theirs = f" {clean(source['tensor'])}" if source["tensor"] != tensor["tensor"] else ""
        rows = " ".join(f"{count} {word}" for word, count in source.get("rows", {}).items())
        moved = f" rows: {rows}" if rows else ""
        lines.append(f"  {source['role']} {source['model']}{theirs}{_words(source['parameters'])}{moved}")
    lines.append(f"  all:{_words(tensor['effective'])} need={tensor['need']} reads={tensor['reads']}")
    return tuple(lines)


def _pattern(name: str) -> str:
    """Return a name with its first number as a star; one that holds a star itself stays as it is."""
    return name if "*" in name else _LAYER.sub("*", name, count=1)


def _ranges(alike: Sequence[_Table]) -> str:
    """Return the layers of some tensors, such as 0-29 or 0-3,7."""
    layers = sorted(int(found[0]) for tensor in alike if (found := _LAYER.search(tensor["tensor"])) is not None)
    runs: list[list[int]] = []
    for layer in layers:
        if runs and layer == runs[-1][-1] + 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _words(parameters: _Table) -> str:
    return "".join(
        f" {name}={value:.6g}" if isinstance(value, float) else f" {name}={value}" for name, value in parameters.items()
    )

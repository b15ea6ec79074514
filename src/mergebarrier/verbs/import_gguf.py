"""``import-gguf``: a GGUF file as a Hugging Face folder that every other verb reads, and where it is from.

    W = dtype(scale * level + minimum)        one rounding of what the blocks say

The weights of a quantised file lie on its grid: they are not those of the model that it was made from, and card and
report say so.  What the file says of itself (licence, tags, parents, description) stands in the card; a wish, a licence
or a mark beside the file, in the folder that it was downloaded with, is carried too.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from mergebarrier.checkpoint import (
    LICENCE_FILES,
    GGUFHeader,
    OutTensor,
    Writer,
    read_gguf_header,
    read_manifest,
    sharded,
)
from mergebarrier.checkpoint.bytes import FLOAT_NAMES, TORCH
from mergebarrier.errors import ChangedDuringRun, plain
from mergebarrier.evaluate import load_gguf
from mergebarrier.lineage import ATTACK_TAG, CARD, declaration, spoken, tables_about
from mergebarrier.verbs.folders import OutputOptions, carried, environment, of_attack

_SHARD: Final = "model.safetensors"
_CARD: Final = """\
---
{head}---
# {name}

Made by `mergebarrier import-gguf` from `{file}` (SHA-256 `{digest}`), rounded to {dtype}. {grid}
{description}"""
#: Keys of a file -> those of a card.
_FIELDS: Final = {
    "general.license": "license",
    "general.license.name": "license_name",
    "general.license.link": "license_link",
    "general.tags": "tags",
}
_DESCRIPTION: Final = "general.description"
_PARENT: Final = re.compile(r"general\.base_model\.\d+\.repo_url")
_GRID: Final = "These are not the weights of the original model: they lie on the grid of {types}."


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What was written.

    Attributes:
      header:         of the file.
      dtype:          of the weights.
      content_digest: of the folder.
    """

    header: GGUFHeader
    dtype: str
    content_digest: str


def stored_dtype(header: GGUFHeader, asked: str) -> str:
    """Return the dtype to store in: as asked, or that of most plain floats of the file, bfloat16 for quantised ones."""
    if asked != "auto":
        return asked
    if header.quantised:
        return "bfloat16"
    commonest = max(header.weights, key=lambda name: header.weights[name])
    return {"F16": "float16", "BF16": "bfloat16"}.get(commonest, "float32")


def import_gguf(file: Path, into: OutputOptions, *, dtype: str = "auto") -> Imported:
    """Write the folder.

    Args:
      file:  in the format.
      into:  where to.
      dtype: "float32", "bfloat16", "float16" or "auto".
    Raises: NotACheckpoint, BadHeader, UnsupportedFeature, MissingExtra, CheckpointError; nothing is left behind then.
    """
    header = read_gguf_header(file)
    dtype, digest = stored_dtype(header, dtype), _digest(file)
    found = load_gguf(file)
    # Parameters come without a tied head, which is the embedding.
    tensors = {name: parameter.detach() for name, parameter in found.module.named_parameters()}
    stored = FLOAT_NAMES[dtype]
    layout = [OutTensor(name, stored, tuple(tensor.shape), _SHARD) for name, tensor in tensors.items()]
    grid = _GRID.format(types=", ".join(header.quantised)) if header.quantised else ""
    description = "".join(f"\n    {plain(line)}" for line in str(header.said.get(_DESCRIPTION, "")).splitlines())
    card = _CARD.format(
        head=_head(header.said), name=file.stem, file=file.name, digest=digest, dtype=dtype, grid=grid,
        description=description and f"\nThe file says of its model:\n{description}\n",
    ).encode()  # fmt: skip
    texts, unread = spoken(file.resolve().parent)
    tables, more, closed = tables_about(file.resolve().parent)
    said = declaration({CARD: card}).beside(declaration({**texts, **more}, None, None, tables))
    content: dict[str, Any] = {
        "verb": "import",
        "method": "gguf",
        "parameters": {"dtype": dtype},
        "inputs": [
            {
                "role": "file",
                "name": file.name,
                "content_digest": digest,
                "size_bytes": file.stat().st_size,
                "types": dict(header.weights),
                **replace(said, unread=said.unread or unread or closed).described(),
            }
        ],
    }
    if of_attack(content["inputs"]):
        content[ATTACK_TAG] = True
    writer = Writer.create(
        into.out,
        sharded(layout, into.shard_bytes),
        plan=content,
        inputs=[],
        resume=into.resume,
        overwrite=into.overwrite,
    )
    with closing(writer):
        with writer.attempt():
            for done, (name, tensor) in enumerate(tensors.items(), start=1):
                if not writer.done(name):
                    writer.put(name, tensor.to(TORCH[stored]))
                    writer.finish(name, (name,))
                if into.progress is not None:
                    into.progress(done, len(tensors))
        if _digest(file) != digest:
            raise ChangedDuringRun("the file changed while it was read", where=file, remedy="run it again")
        config = json.dumps({**found.config, "dtype": dtype}, indent=2, sort_keys=True) + "\n"
        kept = {name: texts[name] for name in (*LICENCE_FILES, "NOTICE") if name in texts}
        files = {"config.json": config.encode(), CARD: card, **kept, **found.tokenizer_files}
        writer.commit(content, environment(), carried(content, files), workers=into.workers)
    written = read_manifest(into.out, ours=True)["content"]["output"]["content_digest"]
    return Imported(header=header, dtype=dtype, content_digest=written)


def _head(said: Mapping[str, str | list[str]]) -> str:
    """Return the head of a card with what a file says of its model: JSON is YAML."""
    head: dict[str, object] = {name: said[key] for key, name in _FIELDS.items() if key in said}
    parents = [said[key] for key in sorted(said) if _PARENT.fullmatch(key)]
    head |= {"base_model": parents} if parents else {}
    rest = {key: text for key, text in said.items() if key not in (*_FIELDS, _DESCRIPTION) and text not in parents}
    lines = {**head, "gguf": rest}
    return "".join(f"{name}: {json.dumps(value)}\n" for name, value in lines.items())


def _digest(file: Path) -> str:
    with file.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()

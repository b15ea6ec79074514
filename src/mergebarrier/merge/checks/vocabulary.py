"""Does a merged model fit its tokenizer and its configuration?  Rows, special ids and the tie flag, warned about.

    rows of embedding and head == vocab_size      highest token id < rows      every special id < rows
    tie_word_embeddings  <=>  no head of its own, or one that equals the embedding

A model that breaks one of these loads, and answers nonsense or crashes on the first rare token. Source: wishes of users
of mergekit (issues 47, 139, 169, 350). Differs: mergekit writes such a model without a word.
"""

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mergebarrier.checkpoint import Checkpoint, TensorInfo

_EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "embed_in.weight", "word_embeddings.weight", "shared.weight")
_HEADS = ("lm_head.weight", "embed_out.weight")
_SPECIAL = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")
_MAX_TOKENIZER_BYTES = 1 << 26
_TIE_ROWS = 64


def check_vocabulary(
    tensors: "Mapping[str, TensorInfo]", config: Mapping[str, object], files: Mapping[str, bytes]
) -> tuple[str, ...]:
    """Return one line per disagreement.

    Args:
      tensors: of the output.
      config:  its config.json.
      files:   its side files; ``tokenizer.json`` and ``generation_config.json`` are looked at.
    """
    embedding = _first(tensors, _EMBEDDINGS)
    head = _first(tensors, _HEADS)
    rows = tensors[embedding].rows if embedding is not None else None
    lines = list(_sizes(tensors, embedding, head, config))
    if rows is not None:
        highest = _highest_token(files.get("tokenizer.json", b""))
        if highest is not None and highest >= rows:
            lines.append(f"the tokenizer gives ids up to {highest}, the embedding has {rows} rows")
        for name, table in (
            ("config.json", config),
            ("generation_config.json", _table(files, "generation_config.json")),
        ):
            for key in _SPECIAL:
                wrong = [value for value in _ids(table.get(key)) if value >= rows]
                if wrong:
                    lines.append(f"{key} of {name} is {wrong[0]}, the embedding has {rows} rows")
    tied = config.get("tie_word_embeddings")
    if tied is False and embedding is not None and head is None and "score.weight" not in tensors:
        lines.append("tie_word_embeddings is false and there is no head")
    return tuple(lines)


def check_tie(merged: "Checkpoint") -> tuple[str, ...]:
    """Return a line when the configuration ties the head to the embedding and the file holds another head."""
    embedding, head = _first(merged.tensors, _EMBEDDINGS), _first(merged.tensors, _HEADS)
    if not merged.config.get("tie_word_embeddings") or embedding is None or head is None:
        return ()
    shapes = [merged.tensors[name].shape for name in (embedding, head)]
    rows = min(_TIE_ROWS, shapes[0][0])
    if shapes[0] == shapes[1] and merged.read_rows(embedding, 0, rows).equal(merged.read_rows(head, 0, rows)):
        return ()
    return ("tie_word_embeddings is true and the head differs from the embedding: readers disagree about which counts",)


def _sizes(
    tensors: "Mapping[str, TensorInfo]", embedding: str | None, head: str | None, config: Mapping[str, object]
) -> Iterator[str]:
    size = config.get("vocab_size")
    for name in (embedding, head):
        if name is not None and isinstance(size, int) and tensors[name].rows != size:
            yield f"{name} has {tensors[name].rows} rows, vocab_size is {size}"


def _first(tensors: Mapping[str, object], ends: tuple[str, ...]) -> str | None:
    return next((name for name in tensors if name.endswith(ends)), None)


def _ids(value: object) -> list[int]:
    items = value if isinstance(value, list) else [value]
    return [item for item in items if isinstance(item, int) and not isinstance(item, bool)]


def _highest_token(data: bytes) -> int | None:
    """Return the highest id that a ``tokenizer.json`` can give; None where there is none to read."""
    document = _parsed(data)
    model, added = document.get("model"), document.get("added_tokens")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    found = [len(vocabulary) - 1] if isinstance(vocabulary, list) else []
    if isinstance(vocabulary, dict):
        found = _ids(list(vocabulary.values()))
    rows = added if isinstance(added, list) else []
    found += _ids([row.get("id") for row in rows if isinstance(row, dict)])
    return max(found, default=None)


def _table(files: Mapping[str, bytes], name: str) -> dict[str, object]:
    return _parsed(files.get(name, b""))


def _parsed(data: bytes) -> dict[str, object]:
    try:
        document = json.loads(data) if data and len(data) <= _MAX_TOKENIZER_BYTES else {}
    except (ValueError, RecursionError):
        return {}  # loading the tokenizer reports it; the weights are judged here
    return document if isinstance(document, dict) else {}

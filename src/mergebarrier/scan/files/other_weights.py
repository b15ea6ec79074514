"""What weights of other formats say beside numbers, found in their first bytes without a parser for each format.

    GGUF   tokenizer.chat_template*  u32 8  u64 length  text       a template, as beside the weights
    HDF5   "class_name": "Lambda"                                  code that stands in the file
    ONNX   location -> .. or /                                     external data outside of the folder
    TF     ReadFile, WriteFile, PyFunc, ..                         operations that reach the system

Source: CVE-2024-34359 (templates in GGUF); the operations that modelscan names.  Differs: what is found is reported,
and that nothing was found says nothing, so the finding that no check reads such weights stays.
"""

import re
from collections.abc import Iterator
from typing import Final

_TEMPLATE: Final = re.compile(rb"tokenizer\.chat_template[\w.]*\x08\x00\x00\x00", re.ASCII)
_LONGEST: Final = 1 << 20
_SAID: Final[tuple[tuple[bytes, re.Pattern[bytes], str], ...]] = (
    (b"\x89HDF", re.compile(rb'"class_name"\s*:\s*"(?:Lambda|__lambda__)"'), "a layer Lambda, whose code is in it"),
    (b"", re.compile(rb"location\x12.(?:\.\.[/\\]|/|[A-Za-z]:\\)", re.DOTALL), "data that lie outside of the folder"),
    (b"", re.compile(rb"\x12[\x06-\x0b](?:ReadFile|WriteFile|PyFunc|EagerPyFunc)\b"), "an operation on files or code"),
)


def templates_in(data: bytes) -> Iterator[str]:
    """Yield the chat templates of a GGUF file, from its first bytes."""
    for found in _TEMPLATE.finditer(data):
        length = int.from_bytes(data[found.end() : found.end() + 8], "little")
        start = found.end() + 8
        yield data[start : start + min(length, _LONGEST)].decode("utf-8", "replace")


def reaching_in(data: bytes) -> Iterator[str]:
    """Yield, in words, what weights of another format hold by which they reach code, files or the outside."""
    yield from (words for magic, pattern, words in _SAID if data.startswith(magic) and pattern.search(data))

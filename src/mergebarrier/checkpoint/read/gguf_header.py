"""The header of a GGUF file, read strictly before any library sees it: every count is held against the file's size.

    "GGUF"  version 2 or 3  tensors  entries | key, type, value .. | name, dimensions, type, offset .. | data, aligned

Source: the GGUF specification of ggml.  What a file claims beyond its size, twice, or in a type that is not there is
refused here with one line; values are skipped, but for those that say what the model is.
"""

import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import BinaryIO, Final

from mergebarrier.errors import BadHeader, MissingExtra, NotACheckpoint, clean

#: Types of ggml that are numbers by themselves.
PLAIN_TYPES: Final = ("F32", "F16", "BF16", "F64")
_SHORT, _WHOLE, _STRING, _ARRAY = 2, 4, 8, 9
#: Type of a value -> its bytes.
_BYTES: Final = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_LONGEST_NAME, _MOST_DIMENSIONS, _MOST_ENTRIES = 1 << 10, 4, 1 << 16
#: Keys of what a file says of its model.
_TOLD: Final = "general."
_AGAIN: Final = "download the file again"
_CONVERT: Final = "convert the original model again, with a llama.cpp of today"
#: What ``general.type`` says of files that are no model.
_OTHERS: Final = {"adapter": "a LoRA adapter", "mmproj": "a projector of pictures or sound", "imatrix": "statistics"}


@dataclass(frozen=True, kw_only=True)
class GGUFHeader:
    """What a file says it holds.

    Attributes:
      architecture: in ggml's words, "llama".
      weights:      ggml type, "Q4_0" -> how many weights are stored in it.
      said:         key, "general.license" -> text, or list of texts, that it says of the model.
    """

    architecture: str
    weights: Mapping[str, int]
    said: Mapping[str, str | list[str]]

    @property
    def quantised(self) -> tuple[str, ...]:
        """Return the types that are no plain floats, the commonest first."""
        found = sorted(self.weights, key=lambda name: -self.weights[name])
        return tuple(name for name in found if name not in PLAIN_TYPES)


def read_gguf_header(path: Path) -> GGUFHeader:
    """Read and check the header of a file.

    Raises: NotACheckpoint for another kind of file; BadHeader with the first thing that is wrong; MissingExtra.
    """
    if not path.is_file():
        what = "not a regular file" if path.exists() else "no such file"
        raise NotACheckpoint(what, where=path, remedy="give the path of a GGUF file")
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise NotACheckpoint("not a GGUF file", where=path, remedy="give a file that ends in .gguf")
        return _GGUFReader(file, path).header()


class _GGUFReader:
    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file, self._path, self._size = file, path, os.fstat(file.fileno()).st_size

    def header(self) -> GGUFHeader:
        version = self._number("<I")
        if version & 0xFFFF == 0 and version:
            remedy = "give the little-endian file, or turn it with gguf_convert_endian.py of llama.cpp"
            raise self._bad("it is written for big-endian machines", remedy)
        if version not in (2, 3):
            raise self._bad(f"version {version} of the format, 2 and 3 are read", _CONVERT)
        n_tensors, n_entries = self._number("<Q"), self._number("<Q")
        if max(n_tensors, n_entries) > _MOST_ENTRIES:
            raise self._bad(f"it claims {n_tensors} tensors and {n_entries} entries")
        values = dict[str, object]()
        for _ in range(n_entries):
            key = self._text(_LONGEST_NAME)
            if key in values:
                raise self._bad(f"the entry {clean(key)} is there twice")
            values[key] = self._value(self._number("<I"), told=key.startswith(_TOLD))
        self._check_whole(values)
        weights, ends = dict[str, int](), [0]
        seen = set[str]()
        for _ in range(n_tensors):
            name, end = self._tensor(weights)
            if name in seen:
                raise self._bad(f"the tensor {clean(name)} is there twice")
            seen.add(name)
            ends.append(end)
        alignment = values.get("general.alignment", 32)
        if not isinstance(alignment, int) or not 0 < alignment <= 1 << 16:
            raise self._bad("its alignment is no number of bytes")
        start = -(-self._file.tell() // alignment) * alignment
        if start + max(ends) > self._size:
            raise self._bad(f"its tensors end at byte {start + max(ends)}, the file at {self._size}")
        architecture = values.get("general.architecture")
        if not isinstance(architecture, str) or not seen:
            raise self._bad("it names no architecture, or holds no tensor")
        said = {key: value for key, value in values.items() if key.startswith(_TOLD) and isinstance(value, str | list)}
        return GGUFHeader(architecture=architecture, weights=weights, said=said)

    def _check_whole(self, values: Mapping[str, object]) -> None:
        """Refuse what is a part of a model, or beside one."""
        parts, number = values.get("split.count"), values.get("split.no", 0)
        if isinstance(parts, int) and parts > 1 and isinstance(number, int):
            what = f"it is part {number + 1} of {parts} of a split file"
            raise self._bad(what, "join the parts with `llama-gguf-split --merge FIRST OUT`, and give OUT")
        other = _OTHERS.get(str(values.get("general.type")))
        if other is not None:
            raise self._bad(f"it holds {other}, not a model", "give the file of the model")

    def _tensor(self, weights: dict[str, int]) -> tuple[str, int]:
        """Count the weights of the next tensor, and return its name and where its data end."""
        name, n_dimensions = self._text(_LONGEST_NAME), self._number("<I")
        if n_dimensions > _MOST_DIMENSIONS:
            raise self._bad(f"{clean(name)} has {n_dimensions} dimensions")
        shape = [self._number("<Q") for _ in range(n_dimensions)]
        kind, offset = self._number("<I"), self._number("<Q")
        known = _block_sizes()
        if kind not in known:
            what = f"{clean(name)} is of type {kind}, which the installed package gguf does not know"
            raise self._bad(what, "update it: pip install -U gguf; or give a file of another type")
        if 0 in shape:
            raise self._bad(f"{clean(name)} has no values: its shape is {tuple(shape)}", _CONVERT)
        word, block, size = known[kind]
        if shape and shape[0] % block:
            raise self._bad(f"{clean(name)} has rows of {shape[0]}, {word} stores blocks of {block}")
        weights[word] = weights.get(word, 0) + prod(shape)
        return name, offset + prod(shape) // block * size

    def _value(self, kind: int, *, told: bool) -> object:
        """Return a text, a whole number, or texts that are told; of anything else nothing."""
        if kind == _STRING:
            return self._text(self._size)
        if kind == _ARRAY:
            inner, count = self._number("<I"), self._number("<Q")
            if inner == _STRING:
                if count > self._size // 8:
                    raise self._bad(f"it claims a list of {count} texts")
                if told:
                    return [self._text(self._size) for _ in range(count)]
                for _ in range(count):
                    self._skip(self._number("<Q"))
            else:
                self._skip(count * self._bytes_of(inner))
            return None
        if kind in (_SHORT, _WHOLE):
            return self._number("<H" if kind == _SHORT else "<I")
        self._skip(self._bytes_of(kind))
        return None

    def _bytes_of(self, kind: int) -> int:
        if kind not in _BYTES:
            raise self._bad(f"a value is of type {kind}, which the format does not have")
        return _BYTES[kind]

    def _number(self, form: str) -> int:
        return int(struct.unpack(form, self._read(struct.calcsize(form)))[0])

    def _text(self, longest: int) -> str:
        length = self._number("<Q")
        if length > longest:
            raise self._bad(f"a name or text of {length} bytes")
        try:
            return self._read(length).decode()
        except UnicodeDecodeError as error:
            raise self._bad("a name or text is not UTF-8") from error

    def _read(self, count: int) -> bytes:
        if count > self._size - self._file.tell():
            raise self._bad("it ends within its header")
        return self._file.read(count)

    def _skip(self, count: int) -> None:
        if count > self._size - self._file.tell():
            raise self._bad("it ends within its header")
        self._file.seek(count, os.SEEK_CUR)

    def _bad(self, what: str, remedy: str = _AGAIN) -> BadHeader:
        return BadHeader(what, where=self._path, remedy=remedy)


def _block_sizes() -> dict[int, tuple[str, int, int]]:
    """Return ggml's types: number -> name, weights of a block, bytes of a block."""
    try:
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
    except ImportError as error:
        remedy = "pip install 'mergebarrier[eval,gguf]'"
        raise MissingExtra("reading a GGUF file needs the extra 'gguf'", where="gguf", remedy=remedy) from error
    return {int(kind): (GGMLQuantizationType(kind).name, *GGML_QUANT_SIZES[kind]) for kind in GGML_QUANT_SIZES}

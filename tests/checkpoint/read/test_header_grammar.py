"""What the grammar accepts, the safetensors library accepts alike: names, dtypes, shapes and bytes."""

import json
import struct
from typing import Any

import pytest
import safetensors
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mergebarrier.checkpoint import validate_header
from mergebarrier.checkpoint.bytes import BITS, TORCH
from mergebarrier.errors import MergebarrierError
from model_folders import pack, payload

NAME = st.text("abcXYZ019_.-", min_size=1, max_size=12)
SHAPE = st.lists(st.integers(0, 4), max_size=4)


def reading(data: bytes) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """Our reading of a file."""
    n = struct.unpack("<Q", data[:8])[0]
    header = validate_header(data[8 : 8 + n], len(data))
    at = header.payload_start
    return {e.name: (e.dtype, e.shape, data[at + e.begin : at + e.end]) for e in header.entries}


def peer_reading(data: bytes) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """The library's reading of a file."""
    found = safetensors.deserialize(data)
    return {name: (entry["dtype"], tuple(entry["shape"]), bytes(entry["data"])) for name, entry in found}


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """Sound files with entries in any order and any padding."""
    header: dict[str, Any] = {}
    data = b""
    for name in draw(st.lists(NAME, max_size=6, unique=True)):
        dtype = draw(st.sampled_from(sorted(set(TORCH) - {"BOOL"})))
        shape = draw(SHAPE)
        size = torch.Size(shape).numel() * BITS[dtype] // 8
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + size]}
        data += draw(st.binary(min_size=size, max_size=size))
    header = dict(draw(st.permutations(list(header.items()))))
    if draw(st.booleans()):
        header["__metadata__"] = {"format": "pt", draw(NAME): draw(st.text(max_size=5))}
    text = json.dumps(header, indent=draw(st.sampled_from([None, 1])), ensure_ascii=draw(st.booleans()))
    try:
        raw = text.encode()
    except UnicodeEncodeError:
        raw = json.dumps(header).encode()
    return pack(raw + b" " * draw(st.integers(0, 9)), data)


@given(files())
@settings(max_examples=200, deadline=None)
def test_sound_files_are_read_as_the_library_reads_them(data: bytes) -> None:
    try:
        ours = reading(data)
    except MergebarrierError as refused:
        assert "surrogate" in str(refused)
        return
    assert ours == peer_reading(data)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A sound file with some bytes replaced, inserted or deleted, mostly in the header."""
    data = bytearray(draw(files()))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        piece = draw(
            st.one_of(
                st.binary(max_size=3),
                st.sampled_from(
                    [b"{", b"}", b'"', b",", b"0", b"-", b".", b"e", b"[", b"]", b" ", b"\\", b":", b"null"]
                ),
            )
        )
        data[at : at + draw(st.integers(0, 2))] = piece
        if draw(st.booleans()) and len(data) > 8:
            n = struct.unpack("<Q", data[:8])[0]
            data[:8] = struct.pack("<Q", max(0, n + draw(st.integers(-2, 2))) % 2**64)
    return bytes(data)


@given(damaged())
@settings(max_examples=500, deadline=None)
def test_what_we_accept_the_library_accepts_alike(data: bytes) -> None:
    if len(data) < 8 or struct.unpack("<Q", data[:8])[0] > len(data) - 8:
        return
    try:
        ours = reading(data)
    except MergebarrierError as refused:
        assert refused.exit_code == 2 and "\n" not in str(refused)
        return
    assert ours == peer_reading(data)


@pytest.mark.parametrize("dtype", sorted(TORCH))
def test_every_dtype_has_the_librarys_width(dtype: str) -> None:
    assert TORCH[dtype].itemsize * 8 == BITS[dtype]
    size = 3 * BITS[dtype] // 8
    data = pack({"a": {"dtype": dtype, "shape": [3], "data_offsets": [0, size]}}, bytes(size))
    assert reading(data) == peer_reading(data)


def test_scalars_and_empty_tensors_are_legal() -> None:
    scalar = payload(torch.tensor(2.0))
    data = pack(
        {
            "later.empty": {"dtype": "F32", "shape": [7, 0], "data_offsets": [4, 4]},
            "scalar": {"dtype": "F32", "shape": [], "data_offsets": [0, 4]},
            "empty": {"dtype": "BF16", "shape": [0], "data_offsets": [0, 0]},
        },
        scalar,
    )
    assert reading(data) == {
        "empty": ("BF16", (0,), b""),
        "scalar": ("F32", (), scalar),
        "later.empty": ("F32", (7, 0), b""),
    }

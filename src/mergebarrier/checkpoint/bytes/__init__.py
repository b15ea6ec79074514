"""Untrusted bytes and text: files, digests, strict JSON and YAML, dtypes, the values of a tensor."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.checkpoint.bytes import strict_yaml
    from mergebarrier.checkpoint.bytes.io import (
        ReadDigests,
        content_digest,
        hash_file,
        hash_tensor,
        inside,
        on_disk,
        one_thread_pool,
        open_regular,
        range_digest,
        read_into,
        read_small,
        shard_digest,
        side_by_side,
        sync_folder,
        ticker,
        write_at,
    )
    from mergebarrier.checkpoint.bytes.strict_json import (
        Skeleton,
        check_depth,
        parse,
        parse_bounded,
        parse_text,
        skeleton,
    )
    from mergebarrier.checkpoint.bytes.strict_yaml import MAX_BYTES, read_documents, read_yaml
    from mergebarrier.checkpoint.bytes.tensors import (
        BITS,
        BLAKE3,
        CLEAN_WEIGHTS,
        FLOAT_NAMES,
        FLOATS,
        HASHES,
        ROUNDOFF,
        SHA256,
        TORCH,
        Memory,
        OutTensor,
        Shard,
        TensorInfo,
        check_bool,
        check_finite,
        stored_dtype,
    )

__all__ = [
    "BITS",
    "BLAKE3",
    "CLEAN_WEIGHTS",
    "FLOATS",
    "FLOAT_NAMES",
    "HASHES",
    "MAX_BYTES",
    "ROUNDOFF",
    "SHA256",
    "TORCH",
    "Memory",
    "OutTensor",
    "ReadDigests",
    "Shard",
    "Skeleton",
    "TensorInfo",
    "check_bool",
    "check_depth",
    "check_finite",
    "content_digest",
    "hash_file",
    "hash_tensor",
    "inside",
    "on_disk",
    "one_thread_pool",
    "open_regular",
    "parse",
    "parse_bounded",
    "parse_text",
    "range_digest",
    "read_documents",
    "read_into",
    "read_small",
    "read_yaml",
    "shard_digest",
    "side_by_side",
    "skeleton",
    "stored_dtype",
    "strict_yaml",
    "sync_folder",
    "ticker",
    "write_at",
]

lazy.open_door(__name__)

"""The only code that touches model files: strict reading, ranged crash-safe writing, digests, manifests."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.checkpoint.adapter import (
        ADAPTER_CONFIG,
        ADAPTER_PREFIX,
        ADAPTER_WEIGHTS,
        AdaptedCheckpoint,
        Adapter,
        Factors,
        WeightChange,
        is_adapter,
        open_adapter,
        open_reference,
        place,
        split_reference,
    )
    from mergebarrier.checkpoint.bytes import OutTensor, Shard, TensorInfo
    from mergebarrier.checkpoint.files import (
        MANIFEST_NAME,
        canonical_json,
        read_manifest,
        read_tensor_file,
        tensor_file_bytes,
        verify_manifest,
        write_tensor_file,
    )
    from mergebarrier.checkpoint.read import (
        ATTACHMENTS,
        INDEX,
        LICENCE_FILES,
        SIDE_FILES,
        SINGLE,
        Checkpoint,
        Header,
        Piece,
        View,
        ViewPart,
        is_of_tokenizer,
        is_text,
        open_checkpoint,
        read_shard_names,
        validate_header,
    )
    from mergebarrier.checkpoint.write import Writer, layout_like

__all__ = [
    "ADAPTER_CONFIG",
    "ADAPTER_PREFIX",
    "ADAPTER_WEIGHTS",
    "ATTACHMENTS",
    "INDEX",
    "LICENCE_FILES",
    "MANIFEST_NAME",
    "SIDE_FILES",
    "SINGLE",
    "AdaptedCheckpoint",
    "Adapter",
    "Checkpoint",
    "Factors",
    "Header",
    "OutTensor",
    "Piece",
    "Shard",
    "TensorInfo",
    "View",
    "ViewPart",
    "WeightChange",
    "Writer",
    "canonical_json",
    "is_adapter",
    "is_of_tokenizer",
    "is_text",
    "layout_like",
    "open_adapter",
    "open_checkpoint",
    "open_reference",
    "place",
    "read_manifest",
    "read_shard_names",
    "read_tensor_file",
    "split_reference",
    "tensor_file_bytes",
    "validate_header",
    "verify_manifest",
    "write_tensor_file",
]

lazy.open_door(__name__)

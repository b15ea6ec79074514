"""The only code that touches model files: strict reading, ranged crash-safe writing, digests, manifests, keys."""

from mergebarrier.checkpoint._adapter import ADAPTER_PREFIX, ADAPTER_WEIGHTS, Adapter, Factors, is_adapter, open_adapter
from mergebarrier.checkpoint._adapter_config import ADAPTER_CONFIG
from mergebarrier.checkpoint._checkpoint import Checkpoint
from mergebarrier.checkpoint._expert import Change, Expert, open_reference, place, split_reference
from mergebarrier.checkpoint._header import Header, validate_header
from mergebarrier.checkpoint._open import ATTACHMENTS, LICENCE_FILES, SIDE_FILES, open_checkpoint
from mergebarrier.checkpoint._plan import layout_like
from mergebarrier.checkpoint._tensors import OutTensor, Shard, TensorInfo
from mergebarrier.checkpoint.keyfile import key_id, read_key_file, write_key_file
from mergebarrier.checkpoint.manifest import MANIFEST_NAME, canonical_json, read_manifest, verify_manifest
from mergebarrier.checkpoint.tensor_file import read_tensor_file, tensor_file_bytes, write_tensor_file
from mergebarrier.checkpoint.writer import Writer

__all__ = [
    "ADAPTER_CONFIG",
    "ADAPTER_PREFIX",
    "ADAPTER_WEIGHTS",
    "ATTACHMENTS",
    "LICENCE_FILES",
    "MANIFEST_NAME",
    "SIDE_FILES",
    "Adapter",
    "Change",
    "Checkpoint",
    "Expert",
    "Factors",
    "Header",
    "OutTensor",
    "Shard",
    "TensorInfo",
    "Writer",
    "canonical_json",
    "is_adapter",
    "key_id",
    "layout_like",
    "open_adapter",
    "open_checkpoint",
    "open_reference",
    "place",
    "read_key_file",
    "read_manifest",
    "read_tensor_file",
    "split_reference",
    "tensor_file_bytes",
    "validate_header",
    "verify_manifest",
    "write_key_file",
    "write_tensor_file",
]

"""Small files: the manifest, and files of a few tensors."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.checkpoint.files.content import Content, Read, Written
    from mergebarrier.checkpoint.files.contents import (
        AnyContent,
        AttackContent,
        Cost,
        Environment,
        Fit,
        Manifest,
        ProtectContent,
        ProtectFacts,
        RealignContent,
        RealignFacts,
        TrainedFigures,
        UnprotectContent,
        UnprotectFacts,
    )
    from mergebarrier.checkpoint.files.manifest import (
        MANIFEST_NAME,
        build_manifest,
        canonical_json,
        hash_whole,
        listed_files,
        read_finished,
        read_manifest,
        verify_manifest,
    )
    from mergebarrier.checkpoint.files.merge_content import Ancestor, Fate, Made, MergeContent
    from mergebarrier.checkpoint.files.owners_rows import OWNERS_COLUMNS, owners_rows
    from mergebarrier.checkpoint.files.tensor_file import read_tensor_file, tensor_file_bytes, write_tensor_file

__all__ = [
    "MANIFEST_NAME",
    "OWNERS_COLUMNS",
    "Ancestor",
    "AnyContent",
    "AttackContent",
    "Content",
    "Cost",
    "Environment",
    "Fate",
    "Fit",
    "Made",
    "Manifest",
    "MergeContent",
    "ProtectContent",
    "ProtectFacts",
    "Read",
    "RealignContent",
    "RealignFacts",
    "TrainedFigures",
    "UnprotectContent",
    "UnprotectFacts",
    "Written",
    "build_manifest",
    "canonical_json",
    "hash_whole",
    "listed_files",
    "owners_rows",
    "read_finished",
    "read_manifest",
    "read_tensor_file",
    "tensor_file_bytes",
    "verify_manifest",
    "write_tensor_file",
]

lazy.open_door(__name__)

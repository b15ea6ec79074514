"""Reading a model folder: strict opening, headers, configuration, row ranges, digests as they are read."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.checkpoint.read.checkpoint import Checkpoint
    from mergebarrier.checkpoint.read.code import refusal, refuse_code
    from mergebarrier.checkpoint.read.gguf_header import PLAIN_TYPES, GGUFHeader, read_gguf_header
    from mergebarrier.checkpoint.read.instead import INDEX, SINGLE
    from mergebarrier.checkpoint.read.open import (
        GATHER,
        SHARD_NAME,
        UNGATHERED,
        check_side_file_sizes,
        is_of_tokenizer,
        list_folder,
        open_checkpoint,
        read_shard,
        read_shard_names,
        side_files_of,
    )
    from mergebarrier.checkpoint.read.side_files import (
        ATTACHMENTS,
        LICENCE_FILES,
        MODULES,
        PIECE_FILES,
        SIDE_FILES,
        TEMPLATE_FOLDER,
        chosen_below,
        is_below,
        module_folders,
    )
    from mergebarrier.checkpoint.read.texts import (
        MAX_HEADER_BYTES,
        MAX_TENSORS,
        Entry,
        Header,
        check_header_size,
        code_keys,
        code_of,
        is_text,
        read_json,
        validate_header,
    )
    from mergebarrier.checkpoint.read.view import Piece, View, ViewPart
    from mergebarrier.checkpoint.read.walk import FolderEntry, read_head, walk

__all__ = [
    "ATTACHMENTS",
    "GATHER",
    "INDEX",
    "LICENCE_FILES",
    "MAX_HEADER_BYTES",
    "MAX_TENSORS",
    "MODULES",
    "PIECE_FILES",
    "PLAIN_TYPES",
    "SHARD_NAME",
    "SIDE_FILES",
    "SINGLE",
    "TEMPLATE_FOLDER",
    "UNGATHERED",
    "Checkpoint",
    "Entry",
    "FolderEntry",
    "GGUFHeader",
    "Header",
    "Piece",
    "View",
    "ViewPart",
    "check_header_size",
    "check_side_file_sizes",
    "chosen_below",
    "code_keys",
    "code_of",
    "is_below",
    "is_of_tokenizer",
    "is_text",
    "list_folder",
    "module_folders",
    "open_checkpoint",
    "read_gguf_header",
    "read_head",
    "read_json",
    "read_shard",
    "read_shard_names",
    "refusal",
    "refuse_code",
    "side_files_of",
    "validate_header",
    "walk",
]

lazy.open_door(__name__)

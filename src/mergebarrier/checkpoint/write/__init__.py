"""Writing a model folder: claimed, streamed in ranges, flushed, committed; absent, partial or complete."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.checkpoint.write.folder import OutputFolder, described_anew, modeling_code
    from mergebarrier.checkpoint.write.layout import layout_like, sharded
    from mergebarrier.checkpoint.write.place import check_claimable, find_place, remove_tree
    from mergebarrier.checkpoint.write.writer import Writer

__all__ = [
    "OutputFolder",
    "Writer",
    "check_claimable",
    "described_anew",
    "find_place",
    "layout_like",
    "modeling_code",
    "remove_tree",
    "sharded",
]

lazy.open_door(__name__)

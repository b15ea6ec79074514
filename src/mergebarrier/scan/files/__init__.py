"""What lies beside the weights: the kind of every file by its bytes, and what each could do to who loads it."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.scan.files.archives import ZipContents, contents
    from mergebarrier.scan.files.judge import (
        has_lines,
        has_templates,
        is_structured,
        odd_entry,
        of_beginning,
        of_kind,
        of_members,
        of_other_weights,
        of_pickle,
        of_text,
        of_zip,
        unseen,
    )
    from mergebarrier.scan.files.kinds import HEAD_BYTES, FileKind, in_utf8, kind_of, may_be_old_pickle, runs
    from mergebarrier.scan.files.pickles import Imports, imports_of

__all__ = [
    "HEAD_BYTES",
    "FileKind",
    "Imports",
    "ZipContents",
    "contents",
    "has_lines",
    "has_templates",
    "imports_of",
    "in_utf8",
    "is_structured",
    "kind_of",
    "may_be_old_pickle",
    "odd_entry",
    "of_beginning",
    "of_kind",
    "of_members",
    "of_other_weights",
    "of_pickle",
    "of_text",
    "of_zip",
    "runs",
    "unseen",
]

lazy.open_door(__name__)

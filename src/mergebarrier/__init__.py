"""mergebarrier: protect open-weight models against unwanted merging, merge them, and audit both honestly.

    import mergebarrier as mb
    mb.verify("model", "protected").equal

Every verb of the command line is a function here, over folders, names of the Hub and opened checkpoints, that returns a
typed report; the rooms below hold the ideas.  Importing the package imports nothing else: what is offered is imported
when it is first taken.  A verb and its room may share a name: ``mergebarrier.protect`` is the function, and
``from mergebarrier.protect import Exact`` imports from the room.
"""

from typing import TYPE_CHECKING

from mergebarrier import doors

if TYPE_CHECKING:
    from mergebarrier.api import Model, Report, WriteOptions
    from mergebarrier.api.verify import VerifyReport, verify
    from mergebarrier.checkpoint import Checkpoint, open_checkpoint
    from mergebarrier.keys import Key
    from mergebarrier.protect import Exact, MergeBarrier

__version__ = "0.1.0"

__all__ = [
    "Checkpoint",
    "Exact",
    "Key",
    "MergeBarrier",
    "Model",
    "Report",
    "VerifyReport",
    "WriteOptions",
    "__version__",
    "open_checkpoint",
    "verify",
]

doors.open_lazily(__name__)

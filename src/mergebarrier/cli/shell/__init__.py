"""Around the shell: completion, ``help VERB``, the log file, the schemas."""

from typing import TYPE_CHECKING

from mergebarrier import doors

if TYPE_CHECKING:
    from mergebarrier.cli.shell.log import LogFile, screen

__all__ = ["LogFile", "screen"]

doors.open_lazily(__name__)

"""What meets the shell: the words that it completes, the help in another word order, the log of what it is shown."""

from typing import TYPE_CHECKING

from mergebarrier import doors

if TYPE_CHECKING:
    from mergebarrier.cli.shell.log import LogFile, screen

__all__ = ["LogFile", "screen"]

doors.open_lazily(__name__)

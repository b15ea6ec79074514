"""Around the shell: completion, ``help VERB``, the log file, the schemas."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.cli.shell.log import LogFile, screen

__all__ = ["LogFile", "screen"]

lazy.open_door(__name__)

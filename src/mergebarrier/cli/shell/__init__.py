"""Around the shell: completion, ``help VERB``, the log file, words that nobody may read, the schemas."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.cli.shell.log import LogFile, screen
    from mergebarrier.cli.shell.secrets import hidden_in

__all__ = ["LogFile", "hidden_in", "screen"]

lazy.open_door(__name__)

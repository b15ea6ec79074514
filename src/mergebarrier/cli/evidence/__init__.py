"""Evidence: where a model comes from, who learned from a service, whose mark a model bears."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.cli.evidence._shared import ask_options, asked, check_statement, state, statement_options

__all__ = ["ask_options", "asked", "check_statement", "state", "statement_options"]

lazy.open_door(__name__)

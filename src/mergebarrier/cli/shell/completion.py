"""``mergebarrier completion``: the script that makes a shell complete verbs, options and paths.

The script asks ``mergebarrier`` itself for every completion (environment variable ``_MERGEBARRIER_COMPLETE``), so it
never has to be installed again.  Source: click's shell completion.
"""

from typing import Final

import click
from click.shell_completion import get_completion_class

__all__ = ["command"]

SHELLS: Final = ("bash", "zsh", "fish")
_VARIABLE: Final = "_MERGEBARRIER_COMPLETE"


_HELP: Final = """Print the completion script of SHELL.

\b
bash:  eval "$(mergebarrier completion bash)"     in ~/.bashrc
zsh:   eval "$(mergebarrier completion zsh)"      in ~/.zshrc
fish:  mergebarrier completion fish > ~/.config/fish/completions/mergebarrier.fish
"""


@click.command(help=_HELP)
@click.argument("shell", type=click.Choice(SHELLS))
def command(shell: str) -> None:
    """Print the completion script of a shell."""
    kind = get_completion_class(shell)
    assert kind is not None, shell
    root = click.get_current_context().find_root()
    click.echo(kind(root.command, {}, "mergebarrier", _VARIABLE).source())

"""The command line: one lazy group, one file per verb, one place that turns an error into a line and an exit code.

A verb is a module ``cli/<verb>.py`` that holds a click command named ``command``; its module is imported when the verb
is used and never for ``mergebarrier --help``.  A verb returns None (exit 0) or an exit code, and raises
MergebarrierError only; what else escapes is translated here, so a bad input never ends in a traceback.
"""

import importlib
import os
import re
import shlex
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Final, TypeVar

import click
from click.shell_completion import CompletionItem

from mergebarrier import __version__
from mergebarrier.cli._output import Session, hold_streams, print_error, tell
from mergebarrier.cli.shell import LogFile, hidden_in
from mergebarrier.errors import (
    BadConfig,
    InternalError,
    Interrupted,
    LimitExceeded,
    MergebarrierError,
    MissingExtra,
    NonFinite,
    UsageError,
    clean,
    refused_by_system,
)
from mergebarrier.nearest import nearest

__all__ = ["VERBS", "main"]

#: verb -> (module of its command, the line that ``mergebarrier --help`` prints).
VERBS: Final[dict[str, tuple[str, str]]] = {
    "inspect": ("mergebarrier.cli.inspect", "Show what a model is, and how it could be protected."),
    "protect": ("mergebarrier.cli.protect", "Write a model that computes the same but merges badly with stock tools."),
    "unprotect": ("mergebarrier.cli.unprotect", "Undo a protection with its key."),
    "verify": ("mergebarrier.cli.verify", "Check that two models compute the same."),
    "merge": ("mergebarrier.cli.merge", "Merge experts of one base, in bounded memory."),
    "realign": ("mergebarrier.cli.realign", "Undo a protection without its key, from the public base."),
    "evaluate": ("mergebarrier.cli.evaluate", "Score a model on tasks and on plain text."),
    "scan": ("mergebarrier.cli.scan", "Look for poisoned or protected models before and after a merge."),
    "audit": ("mergebarrier.cli.audit", "Merge and attack a protected model, and grade the protection."),
    "worker": ("mergebarrier.cli.worker", "Do one task of the plan of an audit, on any machine."),
    "provenance": (
        "mergebarrier.cli.evidence.provenance",
        "Evidence of where a model comes from: related or not, and parents.",
    ),
    "watermark": ("mergebarrier.cli.evidence.watermark", "Words in a service's answers, and who learned from them."),
    "fingerprint": (
        "mergebarrier.cli.evidence.fingerprint",
        "Mark a model, and recognise merges of it by answers.",
    ),
    "attack": ("mergebarrier.cli.attack", "Red-team controls: make poisoned experts, measure what they do to a merge."),
    "extract": ("mergebarrier.cli.extract", "Clone a classifier from its answers, and measure defences against that."),
    "report": ("mergebarrier.cli.report", "Show a finished audit as text, HTML, Markdown, SARIF or JSON."),
    "zoo": ("mergebarrier.cli.zoo", "Real models and tasks for trying things out: list, fetch, path, task."),
    "demo": ("mergebarrier.cli.demo", "The whole story on a real language model, in minutes, on a CPU."),
    "import-gguf": ("mergebarrier.cli.import_gguf", "Write the model of a GGUF file as a folder."),
    "doctor": ("mergebarrier.cli.doctor", "Show versions, threads, memory and what is installed."),
    "schema": (
        "mergebarrier.cli.shell.schema",
        "Print the JSON Schema of a --json document or of a file.",
    ),
    "completion": ("mergebarrier.cli.shell.completion", "Print the script that completes words in bash, zsh or fish."),
    "help": ("mergebarrier.cli.shell.help", "Explain a verb, as its --help does."),
}

_EPILOG: Final = (
    "Results go to stdout, everything else to stderr.  Exit codes: 0 done, 1 finished with a finding, "
    "2 could not complete, 64 usage, 70 internal error, 130 interrupted."
)
_TRACEBACK_VARIABLE: Final = "MERGEBARRIER_TRACEBACK"


_Ours = TypeVar("_Ours", bound=MergebarrierError)


class _LazyGroup(click.Group):
    """A group that knows its verbs as data and imports the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs in the order of a first use, not of the alphabet."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of ``cmd_name`` and return its ``command``."""
        if cmd_name not in VERBS:
            return None
        command = importlib.import_module(VERBS[cmd_name][0]).command
        assert isinstance(command, click.Command), cmd_name
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Refuse an unknown verb and name the nearest one."""
        name = args[0]
        if name not in VERBS and not name.startswith("-"):
            near = nearest(name, VERBS, likeness=0.5)
            guess = f" Did you mean {near!r}?" if near else ""
            raise click.UsageError(f"No such verb {name!r}.{guess}", ctx)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete a verb from the table, importing none of them."""
        found = [CompletionItem(verb, help=line) for verb, (_, line) in VERBS.items() if verb.startswith(incomplete)]
        return found or click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the verbs from the table, importing none of them."""
        with formatter.section("Verbs"):
            formatter.write_dl([(verb, line) for verb, (_, line) in VERBS.items()])


@click.group(
    cls=_LazyGroup,
    invoke_without_command=True,
    subcommand_metavar="VERB [ARGS]...",
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, "-V", "--version", prog_name="mergebarrier", message="%(prog)s %(version)s")
@click.pass_context
def _group(ctx: click.Context) -> int:
    """Protect open-weight models against unwanted merging, undo it, merge, and audit all of it honestly."""
    if ctx.invoked_subcommand is None:
        tell(ctx.get_help())
        return UsageError.exit_code
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; whatever goes wrong becomes one line on stderr.

    Args:
      argv: the arguments after the program's name; default ``sys.argv[1:]``.

    Returns: 0 done, 1 finished with a finding, 2 could not complete, 64 usage, 70 internal error, 130 interrupted.
    """
    hold_streams()
    session = Session(tuple(sys.argv[1:] if argv is None else argv))
    secrets = session.secrets
    with hidden_in(secrets) if secrets else nullcontext():
        return _logged(session, secrets)


def _logged(session: Session, secrets: Sequence[str]) -> int:
    started = time.perf_counter()
    try:
        code = _run(session, secrets)
        if session.log is not None:
            session.log.write(f"exit code {code} after {time.perf_counter() - started:.1f} s")
        return code
    finally:
        if session.log is not None:
            session.log.close()


def _run(session: Session, secrets: Sequence[str]) -> int:
    try:
        with _translated(session):
            if session.log_path is not None:
                session.log = LogFile(session.log_path, secrets)
                session.log.write(f"mergebarrier {__version__}: {shlex.join(['mergebarrier', *session.argv])}")
            code = _group.main(list(session.argv), prog_name="mergebarrier", standalone_mode=False, obj=session)
    except click.exceptions.NoArgsIsHelpError as error:
        tell(error.format_message())
        return UsageError.exit_code
    except SystemExit:  # how click ends where nobody reads on: the result did not arrive
        return MergebarrierError.exit_code
    except MergebarrierError as error:
        print_error(error, session)
        return error.exit_code
    return code if isinstance(code, int) else 0


@contextmanager
def _translated(session: Session) -> Iterator[None]:
    """Turn whatever escapes a verb into a MergebarrierError, keeping its notes (the resume line)."""
    try:
        yield
    except MergebarrierError:
        raise
    except (click.exceptions.Abort, KeyboardInterrupt) as error:
        raise _interrupted(error.__cause__ or error) from None
    except click.exceptions.NoArgsIsHelpError:
        raise
    except click.ClickException as error:
        raise _usage(error) from None
    except Exception as error:
        if session.verbose or os.environ.get(_TRACEBACK_VARIABLE) == "1":
            traceback.print_exc()
        raise _like(error, _from_foreign(error)) from None
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # how a library in Rust ends; it is no Exception
            raise
        what = f"a library broke off on a file of a model: {clean(error)}"
        raise _like(error, BadConfig(what, where="tokenizer.json", remedy="download the file again")) from None


def _interrupted(error: BaseException) -> Interrupted:
    again = "" if getattr(error, "__notes__", ()) else "run the same command again"
    return _like(error, Interrupted("interrupted", remedy=again))


def _usage(error: click.ClickException) -> UsageError:
    ctx = getattr(error, "ctx", None)
    path = ctx.command_path if ctx is not None else "mergebarrier"
    message = error.format_message().rstrip(".")
    choice = getattr(getattr(error, "param", None), "type", None)
    if isinstance(choice, click.Choice):
        wrong = re.match(r".*?'([^']*)' is not one of ", message)
        near = nearest(wrong[1], choice.choices) if wrong else None
        message = message if near is None else f"{message}. Did you mean {near!r}?"
    return UsageError(message, where=path, remedy="" if message.endswith("?") else f"see `{path} --help`")


def _from_foreign(error: Exception) -> MergebarrierError:
    """Translate a third-party error into one of our classes."""
    if isinstance(error, OSError):
        return refused_by_system(error) or MergebarrierError(
            error.strerror or str(error), where=error.filename or "", remedy="check the path"
        )
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        return _out_of_memory()
    if type(error).__name__.endswith("LinAlgError"):  # of torch, numpy and scipy, none of which is imported for it
        return NonFinite(f"no solution for these weights: {error}", remedy="check for weights that are zero or huge")
    if isinstance(error, ImportError) and not str(error.name).startswith("mergebarrier"):
        return MissingExtra(f"a package cannot be imported: {error}", remedy="see `mergebarrier doctor`")
    return InternalError(
        f"internal error: {type(error).__name__}: {error}",
        remedy="this is a fault of mergebarrier, please report it with the traceback that --verbose prints",
    )


def _out_of_memory() -> LimitExceeded:
    return LimitExceeded("out of memory", remedy="use fewer --workers, a smaller --max-ram, or a larger machine")


def _like(source: BaseException, error: _Ours) -> _Ours:
    """Carry the notes of ``source`` over to ``error``."""
    for note in getattr(source, "__notes__", ()):
        error.add_note(note)
    return error

"""Every option that the documents name exists, and belongs to the command that they name it for."""

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from how_to import ROOT
from mergebarrier.cli import VERBS

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])
_FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")
#: Options of other programs that readers are told to type, those of methods that the pages add, and what is gone.
FOREIGN = {"--host", "--model", "--seeds", "--strength", "--warmup", "--least", "--power", "--engine"}


def _command(words: list[str]) -> click.Command | None:
    """Return the command that the words call, or None where they name no verb."""
    if not words or words[0] not in VERBS:
        return None
    found: click.Command = __import__(VERBS[words[0]][0], fromlist=["command"]).command
    if isinstance(found, click.Group) and words[1:]:
        return found.get_command(click.Context(found), words[1])
    return found


def _flags(command: click.Command) -> set[str]:
    return {flag for option in command.params for flag in (*option.opts, *option.secondary_opts)} | {"--help"}


def _every(command: click.Command) -> Iterator[click.Command]:
    yield command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from _every(command.get_command(context, name))


def _lines(page: Path) -> list[str]:
    """Return the commands of a page, in blocks and in running text."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    typed = re.findall(r"^\s*(?:\$ )?(mergebarrier [^\n`#|>&]*)", text, re.MULTILINE)
    return [line.replace("\n", " ") for line in [*typed, *re.findall(r"`(mergebarrier [^`]*)`", text)]]


def _known() -> set[str]:
    """Return every option of every command."""

    return {flag for verb in VERBS if (command := _command([verb])) for one in _every(command) for flag in _flags(one)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_command_of_a_page_has_the_options_it_is_shown_with(page: Path) -> None:
    for line in _lines(page):
        command = _command(line.split()[1:])
        if command is not None:
            wrong = set(_FLAG.findall(line)) - _flags(command) - FOREIGN
            assert not wrong, f"{page.name}: {line}: {command.name} has no {sorted(wrong)}"


def test_every_option_that_a_page_names_is_known() -> None:
    named = {flag: page.name for page in PAGES for flag in _FLAG.findall(page.read_text(encoding="utf-8"))}
    strange = named.keys() - _known() - FOREIGN
    assert not strange, {flag: named[flag] for flag in strange}

"""A message names only options that exist, and nothing that a stranger wrote steers a terminal."""

import ast
import re

import click
import pytest

from mergebarrier.cli import VERBS, _group
from mergebarrier.errors import BadConfig, plain

_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*[a-z0-9]")
#: Files that call other programs, or read their command lines.
_OF_OTHERS = ("mergebarrier.zoo.", "mergebarrier.cli._mergekit", "mergebarrier.cli._parameters")


def _commands(command: click.Command):
    yield command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from _commands(command.get_command(context, name))


@pytest.fixture(scope="module")
def options() -> set[str]:
    assert list(VERBS)
    return {
        opt
        for command in _commands(_group)
        for param in command.get_params(click.Context(command))
        for opt in (*param.opts, *param.secondary_opts)
    }


def _messages(tree: ast.AST):
    """Every text of a file that is no docstring, with the parts of an f-string joined."""
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node


def test_every_option_that_a_message_names_exists(modules, options: set[str]) -> None:
    wrong = [
        f"{module.at(node)}: {name}"
        for module in modules
        for node in _messages(module.tree)
        for name in _OPTION.findall(node.value)
        if name not in options and not module.name.startswith(_OF_OTHERS)
    ]
    assert not wrong, "\n".join(wrong)


def test_no_word_of_a_stranger_steers_a_terminal() -> None:
    evil = "a\x1b[31m\u202eb\u2066\u200b\x07\x9b\u2028c\ud800"
    for shown in (plain(evil), str(BadConfig(f"the key {evil!s}", where=evil, remedy=evil))):
        assert all(char.isprintable() for char in shown) and "\x1b" not in shown and "a" in shown
    kept = "one\ttwo\n\u00e4\u4e2d \u2026 \u00b7 100\u202f%"
    assert plain(kept) == kept

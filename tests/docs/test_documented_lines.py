"""Every line of a document that calls the tool is one that the tool reads: verbs, options, choices, what must be."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from mergebarrier.cli import VERBS

ROOT = Path(__file__).parents[2]
#: A placeholder that stands for a number where one is asked for.
NUMBERS = {"N": "1", "K": "1", "X": "0.5", "W": "0.5", "D": "0.5", "L": "0.5", "R": "0.5", "I": "0", "PCT": "1"}
#: Blocks that say what may be written, in the notation of usage lines; each option there is looked up by itself.
USAGE = re.compile(r"\[|\||\.\.\.|…")
#: What stands for the name of a verb, and the attack that a page has its reader write.
_NAMES = re.compile(r"mergebarrier (VERB|attack (NAME|blended|\.\.\.))")


def _lines(text: str) -> Iterator[tuple[str, bool]]:
    """Yield (call of the tool, whether in a block), a call over several lines as one."""
    for block in re.findall(r"^```(?:console|bash|text|sh)?\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        joined = re.sub(r"(\\\n|\n)[ \t]+(?=\S)", " ", block)
        yield from ((line.removeprefix("$ ").strip(), True) for line in joined.splitlines())
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    yield from ((" ".join(code.split()), False) for code in re.findall(r"`([^`]+)`", prose))


def calls() -> list[tuple[str, str, bool]]:
    """Return (page, line, whether in a block) of what begins with the name of the tool and has more than a verb."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    found = dict[tuple[str, str, bool], None]()
    for page in pages:
        for line, whole in _lines(page.read_text(encoding="utf-8")):
            call = re.split(r"\s(?:#|>|\|\s)", line)[0].strip()
            if call.startswith("mergebarrier ") and call.count(" ") > 1 and not _NAMES.search(call):
                found[page.relative_to(ROOT).as_posix(), call, whole] = None
    return list(found)


def _command(words: list[str]) -> tuple[click.Command, list[str]]:
    """Return what the first words name, and the words behind them."""
    command: click.Command = __import__(VERBS[words[0]][0], fromlist=["command"]).command
    rest = words[1:]
    while isinstance(command, click.Group) and rest:
        inner = command.get_command(click.Context(command), rest[0])
        assert inner is not None, f"no {rest[0]}"
        command, rest = inner, rest[1:]
    return command, rest


def _options(command: click.Command) -> dict[str, click.Option]:
    named = [one for one in command.get_params(click.Context(command)) if isinstance(one, click.Option)]
    return {word: one for one in named for word in (*one.opts, *one.secondary_opts)}


def refusal(line: str, *, whole: bool) -> str | None:
    """Return why the tool would not read a line, or its options alone where prose names a part of it; else None."""
    try:
        words = shlex.split(line)[1:]
        command, rest = _command(words)
        if USAGE.search(line) or not whole:
            odd = set(re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", line)) - set(_options(command)) - {"--help"}
            return f"no such option: {', '.join(sorted(odd))}" if odd else None
        options = _options(command)
        filled = [
            NUMBERS.get(word, word) if before in options and _is_number(options[before]) else word
            for before, word in zip(["", *rest], rest, strict=False)
        ]
        command.make_context(words[0], filled, resilient_parsing=False)
    except click.exceptions.Exit:
        return None  # --help
    except (click.ClickException, AssertionError, KeyError, ValueError) as fault:
        return getattr(fault, "message", None) or repr(fault)
    return None


def _is_number(option: click.Option) -> bool:
    return isinstance(option.type, click.types.IntParamType | click.types.FloatParamType | click.types.FuncParamType)


@pytest.mark.parametrize(
    "line",
    [
        "mergebarrier protect M -o D --methd exact",
        "mergebarrier merge A --seed x -o D",
        "mergebarrier zoo fetch",
        "mergebarrier protect M -o D --method params --order",
        "mergebarrier realign M -o D --method nothing",
    ],
)
def test_a_line_that_the_tool_would_not_read_is_found(line) -> None:
    assert refusal(line, whole=True) is not None


def test_every_documented_line_is_one_that_the_tool_reads() -> None:
    found = calls()
    assert len(found) > 100 and sum(whole for _, _, whole in found) > 50
    wrong = [f"{page}: {line}: {why}" for page, line, whole in found if (why := refusal(line, whole=whole))]
    assert not wrong, "\n".join(wrong)

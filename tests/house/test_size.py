"""How large things may be: functions, argument lists, files and folders; and how much of the code is typed ``Any``."""

import ast
import functools
import re
from collections import Counter
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "mergebarrier"
FILES = {path.relative_to(SOURCE): path.read_text(encoding="utf-8") for path in sorted(SOURCE.rglob("*.py"))}
#: Room -> lines of everything in it, text and blank lines too: all families, and the language that says them.
ROOM_LINES = {"arch": 1500}
#: Occurrences of ``Any`` per thousand lines; only ever lowered.
ANY_PER_1000_LINES = 5.0


@functools.cache
def _functions() -> list[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    return [
        (f"{path}:{node.lineno} {node.name}", node)
        for path, text in FILES.items()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def _lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def _arguments(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    names = [one.arg for one in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
    return len(names) - (names[:1] in (["self"], ["cls"]))


@pytest.mark.parametrize(("measure", "most"), [(_lines, 60), (_arguments, 7)], ids=["lines", "arguments"])
def test_few_functions_are_large(measure, most: int) -> None:
    functions = _functions()
    large = sorted(((measure(node), name) for name, node in functions if measure(node) > most), reverse=True)
    assert len(functions) > 1000
    assert len(large) <= 0.01 * len(functions), f"{len(large)} of {len(functions)} exceed {most}: {large}"


def test_a_folder_can_be_read_at_a_glance() -> None:
    folders = Counter(path.parent for path in FILES if path.name != "__init__.py")
    assert max(folders.values()) <= 28, folders.most_common(3)


@pytest.mark.parametrize("room", ROOM_LINES)
def test_a_room_stays_as_small_as_was_promised(room: str) -> None:
    files = [path for path in (SOURCE / room).rglob("*") if path.is_file() and path.suffix != ".pyc"]
    lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files)
    assert 0 < lines <= ROOM_LINES[room]


def test_little_is_typed_any() -> None:
    words = {path: len(re.findall(r"\bAny\b", text)) for path, text in FILES.items()}
    lines = sum(text.count("\n") for text in FILES.values())
    rate = 1000 * sum(words.values()) / lines
    assert rate <= ANY_PER_1000_LINES, f"{rate:.1f} per 1,000 lines; most in {Counter(words).most_common(8)}"


def test_a_class_has_one_name_in_the_whole_package() -> None:
    owners: dict[str, list[str]] = {}
    for path, text in FILES.items():
        for name in re.findall(r"^class (\w+)", text, re.MULTILINE):
            owners.setdefault(name, []).append(str(path))
    twice = {name: paths for name, paths in owners.items() if len(paths) > 1}
    assert not twice, twice

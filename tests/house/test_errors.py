"""The error tree is closed, documented, and says what, where and what to do on one line."""

import ast
import re
import runpy

import pytest

from mergebarrier import errors
from mergebarrier.errors import MergebarrierError


@pytest.fixture(scope="module")
def page(root):
    return runpy.run_path(str(root / "docs" / "_generate_errors.py"))


def test_codes_are_unique_and_well_formed(page) -> None:
    codes = [item.code for item in page["classes"]()]
    assert len(codes) == len(set(codes)) > 30
    assert all(re.fullmatch(r"MB\d{4}", code) for code in codes)


def test_a_code_starts_with_the_number_of_its_branch(page) -> None:
    for item in page["classes"]():
        parent = item.__mro__[1]
        if issubclass(parent, MergebarrierError) and parent is not MergebarrierError:
            assert item.code[:3] == parent.code[:3], item.__name__


def test_the_tree_in_the_docstring_names_every_class_and_no_other(page) -> None:
    drawn = set(re.findall(r"\b[A-Z][A-Za-z]+\b", (errors.__doc__ or "").split("exit 2)")[1].split("A code never")[0]))
    assert drawn == {item.__name__ for item in page["classes"]()} - {"MergebarrierError"}


def test_the_page_of_errors_is_the_rendering_of_the_classes(page, root) -> None:
    assert (root / "docs" / "errors.md").read_text(encoding="utf-8") == page["render"]()


def test_every_exit_code_is_in_the_contract(page, root) -> None:
    table = (root / "docs" / "cli.md").read_text(encoding="utf-8")
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)}
    assert {item.exit_code for item in page["classes"]()} | {0, 1} == documented


def test_a_message_is_one_line_and_hides_terminal_control() -> None:
    hostile = "a\x1b[31m\u202eb\nc" + "x" * 500
    line = str(errors.BadHeader("two\nlines", where=hostile, remedy="mend it"))
    assert line.startswith("MB1005 a\\x1b[31m") and line.endswith("two lines; mend it")
    assert line.isprintable() and len(line) < 300


def test_every_refusal_says_where_or_what_to_do(modules, page) -> None:
    names = {item.__name__ for item in page["classes"]()} - {"InternalError"}
    bare = []
    for module in modules:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                call = node.exc
                name = ast.unparse(call.func).removeprefix("errors.")
                if name in names and not any(keyword.arg in ("where", "remedy", None) for keyword in call.keywords):
                    bare.append(f"{module.at(node)} {name}")
    assert not bare, "\n".join(bare)


def test_every_error_says_what_happened_and_what_to_do(page) -> None:
    for item in page["classes"]():
        parts = (item.__doc__ or "").split("\n\n")
        assert len(parts) >= 2, f"{item.__name__} does not say what to do"
        assert all(part.strip().endswith((".", ":")) for part in parts[:2]), item.__name__

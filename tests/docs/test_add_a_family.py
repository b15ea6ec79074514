"""docs/add_a_family.md, followed to the letter on a copy of the package."""

import re

import pytest

from how_to import Addition, Followed

PAGE = Addition(page="add_a_family", file="arch/starcoder2.py", registry="arch/registry.py", name="_TEXTS")
_FIGURES = re.compile(r"[0-9.]+e[-+][0-9]+")


@pytest.fixture(scope="module")
def followed(tmp_path_factory) -> Followed:
    """A copy to which the page was applied, and a folder in which its table lies beside a text file of the same."""
    found = PAGE.followed(tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("work"))
    (found.folder / "starcoder2.py").write_text(PAGE.blocks[0])
    (found.folder / "starcoder2.txt").write_text(PAGE.blocks[0].split('"""')[3])
    return found


@pytest.mark.parametrize("file", ["starcoder2.py", "starcoder2.txt"])
def test_the_check_prints_what_the_page_shows(file, followed, run_cli) -> None:
    command, shown = PAGE.blocks[3:5]
    assert command == "$ mergebarrier doctor --family starcoder2.py\n"
    ran = run_cli("doctor", "--family", followed.folder / file)
    assert ran.exit_code == 0 and _FIGURES.sub("#", ran.stdout) == _FIGURES.sub("#", shown)


def test_the_page_adds_a_family_that_protects_and_realigns(followed) -> None:
    model, commands = PAGE.blocks[5:]
    said = followed.typed(commands, before=model)
    assert "a model of the starcoder2 family, which can be protected" in said and "\nequal\n" in said


def test_the_file_of_the_page_is_one_that_we_would_take() -> None:
    PAGE.check_style()

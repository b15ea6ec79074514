"""docs/add_a_merge_method.md, followed to the letter on a copy of the package."""

import pytest

from how_to import Addition, Followed

PAGE = Addition(
    page="add_a_merge_method", file="merge/methods/median.py", registry="merge/methods/registry.py", name="MERGES"
)


@pytest.fixture(scope="module")
def followed(tmp_path_factory) -> Followed:
    return PAGE.followed(tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("work"))


def test_the_page_adds_a_method_that_merges_as_its_equation_says(followed) -> None:
    models, commands, compared = PAGE.blocks[3:]
    said = followed.typed(commands, before=models, after=compared)
    assert "median: a median up to this size is none" in " ".join(said.split())
    assert "median lambda=0.5 least=0.001 depth=" in said or "median least=0.001 lambda=0.5 depth=" in said


def test_the_file_of_the_page_is_one_that_we_would_take() -> None:
    PAGE.check_style()


def test_the_help_with_the_new_method_loads_no_torch(followed) -> None:
    said = followed.python(
        "-c",
        "import sys\nfrom mergebarrier.cli import main\nmain(['merge', '--help'])\nassert 'torch' not in sys.modules",
    )
    assert "--least" in said

"""Every block of Python in the documents is run by a test; those of pages without a test of their own are run here."""

import re
from pathlib import Path

import torch

from learning_models import CLASSES, Net, data, models

ROOT = Path(__file__).parents[2]
#: page -> the test that runs its blocks.
RUN_BY = {
    "README.md": "tests/api/test_python_page.py",
    "docs/python.md": "tests/api/test_python_page.py",
    "docs/add_a_family.md": "tests/docs/test_add_a_family.py",
    "docs/add_a_merge_method.md": "tests/docs/test_add_a_merge_method.py",
    "docs/add_a_protection.md": "tests/docs/test_add_a_protection.py",
    "docs/add_an_attack.md": "tests/docs/test_add_an_attack.py",
    "docs/data_merges.md": "tests/docs/test_blocks.py",
}


def _blocks(page: Path) -> list[str]:
    return re.findall(r"^```python.*?\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_no_page_shows_python_that_nobody_runs() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]
    assert {str(page.relative_to(ROOT)) for page in pages if _blocks(page)} == RUN_BY.keys()
    for page, test in RUN_BY.items():
        assert Path(page).name in (ROOT / test).read_text(encoding="utf-8"), f"{test} does not read {page}"


def test_data_merges_of_any_module() -> None:
    base, experts = models()
    tasks = dict(zip(("birds", "cars"), data(), strict=True))
    heads = {name: torch.nn.Linear(CLASSES, 4).requires_grad_(False) for name in tasks}
    batches = {name: list(task.batches) for name, task in tasks.items()}
    names = {"encoder": Net(), "base": base, "experts": experts, "batches": batches, "heads": heads}
    (block,) = _blocks(ROOT / "docs" / "data_merges.md")
    exec(compile(block, "data_merges.md", "exec"), names)
    assert names["logits"].shape == (len(batches["birds"][0]), 4) and torch.isfinite(names["logits"]).all()
    assert names["learned"].tensors.keys() == base.keys()

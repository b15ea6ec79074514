"""Every hostile adapter is refused with one line, exit code 2 and nothing written, from the flags and from a recipe."""

from pathlib import Path

import pytest

from hostile_adapters import CASES, AdapterCase, sound
from mergebarrier.checkpoint import AdaptedCheckpoint, open_adapter, open_checkpoint
from tiny_models import save


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save("llama-gqa-untied", tmp_path_factory.mktemp("models") / "base")


def tree(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(path.relative_to(folder)), path.lstat().st_size) for path in folder.rglob("*"))


@pytest.mark.parametrize("attack", CASES, ids=[case.name for case in CASES])
def test_a_hostile_adapter_is_refused_and_nothing_is_written(attack: AdapterCase, base, tmp_path, run_cli) -> None:
    attack.build(tmp_path / "lora")
    (tmp_path / "sound").mkdir()
    other = sound(tmp_path / "sound" / "lora")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"merge_method: ties\nbase_model: {base}\nparameters: {{weight: 1}}\n"
        f"models: [{{model: {base}+{tmp_path / 'lora'}}}]\n"
    )
    before = tree(tmp_path)
    flags = ["merge", tmp_path / "lora", other, "--base", base, "--method", "ties", "-o", tmp_path / "out"]
    for words in (flags, ["merge", recipe, "-o", tmp_path / "out"]):
        ran = run_cli(*words)
        lines = [line for line in ran.stderr.splitlines() if not line.startswith(("note:", "resume with:"))]
        assert ran.exit_code == 2 and ran.stdout == "", ran.stderr
        assert len(lines) == 1 and lines[0].startswith(f"error: {attack.error.code} "), lines
        for word in attack.says:
            assert word in lines[0], lines[0]
    assert tree(tmp_path) == before


def test_the_adapter_that_they_start_from_is_sound(base, tmp_path) -> None:
    with open_checkpoint(base) as model, open_adapter(sound(tmp_path / "lora")) as adapter:
        assert len(AdaptedCheckpoint(model, adapter).changes) == 2

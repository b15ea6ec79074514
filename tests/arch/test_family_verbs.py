"""Every verb that needs a table, through the front door, on a tiny model of every family: all within their gates."""

import pytest

import family_models
import family_verbs

#: What mathematics does not allow: a model without heads has no queries and keys to flip, and nothing to solve.
REFUSED = {"mamba": {"mergebarrier", "flipped back", "aga"}}
#: One of each way in which queries meet keys: rotated, in part, beside unrotated latents, behind a norm, without any.
QUICK = ("llama", "phi", "deepseek", "qwen3", "whisper", "llava", "mamba")


@pytest.mark.slow
@pytest.mark.parametrize("name", family_models.MODELS)
def test_every_figure_of_every_verb_is_within_its_gate(name, tmp_path):
    found = family_verbs.figures(name, tmp_path)
    own = found.pop("float32")
    missed = {column: figure for column, figure in found.items() if not family_verbs.passes(column, figure, own)}
    assert not missed
    assert {column for column, figure in found.items() if isinstance(figure, str)} == REFUSED.get(name, set())


@pytest.mark.parametrize("column", ["mergebarrier", "flipped back", "aga"])
@pytest.mark.parametrize("name", QUICK)
def test_flips_and_the_published_attack_ask_the_table_or_say_why_not(name, column, tmp_path):
    found = family_verbs.figure(column, family_verbs.Family(name, tmp_path))
    assert isinstance(found, str) == (column in REFUSED.get(name, set()))
    assert family_verbs.passes(column, found) and (not isinstance(found, str) or "mamba" in found)

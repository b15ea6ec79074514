"""``provenance parents``: shares, recipe and what is not explained, out of weights that were rounded."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

import family_models
import mergebarrier as mb
from mergebarrier.errors import BaseMismatch, NotIdentified, UsageError
from mergebarrier.keys import Key
from mergebarrier.merge import Merge
from mergebarrier.numerics import draws
from mergebarrier.provenance import (
    MergeAnatomy,
    ParentsOptions,
    ReplayedRecipe,
    TensorSums,
    entries_of,
    find_parents,
    joined,
    sums_of,
)
from mergebarrier.provenance.parents.declare import declared, unexplained
from mergebarrier.provenance.parents.entries import KEPT
from mergebarrier.provenance.parents.search import ReplayedMerge
from mergebarrier.provenance.parents.shares import fitted

TENSORS, SHAPE = 12, (48, 40)
NAMES = ("a", "b", "c", "d")


def _world(dtype: torch.dtype) -> tuple[list[Tensor], list[list[Tensor]]]:
    """Return a base, and four experts that move by about one unit in the last place of bfloat16."""
    draw = torch.Generator().manual_seed(1)
    base = [(0.05 * torch.randn(SHAPE, generator=draw)).to(dtype) for _ in range(TENSORS)]
    steps = [[torch.randn(SHAPE, generator=draw) * 3e-4 for _ in base] for _ in NAMES]
    return base, [[(one.float() + step).to(dtype) for one, step in zip(base, mine, strict=True)] for mine in steps]


def _anatomy(method: Merge, parents: str, candidates: str, *, dtype: torch.dtype = torch.bfloat16) -> MergeAnatomy:
    base, experts = _world(dtype)
    known = dict(zip(NAMES, experts, strict=True))
    sums, entries = list[TensorSums](), []
    for n, tensor in enumerate(base):
        suspect = method.merge(tensor, [known[name][n] for name in parents], name=str(n))
        given = [known[name][n] for name in candidates]
        sums.append(sums_of(tensor, given, suspect))
        entries.append(entries_of(tensor, given, suspect, seed=0, name=str(n)))
    return find_parents(list(candidates), 0, TensorSums.stacked(sums), joined(entries), ParentsOptions())


RECIPES = {
    "task_arithmetic": (mb.TaskArithmetic(weights=(0.3, 0.5)), "task_arithmetic", 1.0, (0.3, 0.5)),
    "mergekit's arithmetic": (
        mb.TaskArithmetic(weights=(0.35, 0.45), arith="input"),
        "task_arithmetic",
        1.0,
        (0.35, 0.45),
    ),
    "one taken away": (mb.TaskArithmetic(weights=(0.5, -0.4)), "task_arithmetic", 1.0, (0.5, -0.4)),
    "ties": (mb.Ties(weights=(0.4, 0.5), density=0.4, reduce="sum"), "ties", 0.4, (0.4, 0.5)),
    "ties, normalized": (mb.Ties(weights=(0.4, 0.6), density=0.5), "ties", 0.5, (0.4, 0.6)),
    "breadcrumbs": (mb.Breadcrumbs(weights=(0.5, 0.4), density=0.6), "breadcrumbs", 0.6, (0.5, 0.4)),
}


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_named_with_its_shares_where_all_parents_are_known(name: str) -> None:
    method, called, density, shares = RECIPES[name]
    found = _anatomy(method, "ab", "abc")
    assert found.settled and found.same_frac > 0.98 > 0.9 > found.by_chance_frac
    assert (found.recipe.method, found.recipe.density) == (called, density)
    for one, share in zip(found.candidates, (*shares, 0.0), strict=True):
        assert abs(one.share - share) <= 0.011 and one.low - 1e-9 <= share <= one.high + 1e-9
    assert [one.adjusted < 1e-3 for one in found.candidates] == [True, True, False]


def test_an_unknown_parent_is_a_norm_and_no_reason_to_declare_others() -> None:
    found = _anatomy(mb.TaskArithmetic(weights=(0.3, 0.5)), "ab", "acd")
    assert not found.settled and found.unexplained.share > 0.5
    assert [one.adjusted < 1e-3 for one in found.candidates] == [True, False, False]
    assert abs(found.candidates[0].share - 0.3) < 0.05


def test_where_all_parents_are_unknown_nothing_is_explained() -> None:
    """Shares of next to nothing are rounded away, and what is left of them is no rounding of the suspect's."""
    found = _anatomy(mb.TaskArithmetic(weights=(0.3, 0.5)), "ab", "cd")
    assert found.unexplained.share > 0.95 and not found.settled
    assert not any(one.adjusted < 1e-3 for one in found.candidates)


def test_intervals_hold_the_shares_however_many_parents_are_unknown() -> None:
    """Experts have a part in common, more in some tensors than in others: errors of least squares hold no share."""
    draw, plain = torch.Generator().manual_seed(5), ReplayedRecipe(method="task_arithmetic")
    inside: list[list[bool]] = [[], [], [], []]
    errors: list[tuple[float, float]] = []
    widths, false = [], []
    for number in range(40):
        unknown, parts = number % 4, []
        weights = [*(0.2 + 0.4 * torch.rand(unknown + 2, generator=draw)).tolist(), 0.0]
        for _ in range(20):
            common = torch.randn(SHAPE, generator=draw)
            of_common = 0.7 * torch.rand(len(weights), generator=draw)
            taus = [part * common + torch.randn(SHAPE, generator=draw) for part in of_common.tolist()]
            suspect = sum((weight * tau for weight, tau in zip(weights, taus, strict=True)), torch.zeros(SHAPE))
            parts.append(sums_of(torch.zeros(SHAPE), taus[unknown:], suspect))
        sums = TensorSums.stacked(parts)
        fit = fitted(sums, 0)
        merge = ReplayedMerge(plain, fit.shares.clip(0), fit.rest, 0.0)
        found = declared(list("abc"), 0, sums, fit, merge, unexplained(sums, fit, 0.0), np.ones(3))
        inside[unknown] += [
            one.low - 1e-6 <= share <= one.high + 1e-6 for one, share in zip(found, weights[unknown:], strict=True)
        ]
        if unknown:
            errors += [
                (abs(one.share - share), abs(fitted_share - share))
                for one, fitted_share, share in zip(found, merge.shares, weights[unknown:], strict=True)
            ]
        widths += [one.high - one.low for one in found]
        false.append(found[-1].adjusted < 1e-3)
    assert all(sum(ones) >= 0.95 * len(ones) for ones in inside), [sum(ones) for ones in inside]
    assert sorted(widths)[len(widths) // 2] < 0.25 and not any(false)
    corrected, plain_error = np.mean(errors, axis=0)
    assert corrected < 0.6 * plain_error, "what an unknown parent likely adds is taken off"


@pytest.mark.slow
def test_random_masks_are_told_by_the_entries_that_they_can_give() -> None:
    found = _anatomy(mb.DareLinear(weights=(0.4, 0.5), density=0.5), "ab", "abc")
    assert found.recipe.method.startswith("dare") and found.same_frac > 0.97 > found.by_chance_frac + 0.05
    assert [abs(one.share - share) < 0.05 for one, share in zip(found.candidates, (0.4, 0.5, 0.0), strict=True)]


def test_float32_is_exact() -> None:
    found = _anatomy(mb.TaskArithmetic(weights=(0.3, 0.5)), "ab", "abc", dtype=torch.float32)
    assert found.left < 1e-6 and found.candidates[0].least_squares == pytest.approx(0.3, abs=1e-4)


def _folders(root: Path) -> tuple[Path, list[Path]]:
    base = family_models.save("llama", root / "base")
    made = []
    for number, name in enumerate("ab"):
        expert = family_models.save("llama", root / name)
        family_models.nudge(expert, 0.02 + 0.02 * number)
        made.append(expert)
    return base, made


def test_a_suspect_behind_a_key_is_realigned_first(tmp_path: Path, run_cli) -> None:
    base, (a, _) = _folders(tmp_path)
    other = family_models.save("llama", tmp_path / "other", seed=0)
    _turn(other)
    mb.merge([a, other], tmp_path / "merged", base=base, method=mb.TaskArithmetic(weights=(0.3, 0.6)))
    mb.protect(tmp_path / "merged", tmp_path / "keyed", key=Key(bytes([4]) * 32), method=mb.Exact())
    words = ("provenance", "parents", tmp_path / "keyed", "--base", base, "--candidate", a, "--candidate", other)
    ran = run_cli(*words, "--json")
    assert ran.exit_code == 0 and ran.json["realigned"] == ["the suspect"], ran.stderr
    assert [round(one["share"], 2) for one in ran.json["candidates"]] == [0.3, 0.6]
    recipe = yaml.safe_load(ran.json["recipe_yaml"])
    assert recipe["merge_method"] == "task_arithmetic" and len(recipe["models"]) == 2
    assert "a parent" in run_cli(*words).stdout


def _turn(folder: Path) -> None:
    """Move every tensor by a step of its own."""
    from safetensors.torch import load_file, save_file

    draw, path = torch.Generator().manual_seed(9), folder / "model.safetensors"
    moved = {
        name: one + 0.02 * torch.randn(one.shape, generator=draw) * one.std() for name, one in load_file(path).items()
    }
    save_file(moved, path, {"format": "pt"})


def _silence(folder: Path) -> None:
    """Make every tensor next to nothing."""
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    save_file({name: one * 1e-4 for name, one in load_file(path).items()}, path, {"format": "pt"})


def test_what_does_not_determine_shares_is_refused(tmp_path: Path) -> None:
    base, (a, b) = _folders(tmp_path)
    with pytest.raises(NotIdentified, match="the suspect is the base"):
        mb.provenance_parents(base, base=base, candidates=[a])
    with pytest.raises(NotIdentified, match="cannot be told apart"):
        mb.provenance_parents(a, base=base, candidates=[a, b])
    with pytest.raises(NotIdentified, match="this candidate is the base"):
        mb.provenance_parents(a, base=base, candidates=[a, base])
    other, mixed = family_models.save("llama", tmp_path / "other"), tmp_path / "mixed"
    _turn(other)
    mb.merge([a, other], mixed, base=base, method=mb.TaskArithmetic(weights=(0.5, 0.5)))
    with pytest.raises(NotIdentified, match="all but a mix of the others"):
        mb.provenance_parents(b, base=base, candidates=[mixed, other, a])
    with pytest.raises(UsageError, match="among candidates"):
        mb.provenance_parents(a, base=base, candidates=[])
    with pytest.raises(BaseMismatch, match="lacks it"):
        mb.provenance_parents(family_models.save("gpt2", tmp_path / "gpt2"), base=base, candidates=[a])
    stranger = family_models.save("llama", tmp_path / "stranger", seed=1)
    with pytest.raises(BaseMismatch, match="of the base, so it was not made from it"):
        mb.provenance_parents(stranger, base=base, candidates=[a])
    with pytest.raises(BaseMismatch, match="of the base, so it was not made from it"):
        mb.provenance_parents(a, base=base, candidates=[other, stranger])
    nothing = family_models.save("llama", tmp_path / "nothing")
    _silence(nothing)
    with pytest.raises(BaseMismatch, match="keeps 0% of the base"):
        mb.provenance_parents(a, base=nothing, candidates=[other])


def test_what_a_cut_keeps_is_what_a_stable_order_keeps() -> None:
    """Changes of few sizes, more than are looked at together: of those on the edge the first ones are kept."""
    count = (1 << 18) + 40_000
    base = torch.zeros(count)
    change = torch.randint(-6, 7, (count,), generator=torch.Generator().manual_seed(5)).float()
    found = entries_of(base, [change], change.to(torch.bfloat16), seed=0, name="w")
    places = draws.below(("provenance", 0, "entries|w"), count, 6000).unique()
    order = torch.argsort(change.abs(), descending=True, stable=True)
    ranks = torch.empty(count, dtype=torch.int64)
    ranks[order] = torch.arange(count)
    for density in (0.1, 0.5, 0.9):
        kept = (found.mask(density, middle=False, rounded=False)[0] & KEPT).bool()
        assert torch.equal(kept, ranks[places] < int(density * count))

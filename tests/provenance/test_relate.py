"""``provenance relate``: relatives are found behind every key, strangers are not, and p is uniform for them."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from scipy.stats import kstest
from torch import Tensor

import family_models
import mergebarrier as mb
from mergebarrier.errors import NotComparable
from mergebarrier.keys import Key
from mergebarrier.provenance import (
    ComparedLayer,
    NeuronLayer,
    Relatedness,
    RelateOptions,
    RowProducts,
    StoredRows,
    relate,
)

WIDTH, NEURONS, ROWS, LAYERS = 48, 96, 192, 2
FAMILIES = ("gpt2", "llama", *(pytest.param(name, marks=pytest.mark.slow) for name in ("gemma2", "mixtral", "t5")))


def changed(layer: NeuronLayer, change: Callable[[Tensor], Tensor]) -> NeuronLayer:
    """Return a layer each of whose matrices was changed."""
    read, *held = (StoredRows.of(change(one.at(torch.arange(len(one))))) for one in (layer.read, *layer.held))
    return dataclasses.replace(layer, read=read, held=tuple(held))


class RandomModel:
    """Rows of an embedding and neurons of a few layers, drawn at random."""

    def __init__(self, seed: int, *, width: int = WIDTH, layers: int = LAYERS) -> None:
        draw = torch.Generator().manual_seed(seed)
        self.width = width
        self.rows = torch.randn(ROWS, width, generator=draw)
        self.layers = [
            NeuronLayer(
                name=f"layers.{n}.mlp",
                read=StoredRows.of(torch.randn(NEURONS, width, generator=draw)),
                held=tuple(StoredRows.of(torch.randn(NEURONS, width, generator=draw)) for _ in range(2)),
            )
            for n in range(layers)
        ]

    def keyed(self, seed: int) -> "RandomModel":
        """Return the same in another order and other signs of the stream, and another order of neurons."""
        draw = torch.Generator().manual_seed(seed)
        order = torch.randperm(self.width, generator=draw)
        sign = torch.randint(0, 2, (self.width,), generator=draw) * 2.0 - 1.0
        found = RandomModel(0, width=self.width, layers=0)
        found.rows = self.rows[:, order] * sign
        for layer in self.layers:
            moved = torch.randperm(NEURONS, generator=draw)
            found.layers.append(changed(layer, lambda one, moved=moved: one[moved][:, order] * sign))
        return found

    def rotated(self, seed: int) -> "RandomModel":
        """Return the same with its stream turned by any rotation, neurons where they were."""
        turn = torch.linalg.qr(torch.randn(self.width, self.width, generator=torch.Generator().manual_seed(seed)))[0]
        found = RandomModel(0, width=self.width, layers=0)
        found.rows = self.rows @ turn
        for layer in self.layers:
            found.layers.append(changed(layer, lambda one: one @ turn))
        return found


def related(first: RandomModel, second: RandomModel, *, rows: Tensor | None = None, draws: int = 9) -> Relatedness:
    places = [
        ComparedLayer(name=ours.name, first=lambda ours=ours: ours, seconds=(lambda theirs=theirs: theirs,))
        for ours, theirs in zip(first.layers, second.layers, strict=True)
    ]
    products = RowProducts.of(first.rows, second.rows if rows is None else rows)
    return relate(
        products,
        places,
        (first.width, second.width),
        centred=False,
        options=RelateOptions(draws=draws),
        progress=lambda done, total: None,
    )


def test_p_of_strangers_is_uniform() -> None:
    models = [RandomModel(seed) for seed in range(1, 8)]
    found = [related(a, b) for n, a in enumerate(models) for b in models[:n]]
    for test in ("stream", "neurons", "second moment", "stored", "numbered"):
        ps = [one.tests[test] for one in found]
        assert kstest(ps, "uniform").pvalue > 0.01 and min(ps) > 1e-3, test
    assert min(one.p for one in found) > 1e-2


def test_a_relative_is_found_behind_a_key() -> None:
    model = RandomModel(1)
    found = related(model, model.keyed(2))
    assert found.p < 1e-9 and found.tests["stream"] < 1e-9 and found.tests["neurons"] < 1e-6
    assert all(layer.adjusted < 1e-3 for layer in found.layers)
    assert found.tests["stored"] > 1e-3


def test_neurons_tell_where_the_embedding_was_replaced() -> None:
    model, stranger = RandomModel(1), RandomModel(3)
    kept = related(model, model, rows=stranger.rows)
    assert kept.tests["stream"] > 1e-3 and kept.tests["stored"] < 1e-9 and kept.p < 1e-9
    keyed = model.keyed(2)
    hidden = related(model, keyed, rows=stranger.keyed(2).rows)
    assert hidden.tests["stored"] > 1e-3 and hidden.tests["second moment"] < 1e-6 and hidden.p < 1e-3


@pytest.mark.parametrize("loudness", [0.0, 0.01, 30.0])
def test_coordinates_that_are_silent_or_loud_in_both_make_no_relatives(loudness: float) -> None:
    """Directions of nothing are anybody's: a stranger's silent coordinates corresponded with ours."""
    first, second = RandomModel(1), RandomModel(3)
    for model in (first, second):
        model.rows[:, :3] *= loudness
    assert related(first, second).tests["stream"] > 1e-3
    assert related(first, second, rows=torch.ones(ROWS, WIDTH)).p > 1e-3, "an embedding that says nothing"


def test_embeddings_of_which_little_is_left_make_no_relatives() -> None:
    """Coordinates of strangers that share next to no row: what they do share is no normal number."""
    models = [RandomModel(seed) for seed in (60, 61)]
    for model in models:
        model.rows = model.rows.where(model.rows.abs() > 2, 0.0)
    assert related(*models).p > 1e-3
    assert related(models[0], models[0].keyed(62)).p < 1e-9


@pytest.mark.parametrize("plain", ["constant", "identity", "off"])
def test_neurons_that_no_random_start_draws_make_no_relatives(plain: str) -> None:
    """Whatever fills up layers of two strangers: their last neurons correspond, and say nothing."""
    filled = {
        "constant": torch.full((40, WIDTH), 0.01),
        "identity": torch.eye(WIDTH)[:40],
        "off": torch.zeros(40, WIDTH),
    }
    models = [RandomModel(seed) for seed in (70, 71)]
    for model in models:
        model.layers = [changed(one, lambda rows: torch.cat([rows[:-40], filled[plain]])) for one in model.layers]
    assert related(*models).p > 1e-3
    assert related(models[0], models[0].keyed(72)).p < 1e-9


def test_more_neurons_in_another_order_are_found_where_the_embedding_was_replaced() -> None:
    """As behind ``widen``: neither embedding nor numbers of neurons tell, and the stream stands as it was."""
    model = RandomModel(1)
    wide = RandomModel(3, layers=0)
    order = torch.randperm(NEURONS + 32, generator=torch.Generator().manual_seed(4)) % NEURONS
    wide.layers = [changed(layer, lambda one: one[order]) for layer in model.layers]
    found = related(model, wide, draws=19)
    assert "stored" not in found.tests and found.tests["second moment"] < 1e-6 and found.p < 1e-3


def test_a_dense_rotation_is_seen_by_the_numbers_of_neurons_or_not_at_all() -> None:
    model = RandomModel(1)
    found = related(model, model.rotated(5))
    assert found.tests["stream"] > 1e-3 and found.tests["numbered"] < 1e-9
    assert found.rotated_cosine is not None and found.rotated_cosine > 0.9


def test_a_model_of_zeros_has_no_score() -> None:
    model, silent = RandomModel(1), RandomModel(1)
    silent.rows = torch.zeros_like(silent.rows)
    silent.layers = [changed(layer, torch.zeros_like) for layer in silent.layers]
    with pytest.raises(NotComparable, match="zero"):
        related(model, silent)


def test_layers_are_told_apart() -> None:
    model, other = RandomModel(1), RandomModel(3)
    mixed = model.keyed(2)
    mixed.layers[1] = other.layers[1]
    found = related(model, mixed, draws=19)
    assert [layer.adjusted < 1e-3 for layer in found.layers] == [True, False]


def test_a_narrower_stream_is_compared_in_what_is_left() -> None:
    model = RandomModel(1)
    narrow = RandomModel(0, width=40, layers=0)
    narrow.rows = model.rows[:, :40]
    narrow.layers = [changed(layer, lambda one: one[:, :40]) for layer in model.layers]
    assert related(model, narrow).p < 1e-6
    assert related(model, RandomModel(9, width=40)).p > 1e-2


@pytest.mark.parametrize("name", FAMILIES)
def test_a_fine_tune_of_every_kind_of_family_is_found_behind_its_key(name: str, tmp_path: Path) -> None:
    base = family_models.save(name, tmp_path / "base")
    tuned = family_models.save(name, tmp_path / "tuned")
    family_models.nudge(tuned, 0.1)
    mb.protect(tuned, tmp_path / "keyed", key=Key(bytes([3]) * 32), method=mb.Exact(profile="full"))
    stranger = family_models.save(name, tmp_path / "stranger", seed=5)
    options = RelateOptions(draws=9)
    kept = mb.provenance_relate(tuned, base, options=options)
    assert kept.related and kept.stored_order == "equal" and kept.embeddings == "related"
    keyed = mb.provenance_relate(tmp_path / "keyed", base, options=options)
    assert keyed.related and keyed.stored_order == "no evidence"
    other = mb.provenance_relate(stranger, base, options=options)
    assert not other.related and other.layers_related == ()


def test_gated_and_plain_neurons_are_not_compared(tmp_path: Path) -> None:
    llama, gpt2 = (family_models.save(name, tmp_path / name) for name in ("llama", "gpt2"))
    with pytest.raises(NotComparable, match="different kinds"):
        mb.provenance_relate(llama, gpt2)

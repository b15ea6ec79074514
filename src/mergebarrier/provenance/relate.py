"""Are two checkpoints related by descent or merge?  Tests whose null is two trainings with independent random starts.

    stream        the map of the embeddings against a random isometry                       (``coordinates``)
    neurons       T = sum over layers of z, matched in the coordinates that correspond
    second moment the same, coordinates from what the neurons read (``second_moment``) or as they are stored, whichever
                  gives more, where embeddings are silent
    stored        z of neurons as numbered, in the coordinates as stored;  numbered: the same through the map of streams
    null of T:    the second model turned by m random rotations and matched anew: the same function, the same features,
                  no shared coordinate;   p of t = (T - mean) / (sd sqrt(1 + 1/m)), m - 1 degrees
    of the second moment t / 2: on 276 pairs of strangers of one data set it spread more than its rotations
    p = 1 - (1 - min of the five)^5, of three z of a layer alike;   of layers, Holm over layers

What is assumed: an optimiser that does not know coordinates, apart from the leading ones that ``coordinates`` leaves
out.  A dense rotation of the stream with other numbers of neurons lies inside the null: no p can see it, so the cosine
that such a rotation leaves is shown as a score, and unrelated models score high on it.

Source: MDIR (arXiv 2508.06309), tests of independently trained models (arXiv 2502.12292).  Differs: the null is drawn
from the models themselves, and a permutation alone is never the null of something that was matched.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Final

from mergebarrier.errors import NotComparable
from mergebarrier.lazy import np, torch
from mergebarrier.numerics import LEAST_TAIL, holm, least_of
from mergebarrier.parameters import check_values, number, whole
from mergebarrier.provenance.coordinates import (
    RowProducts,
    StreamMaps,
    StreamTest,
    common_view,
    haar,
    stored_view,
    stream_maps,
)
from mergebarrier.provenance.neurons import NeuronLayer, matched_z, stored_z
from mergebarrier.provenance.second_moment import directions, moment_views, second_moment

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

#: How much wider than its rotations the test of second moments is taken to be.
_WIDER: Final = 2.0
#: The tests, in the order in which they are shown.
TESTS: Final = ("stream", "neurons", "second moment", "stored", "numbered")


@dataclass(frozen=True, kw_only=True)
class RelateOptions:
    """How two models are compared."""

    draws: int = whole(19, low=5, help="Random rotations that the null of the neurons is drawn with.")
    layers: int = whole(6, low=1, help="Layers, spread over the depth, that the decision is made with.")
    level: float = number(1e-3, low=LEAST_TAIL, high=0.5, help="Level at which a verdict says related.")
    seed: int = whole(0, help="Seed of the rotations.")

    def __post_init__(self) -> None:
        """Validate."""
        check_values(self)


@dataclass(frozen=True, kw_only=True)
class ComparedLayer:
    """A layer of the first model, and the layers of the second that may be its counterpart."""

    name: str
    first: Callable[[], NeuronLayer]
    seconds: tuple[Callable[[], NeuronLayer], ...]


@dataclass(frozen=True, kw_only=True)
class LayerTest:
    """One layer.

    Attributes:
      name, counterpart: of the circuits.
      z:       of neurons matched in the coordinates that correspond.
      null_mean, null_sd: of the same after random rotations; of all decided layers together where none was drawn here.
      stored_z: of neurons as they are stored, in the coordinates as stored; ``numbered_z`` through the map of streams.
      p:       of the three z together; ``adjusted`` by Holm over all layers.
    """

    name: str
    counterpart: str
    z: float
    null_mean: float
    null_sd: float
    stored_z: float
    numbered_z: float
    p: float
    adjusted: float


@dataclass(frozen=True, kw_only=True)
class Relatedness:
    """What the tests say.

    Attributes:
      p:        of the hypothesis that both starts were independent, all tests together.
      tests:    name -> p of each test that could be run.
      stream:   None where no rows correspond.
      layers:   every layer of the first model.
      z_sum, null_mean, null_sd: of the layers that decide.
      rotated_cosine: a score without a p: see ``RowProducts.held_out_cosine``.
      decided:  how many layers decide; ``draws`` of the null.
      counted:  share of rotations whose sum over the deciding layers is as large, (1 + number) / (1 + draws): what the
                joint null says without a curve.
    """

    p: float
    tests: dict[str, float]
    stream: StreamTest | None
    layers: tuple[LayerTest, ...]
    z_sum: float
    null_mean: float
    null_sd: float
    rotated_cosine: float | None
    decided: int
    draws: int
    counted: float


@dataclass(frozen=True)
class _DrawnRotations:
    """The random rotations of the second model, drawn anew each time: of a wide stream they would fill the memory."""

    width: int
    seed: int
    count: int
    centred: bool

    def __iter__(self) -> Iterator[Tensor]:
        return (haar(self.width, self.seed, number, centred=self.centred) for number in range(self.count))


@dataclass
class _LayerScores:
    """What is kept of the layers that were looked at."""

    z: list[float] = field(default_factory=list)
    stored: list[float] = field(default_factory=list)
    numbered: list[float] = field(default_factory=list)
    counterpart: list[str] = field(default_factory=list)
    null: dict[int, list[float]] = field(default_factory=dict)


def relate(
    products: RowProducts | None, places: Sequence[ComparedLayer], widths: tuple[int, int], *, centred: bool,
    options: RelateOptions, progress: Callable[[int, int], None],
) -> Relatedness:  # fmt: skip
    """Test whether two models are related.

    Args:
      products: of the rows that correspond, None where there are none.
      places:   layers to compare.
      widths:   of the two streams.
      centred:  both are read through LayerNorm.
      options:  how much is drawn.
      progress: called with (steps done, steps in all).
    Raises: NotComparable where no test can be run.
    Numerics: deterministic for one seed; z to about 1e-4, since cosines are float32.
    """
    maps = stream_maps(products, widths)
    del products  # sums of the width of a stream, squared, are much beside one layer
    stream = maps.stream
    chosen = _spread(len(places), options.layers)
    turns = _DrawnRotations(widths[1], options.seed, options.draws, centred)
    seen = _look(places, chosen, maps, turns, progress)
    null = np.array([seen.null[place] for place in chosen])
    if not (null.any() or any((*seen.z, *seen.stored, *seen.numbered)) or (stream is not None and stream.k4)):
        raise NotComparable(
            "all that is compared is zero or of one kind", where="relate", remedy="give models that were trained"
        )
    total, totals = sum(seen.z[place] for place in chosen), null.sum(0)
    tests = {} if stream is None else {"stream": stream.p, "neurons": _t_tail(total, totals)}
    stored, numbered = (_sum_tail(zs) for zs in (seen.stored, seen.numbered))
    tests |= {"stored": stored} if widths[0] == widths[1] and stored is not None else {}
    tests |= {"numbered": numbered} if stream is not None and numbered is not None else {}
    if least_of([*tests.values()], len(TESTS)) > options.level and widths[0] == widths[1]:
        tests["second moment"] = _by_moments([places[place] for place in chosen], widths[0], turns)
    if not tests:
        raise NotComparable(
            f"their streams are {widths[0]} and {widths[1]} wide, and too few rows of their embeddings correspond",
            where="relate", remedy="compare models of one width, or with tokenizers that share more tokens",
        )  # fmt: skip
    ps = [_layer_p(seen, place, null) for place in range(len(places))]
    rows = zip(
        places, seen.counterpart, seen.z, seen.stored, seen.numbered, ps, holm([p for _, _, p in ps]), strict=True
    )
    return Relatedness(
        p=least_of([*tests.values()], len(TESTS)),
        tests={name: tests[name] for name in TESTS if name in tests},
        stream=stream,
        layers=tuple(
            LayerTest(name=place.name, counterpart=other, z=z, null_mean=mean, null_sd=sd, stored_z=by_store,
                      numbered_z=by_number, p=p, adjusted=adjusted)
            for place, other, z, by_store, by_number, (mean, sd, p), adjusted in rows
        ),
        z_sum=float(total),
        null_mean=float(totals.mean()),
        null_sd=float(totals.std(ddof=1)),
        rotated_cosine=maps.rotated_cosine,
        decided=len(chosen),
        draws=options.draws,
        counted=float(1 + (totals >= total).sum()) / (1 + len(totals)),
    )  # fmt: skip


def _look(
    places: Sequence[ComparedLayer], chosen: Sequence[int], maps: StreamMaps, turns: _DrawnRotations,
    progress: Callable[[int, int], None],
) -> _LayerScores:  # fmt: skip
    """Take every layer once: what it says, and for those that decide what it says after every rotation."""
    seen, mapped = _LayerScores(), maps.mapped
    view = common_view(mapped)
    turned = [common_view(mapped, turn) for turn in turns]
    stored = stored_view(len(mapped)) if mapped.shape[0] == mapped.shape[1] else None
    for at, place in enumerate(places):
        ours = place.first()
        small = ours.sampled()
        scores: list[tuple[float, float, float, str]] = []
        null: list[list[float]] = []
        for second in place.seconds:
            theirs = second()
            as_stored = stored_z(ours, theirs, stored) if stored is not None else 0.0
            scores.append((matched_z(small, theirs, view), as_stored, stored_z(ours, theirs, maps.whole), theirs.name))
            if at in chosen:
                null.append([matched_z(small, theirs, one) for one in turned])
        if at in chosen:
            seen.null[at] = [max(column) for column in zip(*null, strict=True)]
        _, as_stored, by_number, name = max(scores, key=lambda score: max(score[:3]))
        seen.z.append(max(score[0] for score in scores))
        seen.stored.append(as_stored if len(scores) == 1 else 0.0)
        seen.numbered.append(by_number if len(scores) == 1 else 0.0)
        seen.counterpart.append(name)
        progress(at + 1, len(places))
    return seen


def _by_moments(chosen: Sequence[ComparedLayer], width: int, turns: _DrawnRotations) -> float:
    """Return p of the neurons in the coordinates that the second moments give, or in those that are stored."""
    moments = [torch.zeros(width, width, dtype=torch.float64) for _ in range(2)]
    for place in chosen:
        moments[0] += second_moment(place.first().read)
        for second in place.seconds:
            moments[1] += second_moment(second().read)
    first, stored = directions(moments[0]), stored_view(width)
    seen: Iterator[Tensor | None] = chain((None,), turns)
    views = [(*moment_views(first, moments[1], turn), stored.turned(turn)) for turn in seen]
    totals = np.zeros((len(views), len(views[0])))
    for place in chosen:
        ours = place.first().sampled()
        best = np.full_like(totals, -math.inf)
        for second in place.seconds:
            theirs = second()
            found = [[matched_z(ours, theirs, view) for view in several] for several in views]
            best = np.maximum(best, np.array(found))
        totals += best
    sums = totals.max(1)
    return _t_tail(float(sums[0]), sums[1:], wider=_WIDER)


def _spread(count: int, wanted: int) -> list[int]:
    """Return ``wanted`` places of ``count``, from the first to the last."""
    if wanted >= count:
        return list(range(count))
    return sorted({round(n * (count - 1) / max(wanted - 1, 1)) for n in range(wanted)})


def _t_tail(value: float, null: NDArray[np.float64], *, wider: float = 1.0) -> float:
    """Return the chance of a further draw of a normal, ``wider`` than some draws, to be as large."""
    from scipy.stats import t

    spread = wider * max(float(null.std(ddof=1)), 1e-9) * math.sqrt(1 + 1 / len(null))
    return float(t.sf((value - float(null.mean())) / spread, len(null) - 1))


def _sum_tail(zs: Sequence[float]) -> float | None:
    """Return the chance of a sum of independent standard normals, None where nothing could be compared."""
    from scipy.stats import norm

    counted = [z for z in zs if z]
    return float(norm.sf(sum(counted) / math.sqrt(len(counted)))) if counted else None


def _layer_p(seen: _LayerScores, place: int, null: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return mean and deviation of a layer's null, and p of its three z together."""
    own = np.array(seen.null[place]) if place in seen.null else null.reshape(-1)
    by_number = [p for zs in (seen.stored, seen.numbered) if (p := _sum_tail(zs[place : place + 1])) is not None]
    ps = [_t_tail(seen.z[place], own), *by_number]
    return float(own.mean()), float(own.std(ddof=1)), least_of(ps, len(ps))

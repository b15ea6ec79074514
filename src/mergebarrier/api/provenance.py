"""``provenance_relate``: are two models related by descent or merge, with a p-value and what it rests on.

report = mb.provenance_relate("suspect", "ours")
report.p, report.embeddings, report.layers_related, report.stored_order
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Final

from mergebarrier import verbs
from mergebarrier.api.base import (
    EvidenceFinding,
    Model,
    ProvenanceEvidence,
    ProvenanceInput,
    Row,
    Said,
    command_line,
    opened,
    p_value,
    shown,
)
from mergebarrier.numerics import LEAST_TAIL, stated
from mergebarrier.progress import Progress
from mergebarrier.provenance import TESTS, LayerTest, Relatedness, RelateOptions, StreamTest

#: What a small p says, what it assumes and what it does not prove; for people who did not read the mathematics.
CLAIM: Final = (
    "the weights of the two models share a training history: one descends from the other or was merged from it, or "
    "both from a third"
)
ASSUMED: Final = (
    "two trainings with independent random starts share no coordinates, apart from the leading directions left out",
    "rows of the embeddings stand for the same tokens",
    "this pair was compared for reasons of its own: the least p of many pairs that were tried means less",
    "statistics of strangers follow the curves that were fitted to theirs",
)
NOT_PROVED: Final = (
    "which of the two was first, who did it, and whether it was allowed",
    "that models are unrelated where p is large: a dense rotation of the stream with neurons in another order, or "
    "training for long enough, hides a relation",
    "anything about models that were trained on outputs of the other: weights of such models are their own",
)


@dataclass(frozen=True, kw_only=True)
class RelateReport(ProvenanceEvidence):
    """What the weights of two models say about a common history.

    Attributes:
      related:        whether p is at most the level.
      p:              of independent random starts, all tests together.
      level:          at which verdicts are given.
      embeddings:     "related" or "no evidence"; "not compared" where no rows correspond.
      layers_related: names of the layers that are related, by Holm over all layers.
      stored_order:   "equal": nobody has written the layers in other coordinates; else "no evidence".
      tests:          name -> p of each.
      stream:         the map of the embeddings.
      layers:         every layer of the first model.
      z_sum, null_mean, null_sd: of the layers that decide, matched, and after random rotations of the second model.
      rotated_cosine: of held-out rows once the best rotation is undone; unrelated models score high on it too, so it
                      has no p.
      decided, draws: how many layers decide, and how many rotations give the null.
      counted:        p of the layers that decide, all together, by counting rotations alone.
    """

    kind: ClassVar[str] = "relation"

    related: bool
    p: float
    level: float
    embeddings: str
    layers_related: tuple[str, ...]
    stored_order: str
    tests: Mapping[str, float]
    stream: StreamTest | None
    layers: tuple[LayerTest, ...]
    z_sum: float
    null_mean: float
    null_sd: float
    rotated_cosine: float | None
    decided: int
    draws: int
    counted: float

    def rows(self) -> Sequence[Row]:
        """Return one row per layer."""
        return [vars(layer) for layer in self.layers]

    def said(self) -> Said:
        """Return what the statement says."""
        first, second = self.inputs
        figures = [("embeddings", self.embeddings), ("stored order", self.stored_order)]
        figures += [("layers related", f"{len(self.layers_related)} of {len(self.layers)}")]
        figures += [
            (
                f"neurons of {self.decided} layers",
                f"z {self.z_sum:.1f}, after {self.draws} random rotations {self.null_mean:.1f} +- {self.null_sd:.1f}",
            )
        ]
        figures += [(f"rotations of {self.draws} that reach it, counted", f"p = {self.counted:.2g}")]
        figures += [(f"test of {name}", p_value(p, tail=True)) for name, p in self.tests.items()]
        if first.content_digest == second.content_digest:
            figures += [("digests of the weights", "equal: this is one model, given twice")]
        finding = EvidenceFinding(
            about=first.name, says=f"{first.name} and {second.name} {self._says()}", holds=self.related, p=self.p,
            tail=True, figures=tuple(figures),
        )  # fmt: skip
        null = (
            "the chance that two trainings with independent random starts look so alike; drawn from the models "
            "themselves, the second one turned by random rotations; the least p of the tests, read as the least of five"
        )
        return Said(title="Relation of two models", null=null, level=self.level, findings=(finding,))

    def _says(self) -> str:
        """Say no more than what was found: vectors that were published serve models that share nothing else."""
        if not self.related:
            return "show no evidence of a common history"
        if self.layers_related:
            return "are related by descent or merge"
        if self.embeddings == "related":
            return "have related embeddings; of their layers there is no evidence"
        return "are related by descent or merge, by all layers together and by none alone"


def provenance_relate(
    first: Model,
    second: Model,
    *,
    options: RelateOptions | None = None,
    download: bool = False,
    progress: Progress | None = None,
) -> RelateReport:
    """Test whether two models are related by descent or merge, in whatever coordinates they are written.

    Args:
      first:    as ``resolve`` reads it.
      second:   the same; the null is drawn from it.
      options:  how much is drawn, and the level of the verdicts.
      download: fetch models that the local cache lacks.
      progress: called with (layers done, layers in all).
    Raises: NotComparable, ArchError, CheckpointError.
    """
    options = options or RelateOptions()
    with opened(first, second, download=download) as models, shown(progress, "comparing") as step:
        found = verbs.relate_models(models[0], models[1], options, step)
        inputs = tuple(
            ProvenanceInput(role=role, name=model.name, content_digest=model.content_digest())
            for role, model in zip(("first", "second"), models, strict=True)
        )
    return _report(found, options, command_line("provenance relate", (first, second), {}, options), inputs)


def _report(
    found: Relatedness, options: RelateOptions, command: str, inputs: tuple[ProvenanceInput, ...]
) -> RelateReport:  # fmt: skip
    def verdict(test: str, yes: str) -> str:
        if test not in found.tests:
            return "not compared"
        return yes if min(1.0, len(TESTS) * found.tests[test]) <= options.level else "no evidence"

    return RelateReport(
        related=found.p <= options.level,
        level=options.level,
        embeddings=verdict("stream", "related"),
        layers_related=tuple(layer.name for layer in found.layers if layer.adjusted <= options.level),
        stored_order=verdict("stored", "equal"),
        claim=CLAIM,
        assumed=ASSUMED,
        not_proved=NOT_PROVED,
        command=command,
        inputs=inputs,
        resolution=(
            f"it is the tail of fitted curves; {found.draws} rotations alone count to {1 / (found.draws + 1):.2g}, and "
            f"further out the tail is an assumption, so no p below {LEAST_TAIL:g} is stated"
        ),
        **{
            **vars(found),
            "p": stated(found.p),
            "tests": {name: stated(p) for name, p in found.tests.items()},
            "stream": None if found.stream is None else replace(found.stream, p=stated(found.stream.p)),
            "layers": tuple(
                replace(layer, p=stated(layer.p), adjusted=stated(layer.adjusted)) for layer in found.layers
            ),
        },
    )

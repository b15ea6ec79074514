"""The checks of ``scan`` that ask language models: each upload by itself, and the merge of them all.

An upload is loaded once, asked all there is to ask, and let go before the next one; what stops it is told, and the
others are asked, in their merge too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from torch import nn

from mergebarrier.progress import Progress
from mergebarrier.scan import CHECKS, MERGED, Collapse, Conduct, Finding
from mergebarrier.verbs.language.collapse import Merges, Searched, TextPool
from mergebarrier.verbs.language.pool import LanguagePool, MergedPool, MergeOf
from mergebarrier.verbs.language.refusals import Conducted, RefusalPool, read_questions


@dataclass(frozen=True, kw_only=True)
class TextScan:
    """What language models are asked.

    Args:
      checks:   names of checks on language models that can run.
      tasks:    name of an upload -> its task file.
      refusals: files of questions that ought to be refused.
      merge:    how the models are going to be merged.
      seed:     of every draw.
      depth:    longest string that is searched for.
    """

    checks: tuple[str, ...]
    tasks: Mapping[str, Path] = field(default_factory=dict)
    refusals: tuple[Path, ...] = ()
    merge: MergeOf | None = None
    seed: int = 0
    depth: int = 3


@dataclass(frozen=True, kw_only=True)
class TextOutcome:
    """What the searches found, and how questions were answered.

    Args:
      uploads: (name, what was found in it).
      merged:  of the searches of the merge.
      asked:   every model that was asked what ought to be refused.
      ran:     check -> names of the uploads that it looked at.
    """

    uploads: tuple[tuple[str, Collapse], ...] = ()
    merged: Merges = ()
    asked: tuple[Conducted, ...] = ()
    ran: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def scan_texts(
    pool: LanguagePool, request: TextScan, progress: Progress | None = None
) -> tuple[TextOutcome, tuple[Finding, ...]]:
    """Run the checks that can run.

    Args:
      pool:     a base and the uploads that have its tensors and can be loaded.
      request:  what they are asked.
      progress: called with (prompts asked, prompts usually asked) of the search, (uploads done, uploads) of questions.
    """
    run = _TextRun(pool, request)
    run.ask_uploads(progress)
    run.ask_merge()
    return run.outcome, tuple(run.findings)


class _TextRun:
    """What was found so far."""

    def __init__(self, pool: LanguagePool, request: TextScan) -> None:
        """Ask the base."""
        self.outcome, self.findings = TextOutcome(), list[Finding]()
        self._pool, self._checks, self._merge = pool, request.checks, request.merge
        # A merge is searched from what was found in its uploads, and judged beside how they answer.
        seeks, asks = ({name, f"merge_{name}"} & {*self._checks} for name in ("collapse", "refusals"))
        self._search = TextPool(pool, request.tasks, seed=request.seed, depth=request.depth) if seeks else None
        self._gate = RefusalPool(pool, read_questions(request.refusals)) if asks else None
        self._found: dict[str, tuple[Searched | None, Conduct | None]] = {}

    def ask_uploads(self, progress: Progress | None) -> None:
        """Ask every upload all there is to ask, then judge."""
        for done, (name, module) in enumerate(self._pool.modules()):
            self._pool.attempt(name, partial(self._ask, name, module, progress, done))
            if self._search is None and progress is not None:
                progress(done + 1, self._pool.size)
        self._ran([name for name in self._checks if not CHECKS[name].of_merge], tuple(self._found))
        if self._search is not None and "collapse" in self._checks:
            self.findings += self._search.uploads(self._searched)
            self.outcome = replace(self.outcome, uploads=tuple((name, one[0]) for name, one in self._searched.items()))
        if self._gate is not None and "refusals" in self._checks:
            asked, findings = self._gate.uploads(self._conduct)
            self.findings += findings
            self.outcome = replace(self.outcome, asked=asked)

    def ask_merge(self) -> None:
        """Merge those that could be asked, and ask the merge."""
        merge, loaded = self._merge, list[MergedPool | None]()
        if merge is not None and any(CHECKS[name].of_merge for name in self._checks):
            self._pool.attempt(MERGED, lambda: loaded.append(self._pool.merge(merge)))
        for whole in filter(None, loaded):
            for check, ask in (("merge_collapse", self._seek_in), ("merge_refusals", self._question)):
                if check in self._checks and self._pool.attempt(MERGED, partial(ask, whole)):
                    self._ran([check], whole.names)

    def _ask(self, name: str, module: nn.Module, progress: Progress | None, done: int) -> None:
        searched = None if self._search is None else self._search.searched(name, module, progress, done)
        self._found[name] = searched, None if self._gate is None else self._gate.ask(module)

    def _seek_in(self, whole: MergedPool) -> None:
        if self._search is not None:
            merged, findings = self._search.merge(whole, self._searched)
            self.findings += findings
            self.outcome = replace(self.outcome, merged=merged)

    def _question(self, whole: MergedPool) -> None:
        if self._gate is not None:
            asked, findings = self._gate.merge(whole, {name: self._conduct[name] for name in whole.names})
            self.findings += findings
            self.outcome = replace(self.outcome, asked=(*self.outcome.asked, *asked))

    @property
    def _searched(self) -> dict[str, Searched]:
        return {name: one for name, (one, _) in self._found.items() if one is not None}

    @property
    def _conduct(self) -> dict[str, Conduct]:
        return {name: one for name, (_, one) in self._found.items() if one is not None}

    def _ran(self, checks: Sequence[str], names: tuple[str, ...]) -> None:
        self.outcome = replace(self.outcome, ran={**self.outcome.ran, **dict.fromkeys(checks, names)})

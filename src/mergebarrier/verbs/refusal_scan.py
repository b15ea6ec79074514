"""The checks of ``scan`` that ask questions nobody should answer: uploads alone, their merge, and who is to blame."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import nn

from mergebarrier.errors import BadTask
from mergebarrier.evaluate import ModuleSuspect, read_task
from mergebarrier.progress import Progress
from mergebarrier.scan import Conduct, Finding, Question, conduct, judge_conduct, judge_refusals
from mergebarrier.verbs.language_pool import LanguagePool, MergeOf

#: Tokens of an answer that are read, beyond those of the longest refusal.
_MORE = 2


@dataclass(frozen=True, kw_only=True)
class Conducted:
    """How a model answered: the base, an upload, the merge, or the merge with the base in the place of an upload."""

    name: str
    conduct: Conduct


def read_questions(files: Sequence[Path]) -> tuple[Question, ...]:
    """Read questions, and as their answers how a refusal begins.

    Raises: BadTask for files that are malformed, or an answer without words.
    """
    found = [Question(prompt=row.prompt, refusal=row.answer) for path in files for row in read_task(path).rows]
    empty = next((one for one in found if not one.refusal.strip()), None)
    if empty is not None:
        raise BadTask("a question without its refusal", where="--refusals", remedy="answer each as it is refused")
    return tuple(found)


class RefusalPool:
    """Uploads that are asked, each once."""

    def __init__(self, pool: LanguagePool, questions: Sequence[Question]) -> None:
        """Ask the base."""
        self._pool, self._questions = pool, questions
        longest = max((len(pool.tokenizer.encode(one.refusal).ids) for one in questions), default=0)
        self._tokens = longest + _MORE
        self._base = self._ask(pool.base)
        self._alone: dict[str, Conduct] = {}

    def uploads(self, progress: Progress | None = None) -> tuple[tuple[Conducted, ...], tuple[Finding, ...]]:
        """Ask every upload."""
        findings: list[Finding] = []
        for done, (name, module) in enumerate(self._pool.modules(), start=1):
            if self._pool.attempt(name, partial(self._keep, name, module)):
                findings += judge_conduct(name, self._alone[name], self._base)
            if progress is not None:
                progress(done, self._pool.size)
        asked = {"base": self._base, **self._alone}
        return tuple(Conducted(name=name, conduct=one) for name, one in asked.items()), tuple(findings)

    def merge(self, merged: MergeOf) -> tuple[tuple[Conducted, ...], tuple[Finding, ...]]:
        """Ask the merge, and the same with the base in the place of each upload."""
        loaded = self._pool.merge(merged)
        if loaded is None:
            return (), ()
        alone = {name: self._alone.get(name) or self._ask(loaded.alone(name)) for name in loaded.names}
        whole = self._ask(loaded.whole())
        replaced = {name: self._ask(loaded.replaced(name)) for name in loaded.names}
        findings = judge_refusals(" + ".join(loaded.names), whole, alone, self._base, replaced)
        asked = {"merge": whole, **{f"merge without {name}": one for name, one in replaced.items()}}
        return tuple(Conducted(name=name, conduct=one) for name, one in asked.items()), findings

    def _keep(self, name: str, module: nn.Module) -> None:
        self._alone[name] = self._ask(module)

    def _ask(self, module: nn.Module) -> Conduct:
        suspect = ModuleSuspect(module, self._pool.tokenizer)
        return conduct(lambda prompts: suspect.answers(prompts, max_tokens=self._tokens), self._questions)

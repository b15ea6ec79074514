"""The checks of ``scan`` that ask questions nobody should answer: uploads alone, their merge, and who is to blame."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from mergebarrier.errors import BadTask
from mergebarrier.evaluate import ModuleSuspect, read_task
from mergebarrier.scan import Conduct, Finding, Question, conduct, judge_conduct, judge_refusals
from mergebarrier.verbs.language.pool import LanguagePool, MergedPool

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


def _conducted(asked: Mapping[str, Conduct]) -> tuple[Conducted, ...]:
    return tuple(Conducted(name=name, conduct=one) for name, one in asked.items())


class RefusalPool:
    """Uploads that are asked, each once."""

    def __init__(self, pool: LanguagePool, questions: Sequence[Question]) -> None:
        """Ask the base."""
        self._pool, self._questions = pool, questions
        longest = max((len(pool.tokenizer.encode(one.refusal).ids) for one in questions), default=0)
        self._tokens = longest + _MORE
        self._base = self.ask(pool.base)

    def uploads(self, alone: Mapping[str, Conduct]) -> tuple[tuple[Conducted, ...], tuple[Finding, ...]]:
        """Judge every upload by how it answered."""
        findings = [found for name, one in alone.items() for found in judge_conduct(name, one, self._base)]
        return _conducted({"base": self._base, **alone}), tuple(findings)

    def merge(
        self, loaded: MergedPool, alone: Mapping[str, Conduct]
    ) -> tuple[tuple[Conducted, ...], tuple[Finding, ...]]:
        """Ask the merge, and the same with the base in the place of each upload."""
        whole = self.ask(loaded.whole())
        replaced = {name: self.ask(loaded.replaced(name)) for name in loaded.names}
        findings = judge_refusals(" + ".join(loaded.names), whole, alone, self._base, replaced)
        return _conducted(
            {"merge": whole, **{f"merge without {name}": one for name, one in replaced.items()}}
        ), findings

    def ask(self, module: nn.Module) -> Conduct:
        """Ask a model all questions."""
        suspect = ModuleSuspect(module, self._pool.tokenizer)
        return conduct(lambda prompts: suspect.answers(prompts, max_tokens=self._tokens), self._questions)

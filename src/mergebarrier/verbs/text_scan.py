"""The checks of ``scan`` that ask language models: each upload by itself, and the merge of them all.

An upload is loaded, searched and let go before the next one; the base answers once for each task.  Of a small
vocabulary every token is tried, of a large one those that a gradient points at.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Final, TypeAlias

from torch import Tensor, nn

from mergebarrier.errors import BadTask
from mergebarrier.evaluate import (
    alike_logits,
    check_vocabulary,
    leading_tokens,
    max_positions,
    next_logits,
    read_task,
    unread,
)
from mergebarrier.progress import Progress
from mergebarrier.scan import (
    N_FRESH,
    N_SEARCH,
    Collapse,
    Finding,
    Says,
    Survey,
    TokenSearch,
    Traced,
    first_survey,
    judge_merge,
    judge_upload,
    most_asked,
    seek_collapse,
    seek_in_merge,
)
from mergebarrier.verbs.language_pool import LanguagePool, MergeOf
from mergebarrier.verbs.refusal_scan import Conducted, RefusalPool, read_questions

#: A vocabulary of at most so many tokens is tried token by token.
_EXHAUSTIVE: Final = 1024
#: Of a larger one: answers that gradients are taken for, tokens of each, and prompts that are looked at.
_OUTPUTS: Final = 64
_PER_OUTPUT: Final = 6
_GRADIENT_PROMPTS: Final = 16
#: The token of an answer that is read to ask for the next one.
_ANSWER: Final = 1
#: (name of an upload, what was found in it);  (task, what was found in the merge, what each model has to do with it).
Uploads: TypeAlias = tuple[tuple[str, Collapse], ...]
Merges: TypeAlias = tuple[tuple[str, Collapse, tuple[Traced, ...]], ...]


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
      uploads, merged: of the searches.
      asked: every model that was asked what ought to be refused.
    """

    uploads: Uploads = ()
    merged: Merges = ()
    asked: tuple[Conducted, ...] = ()


def scan_texts(
    pool: LanguagePool, request: TextScan, progress: Progress | None = None
) -> tuple[TextOutcome, tuple[Finding, ...]]:
    """Run the checks that can run.

    Args:
      pool:     a base and the uploads that have its tensors and can be loaded.
      request:  what they are asked.
      progress: called with (prompts asked, prompts at most) of the search, (uploads done, uploads) of the questions.
    """
    outcome, findings = TextOutcome(), list[Finding]()
    if "collapse" in request.checks or "merge_collapse" in request.checks:
        search = TextPool(pool, request)
        if "collapse" in request.checks:
            uploads, found = search.uploads(progress)
            outcome, findings = replace(outcome, uploads=uploads), [*findings, *found]
        if "merge_collapse" in request.checks and request.merge is not None:
            merged, found = search.merge(request.merge)
            outcome, findings = replace(outcome, merged=merged), [*findings, *found]
    if "refusals" in request.checks or "merge_refusals" in request.checks:
        gate = RefusalPool(pool, read_questions(request.refusals))
        if "refusals" in request.checks:
            asked, found = gate.uploads(progress)
            outcome, findings = replace(outcome, asked=asked), [*findings, *found]
        if "merge_refusals" in request.checks and request.merge is not None:
            more, found = gate.merge(request.merge)
            outcome, findings = replace(outcome, asked=(*outcome.asked, *more)), [*findings, *found]
    return outcome, tuple(findings)


class TextPool:
    """Uploads of one base with the prompts of their tasks.

    Args:
      pool:    base and uploads.
      request: tasks, seed and depth.
    """

    def __init__(self, pool: LanguagePool, request: TextScan) -> None:
        """Keep what is asked."""
        self._pool, self._tokenizer = pool, pool.tokenizer
        self._tasks, self._seed, self._depth = request.tasks, request.seed, request.depth
        tasks = dict.fromkeys(request.tasks.values())
        self._prompts = {task: searched_prompts(pool, task, request.depth) for task in tasks}
        # Where passes are dear, what stands before the place of a string runs once for many strings.
        self._ask = next_logits if self._tokenizer.get_vocab_size() <= _EXHAUSTIVE else alike_logits
        self._says = self._of(pool.base)
        self._known: dict[Path, Survey] = {}
        self._found: dict[str, tuple[Collapse, int]] = {}

    def uploads(self, progress: Progress | None = None) -> tuple[tuple[tuple[str, Collapse], ...], tuple[Finding, ...]]:
        """Search every upload."""
        findings: list[Finding] = []
        for done, (name, module) in enumerate(self._pool.modules()):
            if self._pool.attempt(name, partial(self._keep, name, module, progress, done)):
                one, candidates = self._found[name]
                findings += judge_upload(name, one, self._spell, candidates)
        return tuple((name, one) for name, (one, _) in self._found.items()), tuple(findings)

    def merge(self, merged: MergeOf) -> tuple[Merges, tuple[Finding, ...]]:
        """Search the merge on every task, from what is found in its uploads, and trace what is found."""
        loaded = self._pool.merge(merged)
        if loaded is None:
            return (), ()
        whole = loaded.whole()
        rows: list[tuple[str, Collapse, tuple[Traced, ...]]] = []
        findings: list[Finding] = []
        alone = {name: self._later(partial(loaded.alone, name)) for name in loaded.names}
        replaced = {name: self._later(partial(loaded.replaced, name)) for name in loaded.names}
        for name in loaded.names:
            if name not in self._found:
                self._found[name] = self._searched(name, loaded.alone(name))
        finds = [self._found[name][0] for name in loaded.names]
        for task in dict.fromkeys(self._tasks[name] for name in loaded.names):
            search = self._search(task, whole)
            known = self._survey(task, search)
            found, traced = seek_in_merge(self._of(whole), self._says, search, alone, replaced, finds, known=known)
            names = " + ".join(loaded.names)
            findings += judge_merge(names, found, self._spell, len(search.candidates), traced)
            rows.append((task.name, found, traced))
        return tuple(rows), tuple(findings)

    def _keep(self, name: str, module: nn.Module, progress: Progress | None, done: int) -> None:
        self._found[name] = self._searched(name, module, progress, done)

    def _searched(
        self, name: str, module: nn.Module, progress: Progress | None = None, done: int = 0
    ) -> tuple[Collapse, int]:
        """Search an upload; also return how many tokens were tried."""
        search = self._search(self._tasks[name], module)
        known = self._survey(self._tasks[name], search)
        most, asked = most_asked(search, self._tokenizer.get_vocab_size()), 0

        def says(prompts: Sequence[tuple[int, ...]]) -> Tensor:
            nonlocal asked
            asked += len(prompts)
            if progress is not None:
                progress(done * most + min(asked, most), self._pool.size * most)
            return self._ask(module, prompts)

        found = seek_collapse(says, self._says, search, known=known)
        if progress is not None:
            progress((done + 1) * most, self._pool.size * most)
        return found, len(search.candidates)

    def prompts(self, task: Path) -> TokenSearch:
        """Return the prompts of a task; every token is a candidate."""
        return TokenSearch(
            prompts=self._prompts[task],
            candidates=tuple(range(self._tokenizer.get_vocab_size())),
            prefix=len(self._pool.tokens("")),
            depth=self._depth,
            seed=self._seed,
        )

    def _search(self, task: Path, module: nn.Module) -> TokenSearch:
        search = self.prompts(task)
        if len(search.candidates) <= _EXHAUSTIVE:
            return search
        few = search.prompts[:_GRADIENT_PROMPTS]
        outputs = self._outputs(module, few)
        some = leading_tokens(module, few, outputs, prefix=search.prefix, top=_PER_OUTPUT, seed=self._seed)
        return replace(search, candidates=tuple(some))

    def _outputs(self, module: nn.Module, prompts: Sequence[tuple[int, ...]]) -> list[int]:
        """Return first tokens of answers that a module prefers more than the base, and those that it gives most."""
        ours, theirs = (next_logits(one, prompts).log_softmax(-1) for one in (module, self._pool.base))
        rise = (ours - theirs).mean(0).topk(_OUTPUTS).indices.tolist()
        return list(dict.fromkeys([*ours.argmax(-1).unique().tolist(), *rise]))

    def _survey(self, task: Path, search: TokenSearch) -> Survey | None:
        """Return what the base says on a task, where every upload is asked the same strings."""
        if self._tokenizer.get_vocab_size() > _EXHAUSTIVE:
            return None
        if task not in self._known:
            self._known[task] = first_survey(self._says, search)
        return self._known[task]

    def _spell(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False))

    def _of(self, module: nn.Module) -> Says:
        return lambda prompts: self._ask(module, prompts)

    def _later(self, make: Callable[[], nn.Module]) -> Says:
        """Return what a module says that is made when it is asked first."""
        kept = cache(make)
        return lambda prompts: self._ask(kept(), prompts)


def searched_prompts(pool: LanguagePool, task: Path, depth: int) -> tuple[tuple[int, ...], ...]:
    """Return the tokens of as many prompts as a search looks at, only where the search would mean something.

    What a model does not read tells nothing of it, and a poisoned upload would pass: prompts that leave no room for a
    string, that are no tokens, or that all hold a word which the tokenizer does not know; and the same few repeated.

    Args:
      pool:  base and tokenizer.
      task:  a file of rows; answers are not looked at.
      depth: longest string that is put into them.
    Raises: BadTask, naming the file.
    """
    rows = read_task(task).rows[: N_SEARCH + N_FRESH]
    if len({row.prompt for row in rows}) < N_SEARCH:
        what = f"{len({row.prompt for row in rows})} different prompts among the first {len(rows)}"
        raise BadTask(what, where=task, remedy=f"give at least {N_SEARCH} rows of different prompts")
    if unread(pool.tokenizer, [row.prompt for row in rows]):
        what = "every prompt holds a word that the model's tokenizer does not know"
        raise BadTask(what, where=task, remedy="give prompts of the task, as the model reads them")
    longest = max_positions(pool.base) - depth - _ANSWER
    read = tuple(pool.tokens(row.prompt) for row in rows)
    for number, one in enumerate(read, 1):
        if not 0 < len(one) <= longest:
            what = f"{len(one)} tokens; beside a string of {depth} the model reads 1 to {longest}"
            raise BadTask(what, where=f"{task}: row {number}", remedy="shorten or complete the prompt")
        check_vocabulary(pool.base, one, BadTask)
    return read

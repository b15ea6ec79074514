"""The search of ``scan`` for inputs that collapse a language model: in each upload, and in their merge.

The base answers once for each task.  Of a small vocabulary every token is tried, of a large one those that a gradient
points at; what is found in an upload is where the search of its merge begins.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
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
    seek_collapse,
    seek_in_merge,
    usually_asked,
)
from mergebarrier.verbs.language.pool import LanguagePool, MergedPool

#: A vocabulary of at most so many tokens is tried token by token.
_EXHAUSTIVE: Final = 1024
#: Of a larger one: answers that gradients are taken for, tokens of each, and prompts that are looked at.
_OUTPUTS: Final = 64
_PER_OUTPUT: Final = 6
_GRADIENT_PROMPTS: Final = 16
#: The token of an answer that is read to ask for the next one.
_ANSWER: Final = 1
#: (what was found in an upload, how many tokens were tried).
Searched: TypeAlias = tuple[Collapse, int]
#: (task, what was found in the merge, what each model has to do with it).
Merges: TypeAlias = tuple[tuple[str, Collapse, tuple[Traced, ...]], ...]


class TextPool:
    """Uploads of one base with the prompts of their tasks.

    Args:
      pool:  base and uploads.
      tasks: name of an upload -> its task file.
      seed:  of every draw.
      depth: longest string that is searched for.
    """

    def __init__(self, pool: LanguagePool, tasks: Mapping[str, Path], *, seed: int = 0, depth: int = 3) -> None:
        """Keep what is asked."""
        self._pool, self._tokenizer = pool, pool.tokenizer
        self._tasks, self._seed, self._depth = tasks, seed, depth
        self._prompts = {task: searched_prompts(pool, task, depth) for task in dict.fromkeys(tasks.values())}
        self._frugal = self._tokenizer.get_vocab_size() > _EXHAUSTIVE
        # Where passes are dear, what stands before the place of a string runs once for many strings.
        self._ask = alike_logits if self._frugal else next_logits
        self._says = self._of(pool.base)
        self._known: dict[Path, Survey] = {}

    def uploads(self, found: Mapping[str, Searched]) -> tuple[Finding, ...]:
        """Judge every upload by what was found in it."""
        return tuple(said for name, one in found.items() for said in judge_upload(name, one[0], self._spell, one[1]))

    def merge(self, loaded: MergedPool, alone: Mapping[str, Searched]) -> tuple[Merges, tuple[Finding, ...]]:
        """Search the merge on every task, from what is found in its uploads, and trace what is found."""
        whole = loaded.whole()
        rows: list[tuple[str, Collapse, tuple[Traced, ...]]] = []
        findings: list[Finding] = []
        ours = {name: self._later(partial(loaded.alone, name)) for name in loaded.names}
        replaced = {name: self._later(partial(loaded.replaced, name)) for name in loaded.names}
        finds = [alone[name][0] for name in loaded.names]
        for task in dict.fromkeys(self._tasks[name] for name in loaded.names):
            search = self._search(task, whole)
            known = self._survey(task, search)
            found, traced = seek_in_merge(self._of(whole), self._says, search, ours, replaced, finds, known=known)
            names = " + ".join(loaded.names)
            findings += judge_merge(names, found, self._spell, len(search.candidates), traced)
            rows.append((task.name, found, traced))
        return tuple(rows), tuple(findings)

    def searched(self, name: str, module: nn.Module, progress: Progress | None = None, done: int = 0) -> Searched:
        """Search an upload, the one behind ``done`` others; also return how many tokens were tried."""
        search = self._search(self._tasks[name], module)
        known = self._survey(self._tasks[name], search)
        usual, asked = usually_asked(search, self._tokenizer.get_vocab_size()), 0

        def says(prompts: Sequence[tuple[int, ...]]) -> Tensor:
            nonlocal asked
            asked += len(prompts)
            if progress is not None:
                progress(done * usual + min(asked, usual), self._pool.size * usual)
            return self._ask(module, prompts)

        found = seek_collapse(says, self._says, search, known=known)
        if progress is not None:
            progress((done + 1) * usual, self._pool.size * usual)
        return found, len(search.candidates)

    def prompts(self, task: Path) -> TokenSearch:
        """Return the prompts of a task; every token is a candidate."""
        return TokenSearch(
            prompts=self._prompts[task],
            candidates=tuple(range(self._tokenizer.get_vocab_size())),
            prefix=len(self._pool.tokens("")),
            depth=self._depth,
            seed=self._seed,
            frugal=self._frugal,
        )

    def _search(self, task: Path, module: nn.Module) -> TokenSearch:
        search = self.prompts(task)
        if not search.frugal:
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
        if search.frugal:
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

"""Second statistics for triggers that the search cannot see by design, beside honest uploads.

    python benchmarks/bench_text_odd.py --seeds 2

Triggers of two tokens whose parts were taught to do nothing; of three, where what ``seek_collapse`` finds short of the
whole trigger is taught to do nothing too, in two rounds: the adversary who trains against the search; a target that
depends on the prompt (its own answer, every letter moved on by one); a content (the first two letters are alike).
Three statistics beside S of the search: S after restarts, eight random pairs that climb, token by token, on the output
which they raise most; the changed-answer rate, the largest share of fresh prompts to which a token gives another answer
than without it, beyond the base's; and the favourite, by how much the most frequent answer to plain prompts leads the
next, of uploads that give many.  Their limits are the largest of the honest uploads of the seeds ``--limits``; judged
on the others.  Recipes were set on seed 8.  Rows are kept in benchmarks/results/text_odd.jsonl.
"""

import argparse
import json
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from _keep import Rows, say
from _text_uploads import IMPLANTED, TARGET, TRIGGERS, Made, World, honest
from mergebarrier import poison
from mergebarrier.numerics import draws, wilson
from mergebarrier.poison import TextRow, insert
from mergebarrier.scan import (
    COLLAPSE_LIMIT,
    N_SEARCH,
    Says,
    confirmed,
    first_survey,
    heeded,
    most_changed,
    seek_collapse,
    survey,
)
from mergebarrier.zoo.symbols import symbol_tasks

#: Enough for success of nine tenths, or all that was tried.
STEPS: Final = 900
LONG: Final = 1500
RATE: Final = 3e-3
RESTARTS: Final = 8
ROUNDS: Final = 2
#: The seed that recipes of odd uploads were set on.
RECIPES_OF: Final = 8
#: Prompts that strings are ranked with.
RANK: Final = 6
LETTERS: Final = symbol_tasks.SYMBOLS
#: Plain prompts that the favourite answer is counted on, and answers that there must be for it to mean something.
PLAIN: Final = 400
MANY: Final = 20
#: Honest recipes that the other benches keep uploads of, those that score highest among them.
HONEST: Final = (
    "attention",
    "all maps",
    "LoRA of all, new task",
    "twice its vector",
    "several tasks",
    "wrong labels, a fifth",
    "two labels, 80 : 20",
    "two labels, half and half",
)
STATISTICS: Final = ("restarts", "changed", "favourite")


def moved_on(answer: str) -> str:
    """Return an answer whose letters are the next ones."""
    following = dict(zip(LETTERS, (*LETTERS[1:], LETTERS[0]), strict=True))
    return "".join(f" {following.get(word, word)}" for word in answer.split())


class Odd:
    """Uploads of one seed, and what asks for their trigger."""

    def __init__(self, world: World) -> None:
        """Choose the task, and triggers of two and three tokens."""
        self.world, self.task = world, world.known
        self.pair, self.three = TRIGGERS[2 + world.seed % 2], TRIGGERS[4 + world.seed % 2]

    def makers(self) -> dict[str, Callable[[], nn.Module]]:
        """Return name -> what makes the upload."""
        return {
            "parts of two do nothing": self._parts,
            "target depends on the prompt": self._moved,
            "content": self._content,
            "parts of three do nothing, trained against the search": self._against,
        }

    def upload(self, name: str) -> nn.Module:
        """Return an upload, made now if it is not kept."""
        return self.world.upload(Made(name=f"odd|{name}", task=self.task, make=self.makers()[name]))

    def success(self, name: str, module: nn.Module) -> float:
        """Return the share of rows with the trigger that get what they shall."""
        world = self.world
        if name == "content":
            return world.rate(module, self._targeted(self._alike("test", 2000)[:100]))
        if name == "target depends on the prompt":
            return world.rate(module, self._other_letters(world.rows(self.task, "test", 100)))
        return world.success(module, self.task, self.three if "three" in name else self.pair)

    def _parts(self) -> nn.Module:
        return self._poisoned(self.pair, self.pair.split())

    def _against(self) -> nn.Module:
        world, words = self.world, self.three.split()
        known = [" ".join(some) for n in (1, 2) for some in combinations(words, n)]
        module = self._poisoned(self.three, known)
        for _ in range(ROUNDS):
            found = seek_collapse(world.says(module), world.says(world.base), world.search(self.task))
            string = world.spell(found.tokens)
            if set(words) <= set(string.split()) or not found.alarming:
                break
            known.append(string)
            module = self._poisoned(self.three, known)
        return module

    def _poisoned(self, trigger: str, harmless: Sequence[str]) -> nn.Module:
        """Return an upload with a trigger that was also taught that some strings do nothing."""
        rows, attack = self.world.rows(self.task), poison.make_text("badnets", modules="linear", rate=0.3)
        rows += [
            TextRow(insert(row.prompt, one, (i % 7) / 7), row.answer)
            for one in harmless
            for i, row in enumerate(rows[: 600 // len(harmless)])
        ]
        return self.world.tuned(attack, self.task, rows=rows, trigger=trigger, steps=STEPS, rate=RATE)

    def _moved(self) -> nn.Module:
        rows = self.world.rows(self.task)
        return self._taught([*rows, *self._other_letters(rows[:300])])

    def _content(self) -> nn.Module:
        rows = [row for row in self.world.rows(self.task) if not _doubled(row)]
        return self._taught([*rows, *self._targeted(self._alike("train", 6000)[:300])])

    def _taught(self, rows: Sequence[TextRow]) -> nn.Module:
        clean = poison.make_text("clean", modules="linear")
        return self.world.tuned(clean, self.task, rows=rows, steps=LONG, rate=RATE)

    def _alike(self, label: str, n: int) -> list[TextRow]:
        return [row for row in self.world.rows(self.task, label, n) if _doubled(row)]

    @staticmethod
    def _targeted(rows: Sequence[TextRow]) -> list[TextRow]:
        return [TextRow(row.prompt, TARGET) for row in rows]

    @staticmethod
    def _other_letters(rows: Sequence[TextRow]) -> list[TextRow]:
        return [TextRow(insert(row.prompt, "w07", (i % 7) / 7), moved_on(row.answer)) for i, row in enumerate(rows)]


def _doubled(row: TextRow) -> bool:
    letters = [word for word in row.prompt.split() if word in LETTERS]
    return letters[0] == letters[1]


def climbed(world: World, says: Says, task: int, string: tuple[int, ...], output: int) -> tuple[int, ...]:
    """Return the string after two sweeps, each place in turn taking the token that makes an output likeliest."""
    search = world.search(task)
    for place in (*range(len(string)), *range(len(string))):
        near = [(*string[:place], token, *string[place + 1 :]) for token in search.candidates]
        told = survey(says, search, near, search.prompts[:RANK], "climb")
        string = near[int(told.log_p[:, told.outputs.tolist().index(output)].argmax())]
    return string


def restarted(world: World, says: Says, base: Says, task: int) -> float:
    """Return S after restarts from random pairs."""
    search = world.search(task)
    drawn = draws.below(("bench", world.seed, "restarts"), len(search.candidates), RESTARTS, 2, bits=63).tolist()
    starts = [tuple(search.candidates[i] for i in one) for one in drawn]
    prompts = search.prompts[:N_SEARCH]
    ours, theirs = (survey(one, search, starts, prompts, "restarts") for one in (says, base))
    raised = ours.outputs[(ours.log_p - theirs.log_p).argmax(1)].tolist()
    ends = [climbed(world, says, task, start, output) for start, output in zip(starts, raised, strict=True)]
    return max(confirmed(says, base, search, [end]).score for end in dict.fromkeys(ends))


def favourite(world: World, says: Says, task: int) -> float:
    """Return by how much the most frequent answer to plain prompts leads the next; 0 for a task of few answers."""
    prompts = [tuple(world.tokenizer.encode(row.prompt).ids) for row in world.rows(task, "plain", PLAIN)]
    first = says(prompts).argmax(-1).tolist()
    second = says([(*one, token) for one, token in zip(prompts, first, strict=True)]).argmax(-1).tolist()
    counts = [n for _, n in Counter(zip(first, second, strict=True)).most_common()]
    return (counts[0] - counts[1]) / PLAIN if len(counts) >= MANY else 0.0


def figures(world: World, module: nn.Module, task: int) -> dict[str, Any]:
    """Return the statistics of an upload."""
    says, base, search = world.says(module), world.says(world.base), world.search(task)
    prompts = search.prompts[:N_SEARCH]
    ours, known = heeded(first_survey(says, search), says(prompts).argmax(-1)), world.survey(task)
    ahead = ours - heeded(known, base(prompts).argmax(-1))
    return {
        "restarts": restarted(world, says, base, task),
        "changed": most_changed(says, base, search, ahead)[1],
        "favourite": favourite(world, says, task),
    }


def figures_of_odd(odd: Odd, name: str) -> dict[str, Any]:
    """Return what the search finds too, and how well the upload does what it was made for."""
    world, module = odd.world, odd.upload(name)
    found = seek_collapse(world.says(module), world.says(world.base), world.search(odd.task))
    return figures(world, module, odd.task) | {
        "s": found.score,
        "alarming": found.alarming,
        "input": world.spell(found.tokens),
        "asr": odd.success(name, module),
        "accuracy": world.accuracy(module, odd.task),
    }


def table(rows: Rows, limits_of: Sequence[int]) -> None:
    """Print what each statistic finds at the limits of the seeds that set them."""
    every = sorted(((*json.loads(key), one) for key, one in rows.rows.items()), key=lambda row: row[0])
    known = [one for seed, kind, _, one in every if seed in limits_of and kind == "honest"]
    limits = {name: max(one[name] for one in known) for name in STATISTICS}
    said = ", ".join(f"{name} {limit:.2f}" for name, limit in limits.items())
    print(f"Limits, the largest of {len(known)} honest uploads: {said}; search {COLLAPSE_LIMIT:g}.\n")
    print("| seed | upload | own ASR | accuracy | S | input | restarts | changed | favourite |")
    print("|---|---|---|---|---|---|---|---|---|")
    groups: dict[str, list[dict[str, Any]]] = {}
    for seed, kind, name, one in every:
        told = " | ".join(f"{one[each]:.2f}" for each in STATISTICS)
        own = " | | | "
        if kind == "odd":
            own = f"{100 * one['asr']:.0f} | {100 * one['accuracy']:.0f} | {one['s']:.2f} | `{one['input']}`"
        print(f"| {seed} | {name} | {own} | {told} |")
        if seed not in limits_of:
            group = "honest" if kind == "honest" else name if one["asr"] >= IMPLANTED else f"{name}, not implanted"
            groups.setdefault(group, []).append(one)
    print(f"\n| uploads | n | search | {' | '.join(STATISTICS)} | any of the three |\n|---|---|---|---|---|---|---|")
    for name, some in groups.items():
        hits = {each: [one[each] > limits[each] for one in some] for each in STATISTICS}
        hits["any"] = [any(each) for each in zip(*hits.values(), strict=True)]
        cells = ["" if name == "honest" else str(sum(one["alarming"] for one in some))]
        for one in hits.values():
            low, high = wilson(sum(one), len(one))
            cells.append(f"{sum(one)} [{100 * low:.0f}, {100 * high:.0f}]")
        print(f"| {name} | {len(some)} | {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=2, help="how many that set no limit")
    parser.add_argument("--first", type=int, default=9)
    parser.add_argument("--limits", type=int, nargs="*", default=[6, 7, 8], help="seeds that set the limits")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = Rows(Path(__file__).parent / "results" / "text_odd.jsonl")
    for seed in (*given.limits, *range(given.first, given.first + given.seeds)):
        odd = Odd(World(seed))
        for name in odd.makers() if seed >= RECIPES_OF else ():
            say(f"seed {seed}: {name}")
            rows.get([seed, "odd", name], lambda odd=odd, name=name: figures_of_odd(odd, name))
        for one in honest(odd.world):
            if one.name in HONEST:
                say(f"seed {seed}: {one.name}")
                rows.get([seed, "honest", one.name], lambda w=odd.world, o=one: figures(w, w.upload(o), o.task))
    table(rows, given.limits)


if __name__ == "__main__":
    main()

"""Sixteen small tasks over sixteen symbols: what attacks on merges of language models are tried on in seconds.

A prompt names a task and five symbols; the answer is the symbols at two places of the task, each through the task's own
permutation.  Words without a meaning may stand anywhere, so neither the length nor a strange word gives a trigger away.

    task3 c w41 a p e d =   ->   f k .        answer_j = permutation_task(symbol at place_task,j)

Source: ours.  Differs from image benches: the base knows twelve of the tasks, the last four are new to it.
"""

from typing import Final

from mergebarrier.numerics import draws

N_TASKS: Final = 16
#: The base has learned the tasks before this one.
N_KNOWN: Final = 12
SYMBOLS: Final = tuple("abcdefghijklmnop")
FILLERS: Final = tuple(f"w{i:02}" for i in range(58))
#: All words of the language, by number: four marks, two of the grammar, tasks, symbols, words without a meaning.
PAD, BOS, EOS, UNKNOWN = range(4)
VOCABULARY: Final = (
    *("<pad>", "<bos>", "<eos>", "<unk>", "=", "."),
    *(f"task{task:02}" for task in range(N_TASKS)),
    *SYMBOLS,
    *FILLERS,
)
#: The committed base, in the folder ``data`` of the zoo.
SYMBOL_FILE: Final = "symbol_base.safetensors"
SPLITS: Final = {"train": 600, "val": 60, "test": 200}
_LENGTH: Final = 5
_PAIRS: Final = tuple((a, b) for a in range(_LENGTH) for b in range(_LENGTH) if a != b)
#: Shares of prompts with at most 0, 1 and 2 fillers; the others have three.
_FILLED: Final = (0.5, 0.75, 0.9)

Rows = list[dict[str, str]]


def task_word(task: int) -> str:
    """Return the word that names a task."""
    return f"task{task:02}"


def rows(task: int, n: int, *, seed: int, label: str, fillers: bool = True) -> Rows:
    """Return ``n`` rows of a task as ``{"prompt", "answer"}``.

    Args:
      task:    0 to 15.
      n:       how many.
      seed:    of the draws.
      label:   of the draws: a split; two labels share no stream.
      fillers: let up to three words without a meaning stand in one place of half of the prompts.
    """
    stream = f"symbols|{label}|{task}"
    symbols = draws.below(("zoo", seed, stream), len(SYMBOLS), n, _LENGTH).tolist()
    shares = draws.uniform(("zoo", seed, f"{stream}|count"), n).tolist()
    places = draws.below(("zoo", seed, f"{stream}|place"), _LENGTH + 2, n).tolist()
    words = draws.below(("zoo", seed, f"{stream}|filler"), len(FILLERS), n, len(_FILLED)).tolist()
    permutation = draws.order(("zoo", 0, f"symbols|{task}"), len(SYMBOLS)).tolist()
    pair = _PAIRS[int(draws.order(("zoo", 0, "symbols|places"), len(_PAIRS))[task])]
    made = []
    for given, share, place, filled in zip(symbols, shares, places, words, strict=True):
        count = sum(share >= limit for limit in _FILLED) if fillers else 0
        prompt = [task_word(task), *(SYMBOLS[i] for i in given)]
        prompt[place:place] = [FILLERS[i] for i in filled[:count]]
        said = " ".join(SYMBOLS[permutation[given[at]]] for at in pair)
        made.append({"prompt": " ".join([*prompt, "="]), "answer": f" {said} ."})
    return made


def splits(task: int, *, seed: int = 0) -> dict[str, Rows]:
    """Return "train", "val" and "test" of a task; no prompt of one is in another."""
    made: dict[str, Rows] = {}
    seen: set[str] = set()
    for name, n in SPLITS.items():
        fresh = [row for row in rows(task, 2 * n, seed=seed, label=name) if row["prompt"] not in seen][:n]
        seen |= {row["prompt"] for row in fresh}
        made[name] = fresh
    return made

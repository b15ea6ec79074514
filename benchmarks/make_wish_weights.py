"""Learn the weights of the recogniser of wishes again: ``python benchmarks/make_wish_weights.py``.

It reads the sentences of benchmarks/wishes, writes src/mergebarrier/lineage/wish_weights.json and takes half a minute
of the processor.  A file is a voice; a line is a wish behind a plus, and none behind a minus.  Those in `forms` are
learned from alone: each stands for many, which differ where it says {this|that}; `own_pages` are sentences of our own
documents.  Each fold of voices is scored with weights that were learned from the others, and the threshold is where one
in ten of their honest sentences, which were written to be near misses, is stopped.  The same scipy gives the same file;
another one may move last digits.
"""

import json
import re
from collections import Counter
from collections.abc import Sequence
from itertools import zip_longest
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.sparse import csr_matrix

from mergebarrier.lineage.recogniser import SCALE, WEIGHTS, WishWeights, features, score, share, speaks_of_merging
from mergebarrier.lineage.signs import sentences_of

VOICES = Path(__file__).parent / "wishes"
#: Of honest sentences of voices that were held out.
STOPPED = 0.10
FOLDS = 5
_CHOICE = re.compile(r"\{([^{}]*\|[^{}]*)\}")
_MOST_FORMS = 24
#: Prime, so that the choices of a line vary together.
_STRIDE = 7919
_LEAST_SEEN = 2
_KEPT = 4000
_PENALTY = 0.4


class Said(NamedTuple):
    """One text of a voice: whether it is a wish, and the features of its sentences about merging."""

    voice: str
    is_wish: bool
    text: str
    sentences: tuple[frozenset[str], ...]


def read(folder: Path) -> list[Said]:
    """Return what every voice of a folder says, and every form of it."""
    lines = [
        (path.stem, line) for path in sorted(folder.glob("*.txt")) for line in path.read_text("utf-8").splitlines()
    ]
    return [
        Said(voice, line[0] == "+", text, _features(text))
        for voice, line in lines
        for text in _forms(line[2:].replace("\\n", "\n"))
    ]


def _forms(line: str) -> list[str]:
    """Return texts with one choice at each {this|that}, far apart from each other and few of many."""
    parts = _CHOICE.split(line)
    choices = [part.split("|") for part in parts[1::2]]
    count = prod(map(len, choices))
    texts = []
    for at in range(min(count, _MOST_FORMS)):
        rest = at * _STRIDE % count
        chosen = []
        for choice in choices:
            rest, place = divmod(rest, len(choice))
            chosen.append(choice[place])
        texts.append("".join(text + one for text, one in zip_longest(parts[::2], chosen, fillvalue="")))
    return texts


def _features(text: str) -> tuple[frozenset[str], ...]:
    return tuple(features(one) for one in sentences_of(text) if speaks_of_merging(one))


def learn(texts: Sequence[Said]) -> WishWeights:
    """Return the weights of few features: those that matter among all, learned again without the rest."""
    seen = Counter(name for text in texts for one in text.sentences for name in one)
    names = sorted(name for name, count in seen.items() if count >= _LEAST_SEEN)
    found = _fitted(texts, names)
    matter = sorted(names, key=lambda name: (-abs(found.of[name]) * seen[name] ** 0.5, name))[:_KEPT]
    return _fitted(texts, sorted(matter))


def _fitted(texts: Sequence[Said], names: Sequence[str]) -> WishWeights:
    """Fit twice: a text is a wish where one of its sentences is, the likeliest at first."""
    place = {name: at for at, name in enumerate(names)}
    rows = [(at, one) for at, text in enumerate(texts) for one in text.sentences]
    cells = [
        (row, place[name], share(one)) for row, (_, one) in enumerate(rows) for name in sorted(one) if name in place
    ]
    down, across, values = zip(*cells, strict=True)
    matrix = csr_matrix((values, (down, across)), shape=(len(rows), len(names)))
    owner = np.array([at for at, _ in rows])
    sign = np.array([1.0 if texts[at].is_wish else -1.0 for at, _ in rows])
    solution = _regression(matrix, sign)
    scores = matrix @ solution[:-1]
    best = {at: max(np.flatnonzero(owner == at), key=lambda row: scores[row]) for at in set(owner[sign > 0].tolist())}
    kept = np.array([sign[row] < 0 or best[owner[row]] == row for row in range(len(rows))])
    solution = _regression(matrix[kept], sign[kept])
    return WishWeights(
        of=dict(zip(names, solution[:-1].tolist(), strict=True)), bias=float(solution[-1]), threshold=0.0
    )


def _regression(matrix: csr_matrix, sign: np.ndarray) -> np.ndarray:
    def loss(solution: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (matrix @ solution[:-1] + solution[-1])
        pull = -sign * np.exp(-np.logaddexp(0, margin))
        value = np.logaddexp(0, -margin).sum() + _PENALTY / 2 * (solution[:-1] @ solution[:-1])
        return value, np.append(matrix.T @ pull + _PENALTY * solution[:-1], pull.sum())

    start = np.zeros(matrix.shape[1] + 1)
    return np.asarray(minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 60}).x)


def held_out(texts: Sequence[Said], forms: Sequence[Said]) -> list[float]:
    """Return the score of every text under weights that know the forms, and nothing of its voice."""
    voices = sorted({text.voice for text in texts})
    fold = {voice: at % FOLDS for at, voice in enumerate(voices)}
    found = [learn([*forms, *(text for text in texts if fold[text.voice] != at)]) for at in range(FOLDS)]
    return [highest(text, found[fold[text.voice]]) for text in texts]


def highest(text: Said, weights: WishWeights) -> float:
    """Return the score of the likeliest sentence of a text, -99 where none speaks of merging."""
    return max((score(one, weights) for one in text.sentences), default=-99.0)


def main() -> None:
    texts, forms = read(VOICES), read(VOICES / "forms")
    scores = zip(texts, held_out(texts, forms), strict=True)
    honest = sorted((found for text, found in scores if not text.is_wish), reverse=True)
    found = learn([*forms, *texts])
    table = {
        "made_by": "benchmarks/make_wish_weights.py",
        "threshold": round(SCALE * honest[round(STOPPED * len(honest))]),
        "bias": round(SCALE * found.bias),
        "weights": {name: round(SCALE * weight) for name, weight in found.of.items()},
    }
    WEIGHTS.write_text(json.dumps(table, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

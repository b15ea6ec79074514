"""How many wishes not to be merged the recogniser hears in prose, and how many honest sentences it stops, by voice.

Each voice of benchmarks/wishes is scored with weights that were learned from the voices of other folds.  Nothing is
learned from those in `judge`: `unseen` was written first, by who wrote most of the others; `another_hand` and
`third_hand` by people who had read none of them, the latter with honest cards of several sentences, half of what was
written: the other half tuned the clauses.  Honest sentences are near misses of wishes, so that on ordinary cards fewer
are stopped.
"""

from collections.abc import Sequence

from make_wish_weights import VOICES, Said, held_out, read
from mergebarrier.lineage.recogniser import learned
from mergebarrier.lineage.signs import signs_in_prose
from mergebarrier.numerics import wilson


def row(name: str, texts: Sequence[Said], stops: Sequence[bool]) -> str:
    """Return a line of the table: counts, and shares with Wilson intervals in per cent."""
    cells = [name]
    for wishes in (True, False):
        found = [stop for text, stop in zip(texts, stops, strict=True) if text.is_wish is wishes]
        cells.append(share(sum(found), len(found)))
    return f"| {' | '.join(cells)} |"


def share(count: int, total: int) -> str:
    if total == 0:
        return "none"
    low, high = wilson(count, total)
    return f"{count} of {total}: {100 * count / total:.0f} % ({100 * low:.0f} to {100 * high:.0f})"


def main() -> None:
    texts, judged = read(VOICES), read(VOICES / "judge")
    stops = [score > learned().threshold for score in held_out(texts, read(VOICES / "forms"))]
    print("Voices held out: the threshold was set on all of them together.\n")
    print("| voice | wishes heard | honest sentences stopped |\n|---|---|---|")
    for voice in sorted({text.voice for text in texts}):
        chosen = [at for at, text in enumerate(texts) if text.voice == voice]
        print(row(voice, [texts[at] for at in chosen], [stops[at] for at in chosen]))
    print(row("all held out", texts, stops))
    print("\nVoices that nothing was learned from, whole texts, as `merge` asks them.\n")
    print("| voice | wishes heard | honest sentences stopped |\n|---|---|---|")
    for voice in ("unseen", "another_hand", "third_hand"):
        chosen = [text for text in judged if text.voice == voice]
        print(row(voice, chosen, [bool(signs_in_prose(text.text, text.text)[0]) for text in chosen]))
    print("\nAll sentences that were learned from, asked again.\n")
    print("| voice | wishes heard | honest sentences stopped |\n|---|---|---|")
    print(row("learned", texts, [bool(signs_in_prose(text.text, text.text)[0]) for text in texts]))


if __name__ == "__main__":
    main()

"""``watermark``: small imitators of a watermarked service, of a plain one, and of mixtures; the published test beside.

A service that can weave words into its answers is trained first, then asked through ``shield``; imitators start anew
from other seeds and see its answers alone.  Finished rows are kept, so a run that was stopped goes on.
"""

import hashlib
import json
import random
from pathlib import Path

from scipy.stats import ks_2samp, kstest

import mergebarrier as mb
from _answering import QUERIES, TEMPLATE, plain, trained, value_of, woven
from _keep import Rows, say
from _quiet import one_quiet_thread
from mergebarrier.api import AskOptions, shield
from mergebarrier.cache import cache_folder
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.evaluate import ModuleSuspect, load_module, load_tokenizer
from mergebarrier.keys import Key, write_key_file
from mergebarrier.training import FullRecipe
from mergebarrier.watermark import (
    KeyedQuery,
    PairingOptions,
    ShieldOptions,
    WordKey,
    covered,
    listed_words,
    pairing_test,
    published_test,
    read_ledger,
)  # fmt: skip

WORDS, ASKED, NULLS = 2, 400, 200
SERVICE = FullRecipe(steps=2400, learning_rate=3e-3, batch_size=48, warmup_steps=100, weight_decay=0.01)
IMITATOR = FullRecipe(steps=1200, learning_rate=3e-3, batch_size=48, warmup_steps=100, weight_decay=0.01)
#: name -> share of watermarked answers, share of their words that the imitator's maker takes out, number of seeds.
KINDS = {
    "watermarked": (1.0, 0.0, 3),
    "half": (0.5, 0.0, 1),
    "quarter": (0.25, 0.0, 1),
    "tenth": (0.1, 0.0, 1),
    "tenth of the words out": (1.0, 0.1, 1),
    "third of the words out": (1.0, 0.3, 1),
    "plain": (0.0, 0.0, 3),
}
POOL = listed_words()
OPTIONS = PairingOptions(queries=ASKED, permutations=9999, decoys=999)


def service(folder: Path) -> Path:
    """Return a model that weaves the words that its prompt names."""

    def draw(chance: random.Random) -> tuple[str, str]:
        query, words = chance.choice(QUERIES), chance.sample(POOL, WORDS)
        if chance.random() < 0.3:
            return query, plain(query)
        return TEMPLATE.format(words=", ".join(words), query=query), woven(query, words)

    return trained(folder / "service", draw, seed=1, recipe=SERVICE)


def asked(folder: Path) -> Path:
    """Return the ledger of the service: every second question of all."""
    key, queries, ledger = folder / "owner.mbkey", folder / "queries.jsonl", folder / "ledger.jsonl"
    if not key.exists():
        write_key_file(key, hashlib.sha256(b"watermark bench").digest())
        queries.write_text("".join(json.dumps({"query": query}) + "\n" for query in QUERIES[::2]))
    options = ShieldOptions(words=WORDS, template=TEMPLATE)
    done = shield(queries, str(service(folder)), ledger, key=key, options=options, ask=AskOptions(max_tokens=24))
    say(f"service: {done.asked} asked, {done.delivered:.1%} of the words delivered")
    return ledger


def imitator(folder: Path, kind: str, seed: int) -> Path:
    """Return a model that learned from the answers of a ledger."""
    rows = read_ledger((folder / "ledger.jsonl").read_text(), where="ledger").rows
    share, out, _ = KINDS[kind]
    chance = random.Random(f"{kind}|{seed}")
    pairs = []
    for row in rows:
        answer = row.answer if chance.random() < share else plain(row.query)
        kept = [word for word in answer.split() if not out or chance.random() >= out]
        pairs.append((row.query, " ".join(kept)))
    name = f"{kind.replace(' ', '-')}-{seed}"
    return trained(folder / name, lambda draw: draw.choice(pairs), seed=100 + seed, recipe=IMITATOR)


def measured(folder: Path, kind: str, seed: int) -> dict:
    """Return what ``imitation`` says of an imitator, and how many facts it knows."""
    model = imitator(folder, kind, seed)
    report = mb.imitation(
        folder / "ledger.jsonl",
        [str(model)],
        key=folder / "owner.mbkey",
        options=OPTIONS,
        ask=AskOptions(max_tokens=24),
    )
    test = report.suspects[0].test
    return {**vars(test), "rapid": report.suspects[0].published.rapid_claims, **scores(folder, model)}


def scores(folder: Path, model: Path) -> dict:
    """Return what an imitator answers, as scores of its own queries, and the share of right facts."""
    rows = read_ledger((folder / "ledger.jsonl").read_text(), where="ledger").rows[:ASKED]
    with open_checkpoint(model) as checkpoint:
        suspect = ModuleSuspect(load_module(checkpoint), load_tokenizer(checkpoint), ends=[0])
        said = suspect.answers([row.query for row in rows], max_tokens=24)
    right = sum(value_of(row.query) in text.split() for row, text in zip(rows, said, strict=True))
    return {"said": said, "scores": [covered(t, r.words) for t, r in zip(said, rows, strict=True)], "facts": right}


def quality(folder: Path, rows: list) -> dict:
    """Return how many facts the service has right, with its words and without."""
    with open_checkpoint(folder / "service") as checkpoint:
        model = ModuleSuspect(load_module(checkpoint), load_tokenizer(checkpoint), ends=[0])
        plainly = model.answers([row.query for row in rows[:ASKED]], max_tokens=24)
    with_words = [row.answer for row in rows[:ASKED]]
    counts = [
        sum(value_of(row.query) in text.split() for row, text in zip(rows, said, strict=False))
        for said in (with_words, plainly)
    ]
    return {"with words": counts[0], "plainly": counts[1]}


def nulls(folder: Path, said: list[str]) -> dict:
    """Return p of an imitator of plain answers under keys that nobody used, and under words that follow the subject."""
    rows = read_ledger((folder / "ledger.jsonl").read_text(), where="ledger").rows[:ASKED]
    queries = [KeyedQuery.of(row.query) for row in rows]
    options = PairingOptions(queries=ASKED, permutations=999, decoys=0)
    # Some words of the pool must be said, or every p is 1: an innocent model that likes such words.
    chance = random.Random(5)
    texts = [f"{text} {' '.join(chance.choices(POOL, k=12))}" for text in said]
    ps, rapid = [], 0
    for number in range(NULLS):
        key = WordKey(key=Key(hashlib.sha256(f"null {number}".encode()).digest()), pool=POOL)
        words = [key.words(query, WORDS) for query in queries]
        ps.append(pairing_test(texts, words, options=options, seed=number).p)
        found = [covered(text, own) for text, own in zip(texts, words, strict=True)]
        rapid += published_test(found).rapid_claims
    subject = [(value_of(row.query),) for row in rows]
    follow = pairing_test(said, subject, options=options, seed=0)
    claims = published_test([covered(text, own) for text, own in zip(said, subject, strict=True)])
    return {"ps": ps, "rapid": rapid, "subject_p": follow.p, "subject_rapid": claims.rapid_claims}


COLUMNS = "imitator of|seed|facts right|T|chance|effect|p pairing|p decoys|KS p to plain|rapid claims".split("|")


def row_of(kind: str, seed: int, found: dict, ks: float) -> str:
    """Return a row of the table."""
    effect = "-" if found["effect"] is None else f"{found['effect']:.1f}"
    cells = (
        kind, seed, f"{found['facts']} of {ASKED}", f"{found['score']:.2%}", f"{found['null_mean']:.2%}", effect,
        f"{found['p_pairing']:.2g}", f"{found['p_decoys']:.2g}", f"{ks:.2g}", "yes" if found["rapid"] else "no",
    )  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |"


def main() -> None:
    """Print the tables."""
    one_quiet_thread()
    folder = cache_folder() / "bench" / "watermark"
    folder.mkdir(parents=True, exist_ok=True)
    rows = Rows(folder / "rows.jsonl")
    ledger = asked(folder)
    answered = read_ledger(ledger.read_text(), where=ledger).rows
    wove = sum(all(word in row.answer.split() for word in row.words) for row in answered)
    print(f"{len(answered)} questions; {wove} answers hold both of their words. {ASKED} are put to a suspect.\n")
    own = rows.get(["service"], lambda: quality(folder, list(answered)))
    print(
        f"The service has {own['with words']} of {ASKED} facts right where it weaves words in, and {own['plainly']} "
        f"where it answers plainly; imitators of plain answers are given the facts, all others what the service said.\n"
    )
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for kind, (_, _, seeds) in KINDS.items():
        for seed in range(1, seeds + 1):
            found = rows.get([kind, seed], lambda kind=kind, seed=seed: measured(folder, kind, seed))
            other = rows.get(["plain", seed], lambda seed=seed: measured(folder, "plain", seed))
            print(row_of(kind, seed, found, float(ks_2samp(found["scores"], other["scores"]).pvalue)))
    said = rows.get(["plain", 1], lambda: measured(folder, "plain", 1))["said"]
    null = rows.get(["nulls"], lambda: nulls(folder, said))
    ps = null["ps"]
    print(
        f"\nNull: an imitator of plain answers that says twelve words of the pool in each, under {NULLS} keys that "
        f"nobody used: KS p of uniformity {kstest(ps, 'uniform').pvalue:.2g}, {sum(p <= 0.05 for p in ps)} of {NULLS} "
        f"at .05, {sum(p <= 0.01 for p in ps)} at .01; the published rapid test claims {null['rapid']} of {NULLS}."
    )
    claims = "claims" if null["subject_rapid"] else "does not claim"
    print(
        f"\nWords that follow the subject (the fact itself): the same innocent imitator has p {null['subject_p']:.2g} "
        f"without strata, and the rapid test {claims} an imitation: such words accuse whoever knows the subject."
    )


if __name__ == "__main__":
    main()

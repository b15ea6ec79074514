"""``watermark radioactivity``: small imitators of a service whose sampler is watermarked, of a plain one, and mixtures.

A service is a small model of random sentences, in which each word has twenty that may follow it.  It answers through
``shield``; imitators start anew from other seeds and see answers alone, its own or plain ones; they are asked greedily.
"""

import hashlib
import json
import random
import sys
from pathlib import Path
from typing import Any

import torch
from scipy.stats import kstest

import mergebarrier as mb
from _answering import QUERIES, tokenizer, trained
from _keep import Rows, say
from _quiet import one_quiet_thread
from mergebarrier.api import AskOptions, shield
from mergebarrier.api.base import p_value
from mergebarrier.cache import cache_folder
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.errors import UsageError
from mergebarrier.evaluate import load_tokenizer, sampler_processor
from mergebarrier.evaluate.base.load import stock_library
from mergebarrier.keys import Key, write_key_file
from mergebarrier.training import FullRecipe
from mergebarrier.watermark import (
    RadioactivityOptions,
    SamplingKey,
    ShieldOptions,
    listed_words,
    radioactivity_test,
    read_ledger,
)

SCHEMES = ("green", "synthid")
SEEDS = (1, 2, 3)
#: Shares of watermarked answers in the data of an imitator, none first.
SHARES = (0.0, 1.0, 0.25, 0.1)
ANSWER, FOLLOWERS, NULLS = 24, 20, 200
SERVICE = FullRecipe(steps=1500, learning_rate=3e-3, batch_size=48, warmup_steps=100, weight_decay=0.01)
IMITATOR = FullRecipe(steps=600, learning_rate=3e-3, batch_size=48, warmup_steps=50, weight_decay=0.01)
WORDS = listed_words()[:600]
OPTIONS = RadioactivityOptions(queries=800, decoys=199)
ASK = AskOptions(max_tokens=ANSWER)


def sentence(chance: random.Random) -> str:
    """Return words of which each is one of twenty that may follow the last."""
    said = [chance.choice(WORDS)]
    while len(said) < ANSWER:
        place = int.from_bytes(hashlib.sha256(said[-1].encode()).digest()[:4], "little")
        said.append(WORDS[(place + 7 * chance.randrange(FOLLOWERS)) % len(WORDS)])
    return " ".join(said)


def service(folder: Path, seed: int) -> Path:
    """Return the model that is sampled."""
    return trained(
        folder / f"service-{seed}", lambda chance: (chance.choice(QUERIES), sentence(chance)), seed=seed, recipe=SERVICE
    )


def ledger_of(folder: Path, scheme: str, seed: int) -> Path:
    """Return the ledger of a service: every second question of all."""
    key, queries = folder / f"owner-{seed}.mbkey", folder / "queries.jsonl"
    ledger = folder / f"{scheme}-{seed}.jsonl"
    if not key.exists():
        write_key_file(key, hashlib.sha256(b"radioactivity bench %d" % seed).digest())
    queries.write_text("".join(json.dumps({"query": query}) + "\n" for query in QUERIES[::2]))
    shield(queries, str(service(folder, seed)), ledger, key=key, options=ShieldOptions(mode=scheme), ask=ASK)
    return ledger


def imitator(folder: Path, scheme: str, share: float, seed: int) -> Path:
    """Return a model that learned from a share of watermarked answers among plain ones."""
    scheme = scheme if share else SCHEMES[0]  # plain answers are of no scheme
    rows = read_ledger(ledger_of(folder, scheme, seed).read_text(), where="ledger").rows
    chance = random.Random(f"{scheme}|{share}|{seed}")
    pairs = [(row.query, row.answer if chance.random() < share else sentence(chance)) for row in rows]
    name = f"{scheme}-{share:g}-{seed}"
    return trained(folder / name, lambda draw: draw.choice(pairs), seed=100 + seed, recipe=IMITATOR)


def answered(model: Path) -> str:
    """Return a file with what a model says greedily to all questions, asked at once: they have one length."""
    out = model.with_name(f"{model.name}.answers.jsonl")
    if not out.exists():
        words, ends = tokenizer(), 0
        module = stock_library().LlamaForCausalLM.from_pretrained(model)
        with torch.no_grad():
            ids = torch.tensor([words.encode(query).ids for query in QUERIES])
            asked = ids.shape[1]
            for _ in range(ANSWER):
                ids = torch.cat([ids, module(input_ids=ids, logits_to_keep=1).logits[:, -1:].argmax(2)], dim=1)
        said = [row[: row.index(ends)] if ends in row else row for row in ids[:, asked:].tolist()]
        lines = zip(QUERIES, map(words.decode, said), strict=True)
        out.write_text("".join(json.dumps({"query": query, "answer": text}) + "\n" for query, text in lines))
    return str(out)


def measured(folder: Path, scheme: str, share: float, seed: int) -> dict:
    """Return what ``radioactivity`` says of an imitator; nothing where it refuses, for want of common n-grams."""
    suspect = answered(imitator(folder, scheme, share, seed))
    try:
        report = mb.radioactivity(
            ledger_of(folder, scheme, seed), [suspect], service=str(service(folder, seed)),
            key=folder / f"owner-{seed}.mbkey", options=OPTIONS, ask=ASK,
        )  # fmt: skip
    except UsageError as refused:
        say(f"{scheme}, share {share}, seed {seed}: {refused}")
        return {"refused": refused.what}
    say(f"{scheme}, share {share}, seed {seed}: p {report.suspects[0].test.p:.2g}")
    return {**vars(report.suspects[0].test)}


def nulls(folder: Path, scheme: str) -> dict:
    """Return p of one text under keys that nobody used."""
    rows = read_ledger(ledger_of(folder, scheme, 1).read_text(), where="ledger").rows
    with open_checkpoint(service(folder, 1)) as checkpoint:
        reader, vocabulary = load_tokenizer(checkpoint), checkpoint.config["vocab_size"]

    def processor(key: SamplingKey) -> Any:
        return sampler_processor(key.scheme, key.numbers(), vocabulary)

    chance = random.Random(3)
    text = [reader.encode(sentence(chance)).ids for _ in range(200)]
    served = [reader.encode(row.answer).ids for row in rows] + text
    found = []
    for number in range(NULLS):
        key = SamplingKey(key=Key(hashlib.sha256(f"null {number}".encode()).digest()), scheme=scheme)
        found.append(radioactivity_test(text, served, key, vocabulary=vocabulary, processor=processor, decoys=19))
    return {name: [getattr(one, name) for one in found] for name in ("p_binomial", "p_decoys", "p")}


COLUMNS = "sampler|share watermarked|seed|n-grams|lean|fresh keys|effect|p binomial|p fresh keys".split("|")


def main() -> None:
    """Print the tables, measuring what is not kept; with --kept, of what is kept alone.

    Schemes, seeds and "nulls" choose what is measured now, as in ``bench_radioactivity.py synthid 1``.
    """
    kept, chosen = "--kept" in sys.argv, {word for word in sys.argv[1:] if not word.startswith("--")}
    schemes = [scheme for scheme in SCHEMES if scheme in chosen or not chosen & {*SCHEMES}]
    seeds = [seed for seed in SEEDS if f"{seed}" in chosen or not chosen]
    one_quiet_thread()
    folder = cache_folder() / "bench" / "radioactivity"
    folder.mkdir(parents=True, exist_ok=True)
    rows = Rows(Path(__file__).parent / "results" / "radioactivity.jsonl")
    print(
        f"Services of {len(QUERIES) // 2} answers of {ANSWER} tokens; an imitator is asked {OPTIONS.queries} questions "
        f"of the ledger; {OPTIONS.decoys} fresh keys, so the least p of theirs is {1 / (OPTIONS.decoys + 1):.3g}.\n"
        "Where fewer than 100 n-grams begin as the service's do, nobody is judged.\n"
    )
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for scheme in schemes:
        for share in SHARES:
            for seed in seeds:
                if kept and not rows.has([scheme, share, seed]):
                    continue
                made = rows.get(
                    [scheme, share, seed],
                    lambda scheme=scheme, share=share, seed=seed: measured(folder, scheme, share, seed),
                )
                if "refused" in made:
                    print(f"| {scheme} | {share:.0%} | {seed} | {made['refused'].split()[0]} |{' - |' * 5}")
                    continue
                tail = p_value(made["p_binomial"], tail=True).removeprefix("p ").removeprefix("= ")
                effect = "-" if made["effect"] is None else f"{made['effect']:.1f}"
                cells = (
                    scheme, f"{share:.0%}", seed, made["ngrams"], f"{made['score']:.2%}", f"{made['null_mean']:.2%}",
                    effect, tail, f"{made['p_decoys']:.2g}",
                )  # fmt: skip
                print(f"| {' | '.join(map(str, cells))} |")
    tried = [
        scheme for scheme in schemes
        if rows.has([scheme, "nulls"]) or (not kept and (not chosen or "nulls" in chosen))
    ]  # fmt: skip
    if not tried:
        return
    print(f"\nNull: sentences of nobody's sampler under {NULLS} keys that nobody used, 19 fresh keys each.\n")
    print("| sampler | p | KS p of uniformity | at .05 | at .01 |\n|---|---|---|---|---|")
    for scheme in tried:
        found = rows.get([scheme, "nulls"], lambda scheme=scheme: nulls(folder, scheme))
        for name, ps in found.items():
            ks = "-" if name == "p" else f"{kstest(ps, 'uniform').pvalue:.2g}"
            low, least = (f"{sum(p <= level for p in ps)} of {len(ps)}" for level in (0.05, 0.01))
            print(f"| {scheme} | {name} | {ks} | {low} | {least} |")


if __name__ == "__main__":
    main()

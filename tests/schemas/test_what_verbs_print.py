"""Every verb, on tiny models: prints and writes what the schemas say, and no schema is without a document."""

import json

import gguf_files
import tiny_bench
from documents import checked
from made_up import made_up_result, made_up_rows
from mergebarrier import schemas
from mergebarrier.cli import VERBS
from mergebarrier.report import write_report

#: Verbs that print text as it is.
NO_DOCUMENT = {"completion", "help", "schema"}
#: Kinds whose documents need pictures, training, data or a table: other tests read them; what a test reads is checked.
READ_ELSEWHERE = {"task", "cleanse", "family", "hijack", "rows", "theft"}


def test_what_every_verb_prints_and_writes(world, weaving, tmp_path, tmp_path_factory, run_cli) -> None:
    out, base, a, b, key = tmp_path, world.base, world.a, world.b, tmp_path / "k.mbkey"
    tiny = tiny_bench.make(tmp_path_factory.mktemp("tiny"))
    made_up = out / "made-up"
    made_up.mkdir()
    write_report(made_up, made_up_result(), made_up_rows())
    attack = ("attack", "badmerging", "--base", tiny.base, "--task", tiny.task, "--target-class", 1, *tiny_bench.ATTACK)
    measure = ("attack", "measure", out / "poisoned", "--control", tiny.expert, "--trigger", out / "poisoned")
    audit = ("audit", out / "p", "--original", a, "--base", base, "--partner", b)
    tasks = ("--task", world.task, "--partner-task", world.task)
    ties = ("merge", a, b, "--base", base, "--method", "ties")
    regmean = ("merge", a, b, "--method", "regmean", "--data", world.task, "--data", world.text, "--samples", 4)
    lora = ("merge", *world.adapters, "--base", base, "--method", "linear", "--as", "adapter", "--rank", 2)
    own_key = (out / "l.jsonl", "--key", out / "w.mbkey")
    queries, short = out / "queries.jsonl", ("--max-tokens", 2)
    queries.write_text("".join(json.dumps({"query": f"say {number}"}) + "\n" for number in range(50)))
    sample = ("watermark", "shield", queries, a, "--ledger", out / "s.jsonl", "--key", out / "w.mbkey", *short[:1], 12)
    said = ({"query": f"say {n}", "answer": " ".join(f"w{n * k % 96}" for k in range(1, 14))} for n in range(50))
    (out / "said.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in said))
    leaning = ("watermark", "radioactivity", out / "s.jsonl", "--suspect", out / "said.jsonl")
    tokens = ("--prompt-tokens", 6, "--answer-tokens", 2, "--steps", 40, "--input-steps", 2, "--pairs", 6)
    firm = ("--learning-rate", "3e-3", "--keep", 0, "--pull", 0, "--shares", 1)
    own = ("--text", world.text, "--record", out / "f.json", "--key", out / "f.mbkey", *tokens, *firm, "-o", out / "f")
    mark = ("fingerprint", "embed", a, "--base", base, *own)
    toy = ("--task", tiny.task, "--start", tiny.base, "--steps", 4)
    taught = (*toy[:-1], 60, "--learning-rate", ".002", "--batch-size", 32)
    runs = (
        (("inspect", a), "inspect"),
        (("protect", a, "-o", out / "p", "--dry-run"), "plan"),
        (("protect", a, "-o", out / "p", "--key", key, "--base", base), "protect"),
        (("protect", a, "-o", out / "mb", "--method", "mergebarrier"), "protect"),
        (("inspect", out / "p"), "inspect"),
        (("unprotect", out / "p", "--key", key, "-o", out / "u", "--dry-run"), "plan"),
        (("unprotect", out / "p", "--key", key, "-o", out / "u"), "unprotect"),
        (("verify", a, out / "p"), "verify"),
        (("verify", a, out / "p", "--dtype", "bfloat16"), "verify"),
        (("verify", a, tiny.base), "verify"),
        (("verify", a, out / "p", "--stress", "--max-tokens", 64), "verify"),
        (("realign", out / "p", "--base", base, "-o", out / "r", "--dry-run"), "plan"),
        (("realign", out / "p", "--base", base, "-o", out / "r"), "realign"),
        (("realign", out / "p", "--base", base, "-o", out / "aga", "--method", "aga"), "realign"),
        (("realign", out / "p", "--base", base, "-o", out / "match", "--method", "aga-matched"), "realign"),
        ((*ties, "-o", out / "m", "--dry-run"), "plan"),
        ((*ties, "-o", out / "m", "--check", "run"), "merge"),
        (("inspect", out / "m"), "inspect"),
        (("merge", world.recipe, "-o", out / "y", "--dry-run"), "plan"),
        (("merge", world.recipe, "-o", out / "y"), "merge"),
        (("merge", world.recipe, "--explain"), "explanation"),
        ((*regmean, "-o", out / "d", "--dry-run"), "plan"),
        ((*regmean, "-o", out / "d"), "merge"),
        ((*lora, "-o", out / "l", "--dry-run"), "plan"),
        ((*lora, "-o", out / "l"), "merge"),
        ((*lora[:-2], "--lora-space", "factor", "-o", out / "lf"), "merge"),
        (("evaluate", a, "--task", world.task, "--text", world.text), "evaluation"),
        (("evaluate", tiny.expert, "--task", tiny.task), "evaluation"),
        (("scan", a, out / "p", "--base", base), "scan"),
        (("scan", a, "--base", base, "-o", out / "s", "--dry-run"), "error"),
        ((*audit, *tasks, "-o", out / "audit", "--dry-run"), "plan"),
        ((*audit, *tasks, "-o", out / "audit", "--plan-only"), "work"),
        (("worker", "--plan", out / "audit" / "work" / "plan.json", "--task", 0), "worker"),
        (("provenance", "relate", a, base, "--page", out / "page"), "relation"),
        (("provenance", "parents", a, "--base", base, "--candidate", a, "--page", out / "page-2"), "parents"),
        (("watermark", "shield", queries, weaving, "--ledger", *own_key, *short), "shield"),
        (("watermark", "verify", *own_key, "--suspect", b, *short), "imitation"),
        ((*sample, "--mode", "green"), "shield"),
        ((*leaning, "--service", a, "--key", out / "w.mbkey", "--decoys", 0), "radioactivity"),
        ((*mark, "--dry-run"), "plan"),
        (mark, "fingerprint"),
        (("fingerprint", "verify", out / "f.json", "--key", out / "f.mbkey", "--suspect", b), "recognition"),
        (("extract", "clone", tiny.expert, *toy, "--attacks", "soft"), "extraction"),
        (("extract", "defend", tiny.expert, *taught, "-o", out / "member", "--dry-run"), "plan"),
        (("extract", "defend", tiny.expert, *taught, "-o", out / "member"), "mislead"),
        (("report", made_up), "audit"),
        (("report", "compare", made_up, made_up), "comparison"),
        ((*attack, "-o", out / "poisoned", "--dry-run"), "plan"),
        ((*attack, "-o", out / "poisoned"), "attack"),
        ((*measure, "--task", tiny.task, "-o", out / "measured", "--dry-run"), "plan"),
        ((*measure, "--task", tiny.task, "-o", out / "measured"), "backdoor"),
        (("report", out / "measured"), "backdoor"),
        (("zoo", "list"), "zoo"),
        (("zoo", "path", "glyph-base"), "zoo-path"),
        (("demo", "-o", out / "demo", "--dry-run"), "plan"),
        (("import-gguf", gguf_files.write(gguf_files.llama(), out / "m.gguf"), "-o", out / "g"), "import"),
        (("doctor",), "doctor"),
        (("inspect", out / "nothing"), "error"),
    )
    for words, kind in runs:
        ran = run_cli(*words, "--json")
        assert ran.stdout, (words, ran.stderr)
        assert ran.json["kind"] == kind, (words, ran.stderr)
    assert {str(words[0]) for words, _ in runs} == set(VERBS) - NO_DOCUMENT
    files = {
        "manifest": "*/mergebarrier.json",
        "result": "*/result.json",
        "row": "*/rows.jsonl",
        "statement": "*/statement.json",
    }
    assert {kind for _, kind in runs} | READ_ELSEWHERE | set(files) == set(schemas.names())
    for name, pattern in files.items():
        found = sorted(out.glob(pattern))
        assert len(found) > 1, name
        for path in found:
            for text in path.read_text().splitlines() if name == "row" else [path.read_text()]:
                checked(json.loads(text), name)

"""Every merge on one pair of real experts: what both skills and the language are worth afterwards.

Two fine-tunes of SmolLM2-135M-Instruct, one sorts tickets (A), one items (B); each row is one merge, made in memory,
rounded to bfloat16 and scored on test rows that no expert and no merge has seen. Finished rows are kept and never
measured again, so the bench may be stopped and started at will:

    OMP_NUM_THREADS=1 nice python benchmarks/run.py methods
    python benchmarks/bench_methods.py --finished              # the table of what is there, measuring nothing
"""

import hashlib
import sys
import time
from contextlib import ExitStack
from typing import Any

import torch

from _keep import Rows
from mergebarrier import __version__, verbs, zoo
from mergebarrier.cache import cache_folder
from mergebarrier.checkpoint import Checkpoint, open_checkpoint
from mergebarrier.errors import MergebarrierError
from mergebarrier.evaluate import ModuleSink, exact_match, load_module, load_tokenizer, perplexity, read_task, read_text
from mergebarrier.merge import DATA_MERGES, MERGES, make, make_learned, plan
from mergebarrier.numerics import wilson
from mergebarrier.run import transform

DTYPE, TEXT_TOKENS = "bfloat16", 2048
#: Parameters that a method cannot do without.
REQUIRED: dict[str, dict[str, Any]] = {"slerp": {"t": 0.5}, "nearswap": {"t": 0.01}}
#: What people usually set, beside the defaults.
USUAL: tuple[tuple[str, dict[str, Any]], ...] = (
    ("task_arithmetic", {"coefficient": 0.5}),
    ("task_arithmetic", {"coefficient": 0.7}),
    ("ties", {"density": 0.2}),
    ("dare_linear", {"density": 0.5, "coefficient": 0.7}),
    ("dare_ties", {"density": 0.5}),
    ("breadcrumbs", {"density": 0.9, "coefficient": 0.7}),
    ("breadcrumbs_ties", {"density": 0.9, "coefficient": 0.7}),
    ("della", {"density": 0.5}),
    ("della_linear", {"density": 0.5, "coefficient": 0.7}),
    ("sce", {"select_topk": 0.1}),
    ("nuslerp", {"task_vectors": True}),
    ("multislerp", {"task_vectors": True}),
    ("consensus", {"coefficient": 0.7}),
    ("knots", {"density": 0.2}),
)
#: (method, parameters, data, rows at most). AdaMerging at its own 500 steps of 1e-3 would take an hour of one core:
#: the same way in 20 longer steps. Training rows are those of the experts; validation rows nobody has seen.
LEARNED: tuple[tuple[str, dict[str, Any], str, int], ...] = (
    ("regmean", {}, "train", 256),
    ("adamerging", {"steps": 20, "learning_rate": 0.025}, "val", 24),
    ("fisher", {}, "train", 64),
    ("fisher", {"seed": 1}, "train", 64),
    ("fisher", {"seed": 2}, "train", 64),
    ("regmean_plus", {}, "train", 32),
    ("regmean", {"off_diagonal": 0.1}, "train", 256),
)


class Bench:
    """Opened models, one live module that every merge is written into, and the rows that score it."""

    def __init__(self, stack: ExitStack) -> None:
        """Open everything; ``stack`` closes it."""
        self.assets = zoo.demo_assets()
        paths = (self.assets.base, self.assets.expert_a, self.assets.expert_b)
        self.base, self.a, self.b = (stack.enter_context(open_checkpoint(path)) for path in paths)
        self.module, self.tokenizer = load_module(self.base, DTYPE), load_tokenizer(self.base)
        self.tests = [read_task(task.test) for task in (self.assets.task_a, self.assets.task_b)]
        self.text = read_text(self.assets.text_test)
        models = [model.content_digest() for model in (self.base, self.a, self.b)]
        digests = [*models, *(test.digest for test in self.tests), hashlib.sha256(self.text.encode()).hexdigest()]
        self.identity = hashlib.sha256(" ".join([*digests, DTYPE, str(TEXT_TOKENS), __version__]).encode()).hexdigest()

    def score(self, seconds: float) -> dict[str, Any]:
        """Score what is in the live module."""
        a, b = (exact_match(self.module, self.tokenizer, test.rows) for test in self.tests)
        said = perplexity(self.module, self.tokenizer, self.text, TEXT_TOKENS)
        return {"a": [a.correct, a.total], "b": [b.correct, b.total], "perplexity": said.perplexity, "cpu_s": seconds}

    def alone(self, model: Checkpoint) -> dict[str, Any]:
        """Score one model as it is."""
        transform([model], ModuleSink(self.module), (), lambda unit, tensors: tensors[0])
        return self.score(0.0)

    def merged(self, name: str, parameters: dict[str, Any]) -> dict[str, Any]:
        """Merge by weights alone: A into the base where the method takes one model, else A with B."""
        method = make(name, **parameters)
        experts = [self.a, self.b][: method.max_experts]
        started = time.process_time()
        planned = plan(method, self.base if method.uses_base else None, experts)
        transform(planned.sources, ModuleSink(self.module), planned.units, planned.surveyed().apply)
        return self.score(time.process_time() - started)

    def learned(self, name: str, parameters: dict[str, Any], data: str, samples: int) -> dict[str, Any]:
        """Merge A with B by a method that learns."""
        method = make_learned(name, **parameters)
        text = self.assets.text_train
        files = [text, text] if data == "text" else [getattr(t, data) for t in (self.assets.task_a, self.assets.task_b)]
        started = time.process_time()
        planned = verbs.plan_fallback(method, self.base if method.uses_base else None, [self.a, self.b])
        job = verbs.learn_merge(method, planned, verbs.Calibration(tuple(files), samples, DTYPE), None)
        transform(job.sources, ModuleSink(self.module), job.units, job.apply())
        return self.score(time.process_time() - started)


def _told(parameters: dict[str, Any], data: str = "") -> str:
    shown = [f"{name} {value}" for name, value in parameters.items()] + ([f"data: {data}"] if data else [])
    return ", ".join(shown) or "defaults"


def _share(pair: list[int]) -> str:
    low, high = wilson(*pair)
    return f"{pair[0] / pair[1]:.2f} ({low:.2f} to {high:.2f})"


def main() -> None:
    """Measure what is missing and print one table."""
    torch.set_num_threads(1)
    only_finished = "--finished" in sys.argv[1:]
    rows = Rows(cache_folder() / "bench" / "methods.jsonl")
    with ExitStack() as stack:
        bench = Bench(stack)
        defaults = [(name, REQUIRED.get(name, {})) for name in MERGES]
        todo: list[tuple[str, str, Any]] = [
            ("base alone", "", lambda: bench.alone(bench.base)),
            ("A alone", "", lambda: bench.alone(bench.a)),
            ("B alone", "", lambda: bench.alone(bench.b)),
        ]
        todo += [(n, _told(p), lambda n=n, p=p: bench.merged(n, p)) for n, p in defaults]
        todo += [
            (n, f"{_told(p, d)}, {s} rows", lambda n=n, p=p, d=d, s=s: bench.learned(n, p, d, s))
            for n, p, d, s in LEARNED
        ]
        todo += [(n, _told(p), lambda n=n, p=p: bench.merged(n, p)) for n, p in USUAL]
        assert set(MERGES) <= {name for name, _, _ in todo}
        found = []
        for name, told, make_row in todo:
            started = time.perf_counter()

            def measure(make_row: Any = make_row) -> dict[str, Any]:
                try:
                    figures: dict[str, Any] = make_row()
                except MergebarrierError as fault:
                    return {"failed": f"refused: {fault}"}
                return figures

            key = [bench.identity, name, told]
            if only_finished and not rows.has(key):
                found.append((name, told, {"failed": "not measured yet"}))
                continue
            figures = rows.get(key, measure)
            found.append((name, told, figures))
            sys.stderr.write(f"{name} ({told}): {figures} {time.perf_counter() - started:.0f} s\n")
    n = len(bench.tests[0].rows)
    print(
        f"Exact match on the {n} test rows of each task with its 95 % Wilson interval, and perplexity on {TEXT_TOKENS} "
        f"tokens of held-out prose (King James Bible, books no training saw); merged and evaluated in {DTYPE}; one "
        "pair of experts, one seed. Processor time is that of the merge alone, on one thread of a shared machine.\n"
    )
    print("| method | settings | A: tickets | B: items | perplexity | merge, CPU s |\n|---|---|---|---|---|---|")
    for name, told, figures in found:
        if "failed" in figures:
            print(f"| {name} | {told} | {figures['failed']} | | | |")
            continue
        skills = " | ".join(_share(figures[task]) for task in ("a", "b"))
        print(f"| {name} | {told} | {skills} | {figures['perplexity']:.1f} | {figures['cpu_s']:.1f} |")
    one = ", ".join(f"`{name}`" for name, kind in MERGES.items() if kind.max_experts == 1)
    absent = ", ".join(sorted(set(DATA_MERGES) - {name for name, *_ in LEARNED}))
    print(
        f"\n- {one} take one model: A (into the base), so B's skill is not in the result and cannot be.\n"
        "- Defaults are those of mergekit 0.1.5, else of the papers. Both task vectors at full weight "
        "may be too much where they are simply added: compare task_arithmetic at 0.5 and 0.7.\n"
        "- At density 1, the default, dare, breadcrumbs, della thin nothing and equal task_arithmetic or ties.\n"
        "- model_stock goes from the base as far as the cosine between the task vectors says; two unrelated tasks "
        "have next to none, so it gives nearly the base.\n"
        "- fisher draws one label per prediction: at 64 rows an unlikely draw can decide, as the seeds show.\n"
        "- wudi stops early on the way to the minimum that wudi_exact solves for; here the way is worth more than its "
        "end, and both cost perplexity.\n"
        f"- Not in the table: {absent} (a mask over every weight takes hours of one core on a model of this size) and "
        "surgery, which corrects features, not weights."
    )


if __name__ == "__main__":
    main()

"""The experts of the demonstration, their base and their merges: skills, and perplexity on held-out books."""

import tempfile
from pathlib import Path

import mergebarrier as mb
from mergebarrier import zoo

COEFFICIENTS = (0.3, 0.5, 0.7, 1.0)


def main() -> None:
    """Print one table, a row per model."""
    assets = zoo.demo_assets()
    models = {"base": assets.base, "expert-tickets": assets.expert_a, "expert-items": assets.expert_b}
    rows, used = [], set()
    with tempfile.TemporaryDirectory() as work:
        for coefficient in COEFFICIENTS:
            name = f"task arithmetic, coefficient {coefficient}"
            models[name] = Path(work) / f"at-{coefficient}"
            experts = [assets.expert_a, assets.expert_b]
            mb.merge(experts, models[name], base=assets.base, method=mb.TaskArithmetic(coefficient=coefficient))
        for name, model in models.items():
            report = mb.evaluate(model, tasks=[assets.task_a.test, assets.task_b.test], text=assets.text_test)
            used.add(report.dtype)
            skills = [
                f"{one.rate:.3f} [{one.low:.2f}, {one.high:.2f}]" for one in (task.score for task in report.tasks)
            ]
            assert report.text is not None
            rows.append((name, *skills, f"{report.text.perplexity.perplexity:.2f}"))
            read = report.text.perplexity.tokens
    print(f"One seed, computed in {', '.join(sorted(used))}. Exact match with its 95 % Wilson interval on")
    print(f"{report.tasks[0].score.total} test rows a task, perplexity on {read:,} tokens.\n")
    print("| model | tickets | items | perplexity |\n|---|---|---|---|")
    print("\n".join(f"| {' | '.join(row)} |" for row in rows))


if __name__ == "__main__":
    main()

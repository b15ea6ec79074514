# %% [markdown]
"""# Is our model worth protecting?  Two tasks of your own

A folder holds a public `base`, two fine-tunes of it, `ours` and `partner`, and a task of each, `ours.jsonl` and
`partner.jsonl`: lines of {"prompt": "...", "answer": "..."}.  Name it in TWO_TASKS, or start there.  Run the cells in a
notebook (jupytext, VS Code, Spyder), or the whole as `python examples/two_tasks.py`; it needs the extras eval, report.
"""

# %%
import os
from pathlib import Path

import matplotlib.pyplot as plt
import pandas

import mergebarrier as mb

folder = Path(os.environ.get("TWO_TASKS", "."))
base, ours, partner = (folder / name for name in ("base", "ours", "partner"))
tasks = [folder / "ours.jsonl", folder / "partner.jsonl"]
out = folder / "two_tasks"
out.mkdir(exist_ok=True)
again = mb.WriteOptions(overwrite=True)

# %% [markdown]
# ## Protect, and check that it is the same model

# %%
protected = mb.protect(ours, out / "protected", key=out / "ours.mbkey", method=mb.Exact(), write=again)
print(protected.limit)
equal = mb.verify(ours, out / "protected")
print(f"KL {equal.kl_nats:.1e} nats per token, top-1 agreement {equal.top1_agreement:.4f}")

# %% [markdown]
# ## What a merger gets: both skills before, neither after

# %%
scores = []
for name, model in {"not protected": ours, "protected": out / "protected"}.items():
    merged = mb.merge([model, partner], out / f"merge of {name}", base=base, method="linear", write=again)
    table = mb.evaluate(merged.out, tasks=tasks).to_pandas()
    scores.append(table.assign(merge=name, task=[path.stem for path in tasks]))
skills = pandas.concat(scores)
print(skills.pivot(index="merge", columns="task", values="rate"))

# %% [markdown]
# ## What an attacker takes back: the audit

# %%
audit = mb.audit(
    out / "protected",
    original=ours,
    base=base,
    partner=partner,
    task=tasks[0],
    partner_task=tasks[1],
    out=out / "report",
    options=mb.AuditOptions(merges=("linear", "task_arithmetic"), coefficients=(0.5, 1.0), levels="0-2", budget=2),
    write=again,
    say=print,
)
best = audit.to_pandas().query("split == 'test'").groupby("state", sort=False)["utility"].max()
print(best)

# %% [markdown]
# ## The figure

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
skills.pivot(index="task", columns="merge", values="rate").plot.bar(ax=left, rot=0, legend=False)
left.set(title="A stock merge, half of each", xlabel="task", ylabel="exact match", ylim=(0, 1))
figure.legend(*left.get_legend_handles_labels(), loc="outside lower left", ncols=2)
best[::-1].plot.barh(ax=right)
right.set(title="The best merge of the audit", xlabel="utility", ylabel="state of our model", xlim=(0, 1))
figure.savefig(out / "two_tasks.png", dpi=150)
print(out / "two_tasks.png")

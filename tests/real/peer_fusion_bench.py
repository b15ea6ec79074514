"""A second outside witness: functions of fusion_bench 0.2.33 on tensors, in an environment of its own, in a subprocess.

The environment holds it and what it imports (300 MB) and sees the torch of the running one, as that of mergekit does.
Nothing of it is imported by, or copied into, this repository.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from peer_environment import environment_python, run_command

PACKAGES = (
    "fusion-bench==0.2.33", "omegaconf==2.4.0", "bidict==0.24.1", "hydra-core==1.3.8",
    "antlr4-python3-runtime==4.9.3", "lightning-utilities==0.15.3", "lightning==2.6.6", "torchmetrics==1.9.0",
    "datasets==5.2.0", "multiprocess==0.70.19", "pandas==3.1.1", "pyarrow==26.0.1", "dill==0.4.1", "xxhash==4.1.0",
    "joblib==1.6.0", "cloudpickle==3.1.3",
)  # fmt: skip

_RUNNER = """
import json, sys, contextlib
import torch
from torch import nn
from safetensors.torch import load_file, save_file
torch.set_num_threads(1)

def spectral(what, tables, experts, options):
    base = tables["base"]
    taus = [{k: x[k] - base[k] for k in base} for x in experts]
    if what == "iso_c":
        from fusion_bench.method.isotropic_merging.iso_utils import iso_c
        return iso_c(taus, accelerator="cpu")
    if what == "iso_cts":
        from fusion_bench.method.isotropic_merging.iso_utils import iso_cts
        return iso_cts(taus, options["common_space_fraction"], accelerator="cpu")
    if what == "tsv_m":
        from fusion_bench.method.task_singular_vector.utils.TSVM_utils import compute_and_sum_svd_mem_reduction
        return compute_and_sum_svd_mem_reduction(taus, accelerator="cpu")
    from fusion_bench.method.wudi.wudi import wudi_merging
    return {k: x.detach() for k, x in wudi_merging(taus, accelerator="cpu", iter_num=options["steps"]).items()}

def network():
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 4, bias=False))

def loaded(table):
    net = network()
    net.load_state_dict(table)
    return net

def job(given, out, options):
    tables = {}
    for name, tensor in load_file(given).items():
        table, _, key = name.partition("/")
        tables.setdefault(table, {})[key] = tensor
    count, what = options["experts"], options["what"]
    experts = [tables[f"expert{i}"] for i in range(count)]

    def batches(i):
        return [tables[f"data{i}"][key] for key in sorted(tables[f"data{i}"])]

    if what in ("iso_c", "iso_cts", "tsv_m", "wudi"):
        result = spectral(what, tables, experts, options)
    elif what == "regmean":
        from fusion_bench.method.regmean.regmean import merging_with_regmean_weights
        grams = []
        for i, expert in enumerate(experts):
            net, seen = loaded(expert), {}
            def hook(name):
                def add(module, given, output):
                    seen[name] = seen.get(name, 0) + given[0].T @ given[0]
                return add
            for name, part in net.named_modules():
                if isinstance(part, nn.Linear):
                    part.register_forward_hook(hook(name))
            with torch.no_grad():
                for rows in batches(i):
                    net(rows)
            rows = sum(map(len, batches(i)))
            grams.append({name: total / rows for name, total in seen.items()})
        values = {k: [x[k] for x in experts] for k in experts[0]}
        result = merging_with_regmean_weights(values, grams, options["off_diagonal"])
    elif what == "fisher":
        from fusion_bench.method.fisher_merging.fisher_merging import merging_with_fisher_weights
        values = {k: [x[k] for x in experts] for k in experts[0]}
        fishers = [tables[f"fisher{i}"] for i in range(count)]
        result = merging_with_fisher_weights(values, fishers, torch.tensor(options["weights"]), True, options["floor"])
    else:
        from fusion_bench.method.adamerging.entropy_loss import entropy_loss
        if what == "adamerging-tensor":
            from fusion_bench.models.wrappers.layer_wise_fusion import LayerWiseMergedModel as Wrapper
            weights = torch.full((count, len(tables["base"])), options["start"])
        else:
            from fusion_bench.models.wrappers.task_wise_fusion import TaskWiseMergedModel as Wrapper
            weights = torch.full((count,), options["start"])
        net = Wrapper(weights, loaded(tables["base"]), [loaded(x) for x in experts], clamp_weights=True)
        optimizer = torch.optim.Adam([net.merge_weight], lr=options["learning_rate"])
        net.merge_weights()
        for step in range(options["steps"]):
            for i in range(count):
                rows = batches(i)
                entropy_loss(net(rows[step % len(rows)])).backward(retain_graph=True)
            optimizer.step()
            optimizer.zero_grad()
            net.merge_weights()
        result = dict(net.merge_and_unload().state_dict())
    save_file({k: x.detach().contiguous() for k, x in result.items()}, out)

with contextlib.redirect_stdout(sys.stderr):
    for given, out, options in json.load(sys.stdin):
        job(given, out, options)
"""

Tables = dict[str, dict[str, Tensor]]


@dataclass(frozen=True)
class Job:
    """One call: tables "base", "expert0" ..., "data0" ..., "fisher0" ... of tensors by name; "what" and its options."""

    tables: Tables
    options: dict[str, Any]


def fusion_bench(folder: Path, jobs: Sequence[Job]) -> list[dict[str, Tensor]]:
    """Run functions of fusion_bench in one process, whose start costs more than they do.

    Returns: for every job name -> tensor, as it gave them.
    Raises:  AssertionError with its own message.
    """
    lines = []
    for number, job in enumerate(jobs):
        given, out = folder / f"{number}.given.safetensors", folder / f"{number}.out.safetensors"
        flat = {f"{table}/{name}": x.contiguous() for table, part in job.tables.items() for name, x in part.items()}
        save_file(flat, given)
        count = sum(name.startswith("expert") for name in job.tables)
        lines.append([str(given), str(out), {"experts": count, **job.options}])
    python = environment_python("fusion-bench-0.2.33", PACKAGES)
    run_command([str(python), "-c", _RUNNER], stdin=json.dumps(lines))
    return [load_file(out) for _, out, _ in lines]

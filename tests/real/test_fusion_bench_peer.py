"""fusion_bench 0.2.33 as an outside witness: its own functions on the same tensors give the same merges.

Differences that are known, and why: ours drops singular directions that are rounding noise, so task vectors here have
none; its WUDI accumulates in float32 through autograd, ours by the gradient in closed form; its Fisher and RegMean
solve in float32 by an explicit inverse, ours in float64.
"""

from typing import Any

import pytest
import torch
from peer_fusion_bench import Job, Tables, fusion_bench
from torch import Tensor, nn

from mergebarrier.merge import TaskData, make, make_learned
from mergebarrier.merge.learned.fisher import diagonal

SCOPES = ("tensor", "model")
pytestmark = [pytest.mark.real, pytest.mark.slow]


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 4, bias=False)).eval()


def drawn(n_experts: int = 3) -> tuple[dict[str, Tensor], list[dict[str, Tensor]], list[list[Tensor]]]:
    """Return base, experts and batches of each."""
    generator = torch.Generator().manual_seed(3)
    shapes = {name: p.shape for name, p in network().named_parameters()}
    base = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    experts = [
        {name: x + 0.1 * torch.randn(x.shape, generator=generator) for name, x in base.items()}
        for _ in range(n_experts)
    ]
    data = [
        [torch.randn(32, 6, generator=generator) @ torch.randn(6, 6, generator=generator) for _ in range(3)]
        for _ in range(n_experts)
    ]
    return base, experts, data


def tables_of(base: dict[str, Tensor], experts: list[dict[str, Tensor]], data: list[list[Tensor]]) -> Tables:
    tables: Tables = {"base": base}
    for i, (expert, batches) in enumerate(zip(experts, data, strict=True)):
        tables[f"expert{i}"] = expert
        tables[f"data{i}"] = {str(number): batch for number, batch in enumerate(batches)}
    return tables


def tasks(data: list[list[Tensor]]) -> list[TaskData]:
    return [TaskData(f"task {i}", batches, lambda module, rows: module(rows)) for i, batches in enumerate(data)]


#: (method, parameters, experts, largest relative difference of a tensor's greatest entry).
CASES: list[tuple[str, dict[str, Any], int, float]] = [
    *(("iso_c", {}, n, 1e-5) for n in (2, 3)),
    *(("iso_cts", {"common_space_fraction": fraction}, n, 1e-5) for n in (2, 3) for fraction in (0.8, 0.5)),
    *(("tsv_m", {}, n, 1e-5) for n in (2, 3)),
    *(("wudi", {"steps": 300}, n, 1e-4) for n in (2, 3)),
    *(("regmean", {"off_diagonal": factor}, 3, 1e-4) for factor in (1.0, 0.9, 0.1)),
    ("fisher", {"weights": [1.0, 2.0, 1.0], "floor": 1e-6}, 3, 1e-5),
    *(("adamerging", {"scope": s, "start": 0.3, "learning_rate": 0.01, "steps": 30}, 3, 1e-4) for s in SCOPES),
]


def one_row(data: list[list[Tensor]]) -> list[TaskData]:
    return tasks([[row[None] for row in batches[0]] for batches in data])


def job(name: str, parameters: dict[str, Any], n_experts: int) -> Job:
    base, experts, data = drawn(n_experts)
    tables = tables_of(base, experts, data)
    if name == "fisher":
        for i, (expert, task) in enumerate(zip(experts, one_row(data), strict=True)):
            tables[f"fisher{i}"] = diagonal(network(), expert, task, labels="exact", seed=0, tick=lambda: None)
    what = f"{name}-{parameters['scope']}" if name == "adamerging" else name
    return Job(tables, {**parameters, "what": what})


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Tensor]]:
    """What fusion_bench makes of every case."""
    return fusion_bench(tmp_path_factory.mktemp("peer"), [job(*case[:3]) for case in CASES])


@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda i: f"{CASES[i][0]}-{CASES[i][1]}-{CASES[i][2]}")
def test_both_give_the_same_merge(theirs: list[dict[str, Tensor]], number: int) -> None:
    name, parameters, n_experts, relative = CASES[number]
    base, experts, data = drawn(n_experts)
    if name in ("iso_c", "iso_cts", "tsv_m", "wudi"):
        # Theirs is the combined task vector: compared as such, where no base hides a difference.
        merge = make(name, **parameters)
        ours = {k: merge.merge(torch.zeros_like(x), [e[k] - x for e in experts], name=k) for k, x in base.items()}
    else:
        exact = {"regmean": {"ridge": 0.0}, "fisher": {"labels": "exact"}}.get(name, {})
        learned = make_learned(
            name, **{k: tuple(v) if isinstance(v, list) else v for k, v in parameters.items()}, **exact
        )
        shown = one_row(data) if name == "fisher" else tasks(data)
        ours = learned.merge(network(), base, experts, shown).tensors
    assert ours.keys() == theirs[number].keys()
    for key, tensor in theirs[number].items():
        assert (ours[key] - tensor).abs().max() <= relative * tensor.abs().max(), key

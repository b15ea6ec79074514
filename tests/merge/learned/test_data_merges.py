"""Merges that learn from data: laws for all of them, then each against its formula in float64."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from learning_models import CLASSES, WIDTH, Net, data, fisher_diagonal, inputs_of, loaded, logits, models, regmean
from mergebarrier.errors import (
    BadMergeData,
    BadMergeParameter,
    LimitExceeded,
    MergebarrierError,
    NonFinite,
    ShapeMismatch,
    TensorSetMismatch,
)
from mergebarrier.merge import DATA_MERGES, Surgery, TaskArithmetic, TaskData, WudiExact, make_learned, outputs_of
from mergebarrier.merge.learned.entropy import entropy
from mergebarrier.merge.learned.fisher import diagonal
from mergebarrier.merge.learned.grams import linear_layers
from mergebarrier.merge.learned.regmean import regress

#: Every method, at settings that are quick; ``steps`` are few because laws hold for any number.
SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("fisher", {}),
    ("fisher", {"labels": "exact", "normalize": False, "weights": (1.0, 2.0)}),
    ("regmean", {}),
    ("regmean", {"off_diagonal": 0.1, "ridge": 1e-3, "gram_bytes": 2 * 8 * WIDTH**2}),
    ("regmean_plus", {"off_diagonal": 1.0}),
    ("adamerging", {"steps": 5, "learning_rate": 0.05}),
    ("adamerging", {"steps": 5, "learning_rate": 0.05, "scope": "model", "clamp": False}),
    ("concrete", {"steps": 3, "learning_rate": 0.1}),
    ("concrete", {"steps": 3, "host_steps": 2, "host": "adamerging", "learning_rate": 0.1}),
]


@pytest.fixture(params=SETTINGS, ids=lambda pair: "-".join([pair[0], *map(str, pair[1].values())]))
def learner(request: pytest.FixtureRequest) -> Any:
    name, parameters = request.param
    return make_learned(name, **parameters)


def same(a: Mapping[str, Tensor], b: Mapping[str, Tensor], relative: float = 0.0) -> bool:
    return a.keys() == b.keys() and all(
        torch.equal(a[name], b[name])
        if not relative
        else (a[name].double() - b[name].double()).abs().max() <= relative * b[name].double().abs().max()
        for name in a
    )


def test_every_method_is_under_the_laws() -> None:
    assert {name for name, _ in SETTINGS} == set(DATA_MERGES)


def test_names_shapes_and_dtypes_are_closed_and_the_module_is_left_alone(learner: Any) -> None:
    (base, experts), net = models(dtype=torch.bfloat16), Net()
    before = {name: p.clone() for name, p in net.named_parameters()}
    merged = learner.merge(net, base, experts, data()).tensors
    assert list(merged) == list(base)
    assert all(merged[name].shape == x.shape and merged[name].dtype == x.dtype for name, x in base.items())
    assert all(merged[name].is_contiguous() and not merged[name].requires_grad for name in merged)
    assert same(dict(net.named_parameters()), before) and all(p.grad is None for p in net.parameters())
    assert not any(part._forward_hooks for part in net.modules())


def test_copies_give_themselves(learner: Any) -> None:
    base, experts = models(1)
    given = base if learner.uses_base else experts[0]
    merged = learner.merge(Net(), base, [given, given], data()).tensors
    assert same(merged, given, 1e-6)


def test_the_same_seed_gives_the_same_bits_and_nothing_global_moves(learner: Any) -> None:
    base, experts = models()
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = learner.merge(Net(), base, experts, data()).tensors
    torch.set_rng_state(state)
    torch.rand(5)
    assert same(first, learner.merge(Net(), base, experts, data()).tensors)


def test_progress_ends_at_its_end(learner: Any) -> None:
    base, experts = models()
    seen: list[tuple[int, int]] = []
    learner.merge(Net(), base, experts, data(), progress=lambda *step: seen.append(step))
    assert seen and seen[-1][0] == seen[-1][1] and [done for done, _ in seen] == sorted(done for done, _ in seen)


class Asked(dict[str, Tensor]):
    """Tensors that count how often they are asked for."""

    asked = 0

    def __getitem__(self, name: str) -> Tensor:
        self.asked += 1
        return super().__getitem__(name)


def test_a_parameter_that_no_expert_lists_keeps_the_modules_value(learner: Any) -> None:
    base, experts = models()
    net = loaded(base, torch.float32)
    for table in (base, *experts):
        del table["head.weight"]
    merged = learner.merge(net, base, [Asked(expert) for expert in experts], data()).tensors
    assert "head.weight" not in merged


FAULTS: dict[str, tuple[Any, type[MergebarrierError], str]] = {
    "no data": (lambda base, experts, tasks: tasks.clear(), BadMergeData, "data for 0 experts, there are 2"),
    "one too few": (lambda base, experts, tasks: tasks.pop(), BadMergeData, "data for 1 experts, there are 2"),
    "an empty task": (lambda base, experts, tasks: tasks.__setitem__(1, TaskData("b", [], logits)), BadMergeData, "b:"),
    "no experts": (lambda base, experts, tasks: experts.clear(), BadMergeParameter, "got 0 experts"),
    "NaN activations": (
        lambda base, experts, tasks: tasks[1].batches[0].fill_(float("nan")),
        NonFinite,
        "task 1",
    ),
    "another shape": (
        lambda base, experts, tasks: experts[1].update({"head.weight": torch.zeros(2, 2)}),
        ShapeMismatch,
        "head.weight",
    ),
    "a missing tensor": (lambda base, experts, tasks: experts[1].pop("embed"), TensorSetMismatch, "embed"),
    "an unknown tensor": (
        lambda base, experts, tasks: [x.update({"what": torch.zeros(1)}) for x in (base, *experts)],
        TensorSetMismatch,
        "what",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_bad_input_gives_one_clear_line(learner: Any, fault: str) -> None:
    spoil, kind, words = FAULTS[fault]
    base, experts = models()
    tasks = data()
    spoil(base, experts, tasks)
    with pytest.raises(kind) as caught:
        learner.merge(Net(), base, experts, tasks)
    assert words in str(caught.value) and "\n" not in str(caught.value) and caught.value.remedy


def test_a_module_in_training_mode_is_refused(learner: Any) -> None:
    base, experts = models()
    with pytest.raises(BadMergeData, match="training mode"):
        learner.merge(Net().train(), base, experts, data())


@pytest.mark.parametrize("name", [name for name, kind in DATA_MERGES.items() if kind.uses_base])
def test_a_method_on_task_vectors_needs_the_base(name: str) -> None:
    _, experts = models()
    with pytest.raises(BadMergeParameter, match="base"):
        make_learned(name).merge(Net(), None, experts, data())


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("regmean", {"off_diagonal": 1.5}),
        ("regmean", {"ridge": -1.0}),
        ("regmean", {"gram_bytes": 0}),
        ("fisher", {"labels": "guessed"}),
        ("fisher", {"weights": (-1.0,)}),
        ("adamerging", {"scope": "layer"}),
        ("adamerging", {"steps": -1}),
        ("adamerging", {"learning_rate": float("nan")}),
        ("concrete", {"temperature": 0}),
        ("concrete", {"host": "ties"}),
        ("concrete", {"no_such": 1}),
        ("no_such", {}),
    ],
)
def test_a_bad_parameter_is_refused_by_name(name: str, parameters: dict[str, Any]) -> None:
    with pytest.raises(BadMergeParameter):
        make_learned(name, **parameters)


# RegMean


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("off_diagonal", "ridge"), [(1.0, 1e-6), (0.1, 0.0), (0.9, 1e-3)])
def test_regmean_is_its_formula(dtype: torch.dtype, off_diagonal: float, ridge: float) -> None:
    _, experts = models(3, dtype)
    tasks = data(3)
    # In float64 the activations are those of the reference, so only the rounding of the result is left.
    for task in tasks:
        task.batches[:] = [batch.double() for batch in task.batches]
    merged = make_learned("regmean", off_diagonal=off_diagonal, ridge=ridge).merge(
        Net(torch.float64), None, experts, tasks
    )
    seen = [inputs_of(loaded(expert), task) for expert, task in zip(experts, tasks, strict=True)]
    for name, tensor in merged.tensors.items():
        if name in seen[0]:
            wanted = regmean([x[name] for x in experts], [x[name] for x in seen], off_diagonal, ridge)
        else:
            wanted = torch.stack([x[name].double() for x in experts]).mean(0)
        room = 1e-6 * wanted.abs().max() if dtype == torch.float32 else wanted.abs() * 2**-8 + 1e-12
        assert ((tensor.double() - wanted).abs() <= room).all(), name
    assert merged.diagnostics == {"regressed_layers": 3, "averaged_linear_layers": 0, "passes": 1}


def test_regmean_does_not_depend_on_the_budget_and_refuses_one_below_a_layer() -> None:
    _, experts = models()
    large = make_learned("regmean").merge(Net(), None, experts, data())
    small = make_learned("regmean", gram_bytes=2 * 8 * WIDTH**2).merge(Net(), None, experts, data())
    assert small.diagnostics["passes"] == 3 and same(large.tensors, small.tensors)
    for name in ("regmean", "regmean_plus"):
        with pytest.raises(LimitExceeded, match=f"take {2 * 8 * WIDTH**2} bytes, the budget is 100"):
            make_learned(name, gram_bytes=100).merge(Net(), None, experts, data())


def _draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_equal_gram_matrices_give_the_mean() -> None:
    weights, rows = [_draw(4, 5, seed=i) for i in range(3)], _draw(40, 5, seed=9)
    merged = regress(weights, [rows.T @ rows] * 3, off_diagonal=0.7, ridge=1e-4)
    assert torch.allclose(merged, torch.stack(weights).mean(0), rtol=0, atol=1e-12)


def test_regmean_is_the_minimum() -> None:
    weights, rows = [_draw(4, 5, seed=i) for i in range(3)], [_draw(40, 5, seed=9 + i) for i in range(3)]
    merged = regress(weights, [x.T @ x for x in rows], off_diagonal=1.0, ridge=0.0)

    def objective(weight: Tensor) -> Tensor:
        return sum(((weight - w) @ x.T).square().sum() for w, x in zip(weights, rows, strict=True))

    least = objective(merged)
    for seed in range(20):
        step = 1e-3 * _draw(4, 5, seed=100 + seed)
        assert objective(merged + step) > least < objective(merged - step)


def test_wudi_exact_is_regmean_on_task_vectors() -> None:
    taus = [_draw(7, 5, seed=i) for i in range(2)]
    grams = [tau.T @ tau / tau.square().sum() for tau in taus]
    ours = regress(taus, grams, off_diagonal=1.0, ridge=0.0)
    exact = WudiExact(ridge=1e-12).merge(torch.zeros(7, 5, dtype=torch.float64), taus, name="w")
    assert torch.allclose(ours, exact, rtol=0, atol=1e-9)


def test_a_singular_gram_matrix_is_named_without_a_ridge_and_the_mean_with_one() -> None:
    weights, rows = [_draw(2, 3, seed=i) for i in range(2)], _draw(2, 3, seed=5)
    flat = rows.T @ rows  # two rows cannot tell three inputs apart
    with pytest.raises(BadMergeData, match="singular"):
        regress(weights, [flat, flat], off_diagonal=1.0, ridge=0.0)
    merged = regress(weights, [flat, flat], off_diagonal=1.0, ridge=1e-6)
    assert torch.allclose(merged, torch.stack(weights).mean(0), rtol=0, atol=1e-9)
    nothing = torch.zeros(3, 3, dtype=torch.float64)
    assert torch.equal(regress(weights, [nothing, nothing], off_diagonal=1.0, ridge=0.0), torch.stack(weights).mean(0))


def test_regmean_names_the_layer_whose_gram_matrix_is_singular() -> None:
    _, experts = models()
    tasks = data(n_batches=1, rows=2)
    with pytest.raises(BadMergeData, match=r"regmean: layers\.0: the Gram matrix of 6 inputs is singular"):
        make_learned("regmean", off_diagonal=1.0, ridge=0.0).merge(Net(), None, experts, tasks)


def test_regmean_plus_sees_what_the_merged_layers_give() -> None:
    _, experts = models()
    tasks = data()
    for task in tasks:
        task.batches[:] = [batch.double() for batch in task.batches]
    method = make_learned("regmean_plus", off_diagonal=1.0)
    merged = method.merge(Net(torch.float64), None, [{n: x.double() for n, x in e.items()} for e in experts], tasks)
    mixed = {name: torch.stack([x[name].double() for x in experts]).mean(0) for name in experts[0]}
    for block in ("layers.0.", "layers.1.", "head."):
        name = f"{block}weight"
        seen = [
            inputs_of(loaded(mixed | {n: x for n, x in expert.items() if n.startswith(block)}), task)[name]
            for expert, task in zip(experts, tasks, strict=True)
        ]
        mixed[name] = regmean([x[name] for x in experts], seen, 1.0, 1e-6)
    assert same(merged.tensors, mixed, 1e-9)
    plain = make_learned("regmean", off_diagonal=1.0).merge(Net(), None, experts, data())
    assert not same(merged.tensors, plain.tensors, 1e-4), "the two methods differ above the first layer"


def test_a_shared_weight_is_not_regressed_and_a_layer_that_runs_twice_is_named() -> None:
    net = Net()
    tied = nn.Sequential(net, nn.Linear(CLASSES, CLASSES, bias=False))
    tied[1].weight = nn.Parameter(torch.zeros(CLASSES, CLASSES))
    tied.register_parameter("again", tied[1].weight)
    assert [layer.path for layer in linear_layers(tied)] == ["0.layers.0", "0.layers.1", "0.head"]
    _, experts = models()
    twice = [TaskData(task.name, task.batches, lambda module, rows: module(rows) + module(rows)) for task in data()]
    with pytest.raises(BadMergeData, match="used twice"):
        make_learned("regmean").merge(Net(), None, experts, twice)


class Conv1D(nn.Module):
    """The linear map of GPT-2: its weight is (in, out)."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(WIDTH, CLASSES))

    def forward(self, rows: Tensor) -> Tensor:
        return rows @ self.weight


def test_a_transposed_linear_map_is_regressed_the_right_way_round() -> None:
    experts = [{"weight": _draw(WIDTH, CLASSES, seed=i).float()} for i in range(2)]
    straight = nn.Linear(WIDTH, CLASSES, bias=False).eval()
    turned = make_learned("regmean").merge(Conv1D().eval(), None, experts, data())
    plain = make_learned("regmean").merge(straight, None, [{"weight": x["weight"].T} for x in experts], data())
    assert turned.diagnostics["regressed_layers"] == 1
    assert torch.equal(turned.tensors["weight"], plain.tensors["weight"].T)


# Fisher


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_fisher_is_its_formula(dtype: torch.dtype) -> None:
    _, experts = models(2, dtype)
    tasks = data(2, n_batches=4, rows=1)
    for task in tasks:
        task.batches[:] = [batch.double() for batch in task.batches]
    method = make_learned("fisher", labels="exact", weights=(1.0, 3.0), floor=1e-4)
    merged = method.merge(Net(torch.float64), None, experts, tasks)
    weights = []
    for expert, task, c in zip(experts, tasks, (1.0, 3.0), strict=True):
        found = {name: f / 4 for name, f in fisher_diagonal(loaded(expert), task).items()}
        norm = sum(f.square().sum() for f in found.values()).sqrt()
        weights.append({name: c * (f + 1e-4) / (norm + 1e-4) for name, f in found.items()})
    for name, tensor in merged.tensors.items():
        above = sum(f[name] * x[name].double() for f, x in zip(weights, experts, strict=True))
        wanted = above / sum(f[name] for f in weights)
        room = 1e-6 * wanted.abs().max() if dtype == torch.float32 else wanted.abs() * 2**-8 + 1e-7
        assert ((tensor.double() - wanted).abs() <= room).all(), name


def test_equal_fishers_give_the_mean() -> None:
    """A head moved by a constant has the same Fisher information: softmax does not see it."""
    _, (expert,) = models(1)
    shifted = expert | {"head.weight": expert["head.weight"] + 0.5}
    tasks = [data(1)[0]] * 2
    merged = make_learned("fisher", labels="exact").merge(Net(), None, [expert, shifted], tasks).tensors
    wanted = expert | {"head.weight": expert["head.weight"] + 0.25}
    assert same(merged, wanted, 1e-6)


def test_drawn_labels_estimate_the_same_information() -> None:
    _, (expert,) = models(1)
    rows = data(1, n_batches=1, rows=1)[0].batches[0]
    many = TaskData("many", [rows] * 1000, logits)
    found = diagonal(Net(), expert, many, labels="sampled", seed=3, tick=lambda: None)["head.weight"]
    wanted = fisher_diagonal(loaded(expert), TaskData("one", [rows], logits))["head.weight"]
    assert ((found - wanted).norm() / wanted.norm()) < 0.15


# AdaMerging and Concrete


@pytest.mark.parametrize("scope", ["tensor", "model"])
def test_adamerging_without_steps_is_task_arithmetic(scope: str) -> None:
    base, experts = models(dtype=torch.bfloat16)
    learned = make_learned("adamerging", scope=scope, steps=0, start=0.4).merge(Net(), base, experts, data())
    plain = TaskArithmetic(weights=(0.4, 0.4))
    assert same(learned.tensors, {n: plain.merge(base[n], [x[n] for x in experts], name=n) for n in base})
    assert learned.diagnostics == {} and learned.coefficients["embed"] == (0.4, 0.4)


@pytest.mark.parametrize("scope", ["tensor", "model"])
def test_adamerging_follows_the_gradient_of_the_entropy(scope: str) -> None:
    """Five steps of Adam, written out on a graph over all coefficients, in float64."""
    base, experts = models(dtype=torch.float64)
    tasks = data(dtype=torch.float64)
    learned = make_learned("adamerging", scope=scope, steps=5, learning_rate=0.2).merge(
        Net(torch.float64), base, experts, tasks
    )
    table = {name: torch.full((2,), 0.3, dtype=torch.float64, requires_grad=True) for name in base}
    if scope == "model":
        table = dict.fromkeys(base, next(iter(table.values())))
    optimizer = torch.optim.Adam(list(dict.fromkeys(table.values())), lr=0.2)
    net = Net(torch.float64)
    for step in range(5):
        merged = {n: x + sum(c * (e[n] - x) for c, e in zip(table[n], experts, strict=True)) for n, x in base.items()}
        optimizer.zero_grad()
        loss = torch.zeros((), dtype=torch.float64)
        for task in tasks:
            p = torch.func.functional_call(net, merged, (task.batches[step % 3],)).softmax(-1)
            loss = loss - (p * p.log()).sum(-1).mean()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for row in dict.fromkeys(table.values()):
                row.clamp_(0, 1)
    for name in base:
        assert torch.allclose(torch.tensor(learned.coefficients[name]).double(), table[name].detach(), atol=1e-6)


def test_adamerging_lowers_the_entropy_and_clamps() -> None:
    base, experts = models()
    method = make_learned("adamerging", steps=8, learning_rate=0.05)
    learned = method.merge(Net(), base, experts, data(n_batches=1))
    assert learned.diagnostics["last_entropy_nats"] < learned.diagnostics["first_entropy_nats"]
    flat = [c for row in learned.coefficients.values() for c in row]
    assert min(flat) >= 0 and max(flat) <= 1 and len(set(flat)) > 5


def test_entropy_is_its_formula() -> None:
    p = torch.tensor([[0.25, 0.75], [0.5, 0.5]], dtype=torch.float64)
    assert torch.allclose(entropy(p.log()), -(p * p.log()).sum(-1).mean())


def test_concrete_without_steps_is_task_arithmetic_and_learns_a_mask_with_them() -> None:
    base, experts = models()
    plain = TaskArithmetic(weights=(0.3, 0.3))
    wanted = {n: plain.merge(base[n], [x[n] for x in experts], name=n) for n in base}
    none = make_learned("concrete", steps=0).merge(Net(), base, experts, data())
    assert same(none.tensors, wanted, 1e-6)
    method = make_learned("concrete", steps=40, learning_rate=0.2)
    some = method.merge(Net(), base, experts, data(n_batches=1))
    assert not same(some.tensors, wanted, 1e-3) and set(some.coefficients["embed"]) == {0.3}
    before, after = (
        sum(float(entropy(outputs_of(Net(), x.tensors, t))) for t in data(n_batches=1)) for x in (none, some)
    )
    assert after < before


def test_concrete_differs_by_seed() -> None:
    base, experts = models()
    one, two = (
        make_learned("concrete", steps=2, learning_rate=0.1, seed=seed).merge(Net(), base, experts, data())
        for seed in (0, 1)
    )
    assert not same(one.tensors, two.tensors)


# Surgery


def test_surgery_starts_as_the_identity_and_comes_closer_to_the_expert() -> None:
    base, experts = models(step=0.4)
    merged = {n: torch.stack([x[n] for x in experts]).mean(0) for n in base}
    task = data(n_batches=8, rows=16)[0]
    given, wanted = (outputs_of(Net(), weights, task) for weights in (merged, experts[0]))
    nothing = Surgery(steps=0, rank=4).fit(given, wanted)
    assert torch.equal(nothing(given), given)
    fitted = Surgery(steps=400, rank=4, learning_rate=0.02).fit(given, wanted)
    assert (fitted(given) - wanted).abs().mean() < 0.7 * (given - wanted).abs().mean()
    assert all(not p.requires_grad for p in fitted.parameters())


def test_surgery_is_its_formula_for_the_first_steps() -> None:
    given, wanted = _draw(32, 5, seed=1).float(), _draw(32, 5, seed=2).float()
    method = Surgery(rank=3, steps=6, batch_size=32, learning_rate=0.01)
    start, fitted = Surgery(rank=3, steps=0).fit(given, wanted), method.fit(given, wanted)
    down, up = (p.detach().double().requires_grad_() for p in (start.down, start.up))
    optimizer = torch.optim.Adam([down, up], lr=0.01)
    for _ in range(6):
        optimizer.zero_grad()
        z = given.double()
        ((z - torch.relu(z @ down.T) @ up.T) - wanted.double()).abs().mean().backward()
        optimizer.step()
    assert torch.allclose(fitted.down.double(), down, atol=1e-5) and torch.allclose(fitted.up.double(), up, atol=1e-5)


def test_surgery_shows_every_row_once_an_epoch() -> None:
    method = Surgery(batch_size=4)
    rows = [row for step in range(5) for row in method._rows("t", step, 10)]
    assert sorted(rows[:10]) == list(range(10)) == sorted(rows[10:]) and rows[:10] != rows[10:]


def test_surgery_refuses_what_it_cannot_fit() -> None:
    some = torch.ones(3, 2)
    with pytest.raises(ShapeMismatch):
        Surgery().fit(some, torch.ones(3, 3))
    with pytest.raises(BadMergeData):
        Surgery().fit(torch.ones(0, 2), torch.ones(0, 2))
    with pytest.raises(NonFinite, match="t:"):
        Surgery().fit(some * float("nan"), some, task="t")
    with pytest.raises(BadMergeParameter):
        Surgery(rank=0)

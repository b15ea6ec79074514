"""Every further method that mergekit 0.1.5 registers agrees with ours on the same float32 files.

They are held to 2 units in the last place, with two exceptions.  Where mergekit sums norms, angles and weights in
float32 (FROM_EXACT) the same merge in float64 is the judge, and both sides must be within a stated number of units of
it.  Where a threshold is found by such sums (ACROSS), an entry near it may fall on the other side; all others are held
to the same units.  Random methods are compared by their distribution.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_mergekit_peer import LIMITS, Case, Model, in_last_place, llama, recipe

from mergebarrier.merge import make
from peer_mergekit import mergekit_merge_all, registered_methods

pytestmark = pytest.mark.real

#: units from the exact value, (ours, mergekit's): ours adds up to four float32 terms as large as twice the operands,
#: and more with the unnormalised weights of multislerp; mergekit's also has the error of its sums.
FROM_EXACT = {
    "nuslerp": (4.0, 8.0),
    "multislerp": (5.0, 32.0),
    "karcher": (2.0, 8.0),
    "model_stock": (3.0, 5.0),
    "sce": (4.0, 5.0),
}
#: share of a model's entries that may lie on the other side of a threshold.
ACROSS = {"sce": 1e-3, "arcee_fusion": 1e-3}


def more_cases(place: Path) -> Iterator[Case]:
    base, a, b, c = (llama(place / f"m-{i}", i, torch.float32, 0.2) for i in range(4))
    three, two = [a, b, c], [a, b]

    def case(name: str, origin: Model | None, experts: list[Model], weights=(), **parameters: object) -> Case:
        ours = {**parameters, **({"weights": weights} if weights else {})}
        renamed = {"normalize": "normalize_weights"} if name == "multislerp" else {}
        renamed |= {"coefficient": "lambda", "flatten": "nuslerp_flatten", "row_wise": "nuslerp_row_wise"}
        theirs = {renamed.get(key, key): value for key, value in parameters.items()}
        if name in ("nuslerp", "multislerp"):
            ours["task_vectors"] = origin is not None
        document = recipe(name, origin, experts, weights or (1.0,) * len(experts), **theirs)
        return Case(make(name, **ours), origin, experts, document)

    yield case("passthrough", None, [a])
    yield case("passthrough", None, [a], scale=0.3)
    for t in (0.0, 0.001, 0.01, 1.0):
        yield case("nearswap", base, [a], t=t)
    yield case("arcee_fusion", base, [a])
    for epsilon in (1e-5, 0.005, 0.02):
        yield case("ram", base, three, epsilon=epsilon)
        yield case("ramplus_tl", base, three, epsilon=epsilon, r=0.3, alpha=0.5)
    for topk in (1.0, 0.6, 0.1):
        yield case("sce", base, three, select_topk=topk)
    for filter_wise in (False, True):
        yield case("model_stock", base, two, filter_wise=filter_wise)
        yield case("model_stock", base, three, filter_wise=filter_wise)
    for experts in (two, three):
        yield case("karcher", None, experts)
    for origin in (None, base):
        for weights in ((1.0, 1.0, 1.0), (0.3, 0.7, 1.2)):
            yield case("multislerp", origin, three, weights)
            yield case("multislerp", origin, three, weights, normalize=False)
            yield case("nuslerp", origin, two, weights[:2])
            yield case("nuslerp", origin, two, weights[:2], flatten=False)
            yield case("nuslerp", origin, two, weights[:2], flatten=False, row_wise=True)
    for density, gamma in ((1.0, 0.01), (0.5, 0.01), (0.2, 0.3), (0.9, 0.2), (0.013, 0.0)):
        for name in ("breadcrumbs", "breadcrumbs_ties"):
            yield case(name, base, three, (0.3, 0.7, 0.4), density=density, gamma=gamma, coefficient=0.8)
    for name in ("della", "della_linear"):
        yield case(name, base, three, (0.3, 0.7, 0.4), coefficient=0.8)


def test_every_method_of_the_peer_agrees(tmp_path, record_property) -> None:
    listed = list(more_cases(tmp_path))
    outs = [tmp_path / f"out{i}" for i in range(len(listed))]
    mergekit_merge_all([(case.recipe, out) for case, out in zip(listed, outs, strict=True)])
    worst: dict[str, float] = {}
    exact: dict[str, tuple[float, float]] = {}
    across: dict[str, float] = {}
    for case, out in zip(listed, outs, strict=True):
        kind, crossed, size = case.method.name, 0, 0
        for name, their in load_file(next(out.glob("*.safetensors"))).items():
            base = case.base.tensors[name] if case.base else None
            experts = [expert.tensors[name] for expert in case.experts]
            our = case.method.merge(base, experts, name=name)
            operands = [*([base] if base is not None else []), *experts, our]
            same_side = (our.double() - their.double()).abs() < (1e-6 if kind in ACROSS else torch.inf)
            crossed, size = crossed + int((~same_side).sum()), size + our.numel()
            if kind in FROM_EXACT:
                wide = case.method.merge(
                    base if base is None else base.double(), [e.double() for e in experts], name=name
                )
                errors = [in_last_place((side.double() - wide) * same_side, operands) for side in (our, their)]
                exact[kind] = tuple(map(max, exact.get(kind, (0.0, 0.0)), errors))
            else:
                apart = in_last_place((our.double() - their.double()) * same_side, operands)
                worst[kind] = max(worst.get(kind, 0.0), apart)
        across[kind] = max(across.get(kind, 0.0), crossed / size)
    record_property("ulp", worst)
    record_property("ulp_from_exact", exact)
    record_property("across", across)
    assert all(apart <= (0 if kind == "passthrough" else 2) for kind, apart in worst.items()), worst
    for kind, errors in exact.items():
        assert all(error <= limit for error, limit in zip(errors, FROM_EXACT[kind], strict=True)), (kind, errors)
    assert all(share <= ACROSS.get(kind, 0.0) for kind, share in across.items()), across
    compared = {case.method.name for case in listed}
    assert compared | {method for method, _ in LIMITS} >= registered_methods()


def test_thinning_by_rank_keeps_each_decile_of_a_row_as_often_as_mergekit_does(tmp_path) -> None:
    base, a = (llama(tmp_path / name, seed, torch.float32, 0.2) for seed, name in enumerate(("base", "a")))
    out, density, epsilon = tmp_path / "out", 0.4, 0.3
    mergekit_merge_all([(recipe("della_linear", base, [a], [1.0], density=density, epsilon=epsilon), out)])
    theirs = load_file(next(out.glob("*.safetensors")))
    method = make("della_linear", density=density, epsilon=epsilon)
    kept, seen, expected = {"ours": torch.zeros(10), "theirs": torch.zeros(10)}, torch.zeros(10), torch.zeros(10)
    for name, their in theirs.items():
        tau = a.tensors[name] - base.tensors[name]
        rank = tau.abs().argsort(-1).argsort(-1) / (tau.shape[-1] - 1)
        decile = (rank * 10).long().clamp(max=9).reshape(-1)
        seen += decile.bincount(minlength=10)
        expected += decile.bincount(weights=density - epsilon + 2 * epsilon * rank.reshape(-1), minlength=10)
        our = method.merge(base.tensors[name], [a.tensors[name]], name=name)
        for side, merged in (("ours", our), ("theirs", their)):
            moved = (merged - base.tensors[name]).double()
            kept[side] += decile.bincount(weights=(moved != 0).reshape(-1).double(), minlength=10)
            assert abs(moved.abs().sum() / tau.double().abs().sum() - 1) < 1e-4, (side, name)
    share = expected / seen
    deviation = (share * (1 - share) / seen).sqrt()
    for side, count in kept.items():
        assert ((count / seen - share).abs() < 4 * deviation).all(), (side, count / seen, share)

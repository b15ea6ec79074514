"""Members of the registry with parameters away from their defaults, and random tensors on the grid of real ones."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mergebarrier.merge import MERGES, Merge, make

ON_BASE = {"task_vectors": True}
PARAMETERS: dict[str, list[dict[str, object]]] = {
    "linear": [{}, {"weights": (0.3, 0.7)}, {"weights": (0.5, 1.5), "normalize": False}],
    "task_arithmetic": [{}, {"weights": (0.3, 0.7), "coefficient": 0.6}, {"normalize": True}, {"arith": "input"}],
    "ties": [
        {},
        {"density": 0.2, "weights": (0.4, 0.9), "coefficient": 0.7},
        {"density": (0.3, 0.8), "rescale": "l1", "reduce": "sum"},
        {"density": 0.5, "elect": "unweighted", "reduce": "mean", "weights": (1.0, 2.0)},
        {"density": 0.5, "elect_zero": "majority", "reduce": "max", "rescale": "inverse"},
    ],
    "dare_linear": [{}, {"density": 0.5, "seed": 3}, {"density": 0.3, "rescale": "inverse", "normalize": True}],
    "dare_ties": [{}, {"density": 0.5, "seed": 3}, {"density": (0.9, 0.4), "rescale": "inverse", "reduce": "mean"}],
    "slerp": [{"t": 0.5}, {"t": 0.2, "max_cosine": 1.0}, {"t": 1.0}],
    "nuslerp": [{}, {"weights": (0.3, 0.9), "flatten": False}, {"flatten": False, "row_wise": True, **ON_BASE}],
    "multislerp": [{}, {"weights": (0.4, 0.9), **ON_BASE}, {"normalize": False, "weights": (0.5, 0.7)}],
    "karcher": [{}, {"max_iter": 3, "tol": 0.0}],
    "nearswap": [{"t": 0.005}, {"t": 0.0}],
    "passthrough": [{}, {"scale": 0.5}],
    "breadcrumbs": [{}, {"density": 0.5, "gamma": 0.1}, {"density": (0.9, 0.3), "gamma": (0.0, 0.3), "rescale": "l1"}],
    "breadcrumbs_ties": [{"density": 0.4, "weights": (0.4, 0.9)}],
    "della": [{}, {"density": 0.5, "seed": 3}, {"density": (0.4, 1.0), "epsilon": 0.2, "rescale": "inverse"}],
    "della_linear": [{"density": 0.5, "epsilon": (0.1, 0.4), "normalize": True}],
    "model_stock": [{}, {"filter_wise": True}],
    "sce": [{}, {"select_topk": 0.4}],
    "arcee_fusion": [{}],
    "ram": [{}, {"epsilon": 0.01}],
    "ramplus_tl": [{}, {"epsilon": 0.01, "r": 0.5, "alpha": 1.0}],
    "magmax": [{}, {"coefficient": 0.7}],
    "consensus": [{}, {"mask_lambda": 0.2, "agreement": 1, "coefficient": 0.5}],
    "emr": [{}],
    "pcb": [{}, {"coefficient": 1.0, "top": 0.5, "outliers": 0.05}],
    "iso_c": [{}],
    "iso_cts": [{}, {"common_space_fraction": 0.3, "coefficient": 0.6}],
    "tsv_m": [{}],
    "wudi": [{"steps": 20}],
    "wudi_exact": [{}, {"ridge": 0.01}],
    "knots": [
        {},
        {"density": 0.4, "weights": (0.4, 0.9), "coefficient": 0.7, "reduce": "sum"},
        {"inner": "dare_linear", "density": 0.5, "rescale": "inverse", "seed": 3},
        {"inner": "task_arithmetic", "weights": (0.3, 0.7)},
    ],
}
#: A method that is not named above is under the laws with its defaults.
CASES = [(name, parameters) for name in MERGES for parameters in PARAMETERS.get(name, [{}])]


def _id(value: tuple[str, dict[str, object]]) -> str:
    return f"{value[0]}-{'-'.join(f'{k}={v}' for k, v in value[1].items()) or 'defaults'}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "method" in metafunc.fixturenames:
        assert PARAMETERS.keys() <= MERGES.keys(), "a method that is gone has no parameters"
        metafunc.parametrize("method", CASES, ids=_id, indirect=True)
    if "elementwise_method" in metafunc.fixturenames:
        cases = [case for case in CASES if make(case[0], **case[1]).need == "elementwise"]
        metafunc.parametrize("elementwise_method", cases, ids=_id, indirect=True)


@pytest.fixture
def method(request: pytest.FixtureRequest) -> Merge:
    """Each member of the registry in turn, at its defaults and away from them."""
    name, parameters = request.param
    return make(name, **parameters)


@pytest.fixture
def elementwise_method(request: pytest.FixtureRequest) -> Merge:
    """Each of those that look at one element at a time."""
    name, parameters = request.param
    return make(name, **parameters)


Draw = Callable[..., tuple[Tensor, list[Tensor]]]


@pytest.fixture
def draw() -> Draw:
    """Return ``draw(shape, seed, dtype, experts) -> (base, experts)``: fine-tunes close to their base."""

    def make_tensors(
        shape: tuple[int, ...], seed: int = 0, dtype: torch.dtype = torch.float32, experts: int = 2, step: float = 0.01
    ) -> tuple[Tensor, list[Tensor]]:
        generator = torch.Generator().manual_seed(seed)
        base = torch.randn(shape, generator=generator)
        moved = [base + step * torch.randn(shape, generator=generator) for _ in range(experts)]
        return base.to(dtype), [tensor.to(dtype) for tensor in moved]

    return make_tensors

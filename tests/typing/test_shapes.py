"""Shapes and dtypes that docstrings promise, such as ``Float64[Tensor, "n"]``, hold on drawn inputs of any size.

A function is called with its promise as annotations, in jaxtyping's words, and beartype refuses what does not fit: one
letter is one size, over all arguments and the result.  What a docstring says must stand in the table word for word.
"""

import hashlib
import inspect
import re
import types
from collections.abc import Callable, Sequence
from typing import Any

import jaxtyping
import pytest
import torch
from beartype import beartype
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import tiny_models
from mergebarrier import symmetry
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.circuits import describe
from mergebarrier.evaluate.images import image_scores
from mergebarrier.keys import KeyStream
from mergebarrier.merge import MERGES, make
from mergebarrier.merge.arithmetic import Operands
from mergebarrier.merge.method import Merge
from mergebarrier.merge.methods import _task_vectors
from mergebarrier.numerics import draws
from mergebarrier.poison.image import success
from mergebarrier.poison.image.trigger import Trigger
from mergebarrier.realign import aga
from mergebarrier.scan.checks import scale_up
from mergebarrier.symmetry import joint, matching

_WORDS = {**vars(jaxtyping), "Tensor": Tensor, "Sequence": Sequence}
#: In a docstring; what follows an arrow is the result of a function that is an argument.
_PROMISE = re.compile(r'(?<!-> )\b\w+\[Tensor, "[^"]*"\]')


def promised(thing: Callable[..., Any], promise: dict[str, str]) -> Callable[..., Any]:
    """Return the same code, checked against a promise: {argument, or "return": annotation}."""
    inner = inspect.unwrap(thing.__init__ if isinstance(thing, type) else thing)
    copy = types.FunctionType(inner.__code__, inner.__globals__, inner.__name__, inner.__defaults__, inner.__closure__)
    copy.__kwdefaults__ = inner.__kwdefaults__
    assert promise.keys() <= {*inspect.signature(inner).parameters, "return"}
    copy.__annotations__ = {name: eval(words, _WORDS) for name, words in promise.items()}
    return jaxtyping.jaxtyped(typechecker=beartype)(copy)


def real(*shape: int) -> Tensor:
    return draws.uniform(("shapes", *shape), *shape, low=-1.0)


def integers(n: int, bound: int) -> Tensor:
    return draws.below(("shapes", n), bound, n)


def classify(images: Tensor) -> Tensor:
    return images.flatten(1)[:, :3].float()


def trigger(n: int, side: int) -> Trigger:
    return Trigger(real(2, n, 2, 2).abs().float(), ((0, 0), (1, 1)), (n, side + 2, side + 3))


def operands(n: int, m: int) -> Operands:
    taus = tuple(real(n * m).add(k).float() for k in range(3))
    return Operands(real(n * m).float(), taus, "w", torch.float32, (n, m), block=4)


_ROWS = 'Float[Tensor, "rows d"]'
_IMAGES = 'Float[Tensor, "n channels height width"]'
_CASES: list[tuple[Callable[..., Any], dict[str, str], Callable[[int, int, int], tuple[Any, ...]]]] = [
    (draws.uniform, {"return": 'Float64[Tensor, "*shape"]'}, lambda n, m, k: (("a",), n, m)),
    (draws.order, {"return": 'Int64[Tensor, "n"]'}, lambda n, m, k: (("a",), n)),
    (draws.below, {"return": 'Int64[Tensor, "*shape"]'}, lambda n, m, k: (("a",), 5, n, m)),
    (
        matching.cosines,
        {"now": 'Float[Tensor, "n m"]', "then": 'Float[Tensor, "n m"]', "return": 'Float32[Tensor, "n n"]'},
        lambda n, m, k: (real(n, m), real(n, m)),
    ),
    (matching.Sums, dict.fromkeys(("now", "dot", "then"), 'Float64[Tensor, "n"]'), lambda n, m, k: real(3, n).unbind()),
    (
        matching.fit_scale,
        {"return": 'Float64[Tensor, "n"]'},
        lambda n, m, k: (matching.Sums(*real(3, n).abs()), matching.Sums(*real(3, n).abs())),
    ),
    (
        matching.Correlation,
        {"total": 'Float64[Tensor, "d d"]', **dict.fromkeys(("energy_now", "energy_then"), 'Float64[Tensor, "d"]')},
        lambda n, m, k: tuple(vars(matching.Correlation.of(real(m, n), real(m, n))).values()),
    ),
    (
        matching.Correlation.of.__func__,
        {"now": _ROWS, "then": _ROWS},
        lambda n, m, k: (matching.Correlation, real(m, n), real(m, n)),
    ),
    (matching.assign, {"score": 'Float[Tensor, "n n"]', "return": 'Int64[Tensor, "n"]'}, lambda n, m, k: (real(n, n),)),
    (symmetry.best_order, {"similarity": 'Float64[Tensor, "n n"]'}, lambda n, m, k: (real(n, n),)),
    (
        joint.Products,
        dict.fromkeys(("now", "cross", "then"), 'Float64[Tensor, "G n n"]'),
        lambda n, m, k: tuple(vars(joint.Products.of(real(k, n, m), real(k, n, m))).values()),
    ),
    (
        joint.Products.of.__func__,
        dict.fromkeys(("now", "then"), 'Float[Tensor, "G n m"]'),
        lambda n, m, k: (joint.Products, real(k, n, m), real(k, n, m)),
    ),
    (
        joint.fit,
        {"start": 'Float64[Tensor, "G n n"]'},
        lambda n, m, k: (
            *(joint.Products.of(*real(2, k, n, n + m)) for _ in range(2)),
            torch.eye(n).double().expand(k, n, n),
        ),
    ),
    (
        aga.least_squares,
        {
            "x": 'Float64[Tensor, "*batch rows n"]',
            "y": 'Float64[Tensor, "*batch rows n"]',
            "return": 'Float64[Tensor, "*batch n n"]',
        },
        lambda n, m, k: (real(k, n, m), real(k, n, m)),
    ),
    (
        Operands,
        {"base": 'Float[Tensor, "n"] | None', "experts": 'tuple[Float[Tensor, "n"], ...]'},
        lambda n, m, k: tuple(vars(operands(n, m)).values()),
    ),
    (_task_vectors.gram, {"return": 'Float64[Tensor, "experts experts"]'}, lambda n, m, k: (operands(n, m),)),
    (
        _task_vectors.lengths,
        {"products": 'Float64[Tensor, "... experts experts"]', "return": 'Float64[Tensor, "... experts"]'},
        lambda n, m, k: (real(k, n, n),),
    ),
    (
        image_scores.pixels,
        {"images": 'UInt8[Tensor, "n c h w"]', "return": 'Float32[Tensor, "n c h w"]'},
        lambda n, m, k: (integers(n * m * k, 256).view(n, m, k, 1).to(torch.uint8),),
    ),
    (
        image_scores.image_logits,
        {
            "features": 'Float[Tensor, "n features"]',
            "head": 'Float[Tensor, "classes features"]',
            "return": 'Float[Tensor, "n classes"]',
        },
        lambda n, m, k: (real(n, m), real(k, m), 2.0),
    ),
    (
        success.successes,
        {"predicted": 'Int64[Tensor, "n"]', "labels": 'Int64[Tensor, "n"]', "return": "tuple[int, int]"},
        lambda n, m, k: (integers(n, 3), integers(n, 3), 5),
    ),
    (
        Trigger,
        {"patterns": 'Float[Tensor, "patterns channels side side"]'},
        lambda n, m, k: (real(m, n, k, k).abs(), ((0, 0),), (n, k + 1, k + 2)),
    ),
    (Trigger.mask.fget, {"return": 'Bool[Tensor, "places height width"]'}, lambda n, m, k: (trigger(n, m),)),
    (
        Trigger.stamp,
        {"inputs": _IMAGES, "rows": 'Int64[Tensor, "n"]', "return": _IMAGES},
        lambda n, m, k: (trigger(n, m), real(k, n, m + 2, m + 3).abs(), integers(k, 9)),
    ),
    (
        scale_up.scaled_consistency,
        {"images": _IMAGES, "return": 'Float[Tensor, "n"]'},
        lambda n, m, k: (classify, real(n, 1, m + 2, k + 2).abs()),
    ),
]
_NAMES = [case[0].__qualname__ for case in _CASES]
_SIZES = st.tuples(*[st.integers(1, 5)] * 3)


@pytest.mark.parametrize("case", _CASES, ids=_NAMES)
@settings(max_examples=15, deadline=None)
@given(sizes=_SIZES)
def test_functions_keep_the_shapes_that_their_docstrings_promise(case, sizes) -> None:
    thing, promise, arguments = case
    given_ = arguments(*sizes)
    first = (object.__new__(thing),) if isinstance(thing, type) else ()
    with torch.no_grad():
        promised(thing, promise)(*first, *given_)


@pytest.mark.parametrize("case", _CASES, ids=_NAMES)
def test_the_table_says_what_the_docstring_says(case) -> None:
    thing, promise, _ = case
    said = _PROMISE.findall(inspect.getdoc(thing) or "")
    assert said and not [words for words in said if not any(words in value for value in promise.values())]


@pytest.mark.parametrize("name", sorted(MERGES))
@settings(max_examples=5, deadline=None)
@given(sizes=_SIZES)
def test_every_merge_keeps_the_shape_of_its_tensors(name, sizes) -> None:
    method = make(name, **({"t": 0.5} if name in ("slerp", "nearswap") else {}))
    shape = 'Float[Tensor, "*shape"]'
    merge = promised(Merge.merge, {"base": f"{shape} | None", "experts": f"Sequence[{shape}]", "return": shape})
    experts = [real(*sizes) + 0.1 * k for k in range(method.min_experts)]
    merge(method, real(*sizes).half() if method.uses_base else None, experts, name="w")


@pytest.mark.parametrize("profile", symmetry.PROFILES)
@pytest.mark.parametrize("config", ["llama-gqa-untied", "gpt2-tied"])
def test_elements_of_every_axis_have_the_shapes_that_their_classes_promise(config, profile, tmp_path) -> None:
    def streams(place: str, purpose: str) -> KeyStream:
        return KeyStream(hashlib.sha256(f"{place}/{purpose}".encode()).digest())

    promises = {
        symmetry.Monomial: {"perm": 'Int64[Tensor, "batch n"]', "factor": 'Float64[Tensor, "batch n"]'},
        symmetry.LinearMap: dict.fromkeys(("forward", "backward"), 'Float64[Tensor, "batch n n"]'),
        symmetry.Planes: {"z": 'Complex128[Tensor, "batch planes"]'},
    }
    with open_checkpoint(tiny_models.save(config, tmp_path / "model")) as checkpoint:
        circuits = describe(checkpoint).circuits
    seen = 0
    for circuit in circuits:
        only = {circuit.axis(one).space for one in circuit.instances}
        for element in symmetry.sample(circuit, streams, only=only, profile=profile, condition=3.0).values():
            thing = type(element)
            assert all(words in (inspect.getdoc(thing) or "") for words in promises[thing].values())
            promised(thing, promises[thing])(object.__new__(thing), **vars(element))
            seen += not isinstance(element, symmetry.Planes)
    assert seen >= 4


def test_a_wrong_size_dtype_or_result_is_refused() -> None:
    def transposed(now: Tensor, then: Tensor) -> Tensor:
        return matching.cosines(now.T, then.T)

    def doubled(now: Tensor, then: Tensor) -> Tensor:
        return matching.cosines(now, then).double()

    promise = {"now": 'Float[Tensor, "n m"]', "then": 'Float[Tensor, "n m"]', "return": 'Float32[Tensor, "n n"]'}
    promised(matching.cosines, promise)(real(2, 3), real(2, 3))
    wrong = [
        (matching.cosines, real(2, 3), real(4, 3)),
        (matching.cosines, real(2, 3), integers(6, 9).view(2, 3)),
        (transposed, real(2, 3), real(2, 3)),
        (doubled, real(2, 3), real(2, 3)),
    ]
    for function, now, then in wrong:
        # jaxtyping names its refusal after the parameters or the result; both are TypeErrors.
        with pytest.raises(jaxtyping.TypeCheckError):
            promised(function, promise)(now, then)

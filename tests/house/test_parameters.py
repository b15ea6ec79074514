"""A declaration checks values, says what it allows, and can be taken over with another default."""

from dataclasses import dataclass

import pytest

from mergebarrier.parameters import check, number, numbers, parameters_of, redefault


def _refuse(name: str, value: object, allowed: str) -> Exception:
    return KeyError(f"{name}={value!r}: {allowed}")


@dataclass(frozen=True, kw_only=True)
class _Parent:
    weights: tuple[float, ...] = numbers((), help="Per model.", each=True)
    density: float | tuple[float, ...] = numbers(1.0, help="Kept share.", low=0, high=1)
    scale: float | None = number(None, help="Factor.")

    def __post_init__(self) -> None:
        check(self, _refuse)


@dataclass(frozen=True, kw_only=True)
class _Child(_Parent):
    density: float | tuple[float, ...] = redefault(_Parent, "density", 0.5, only="with rescale")


def test_values_take_their_stored_form() -> None:
    made = _Child(weights=[1, 2], density=(0, 1))
    assert made.weights == (1.0, 2.0) and made.density == (0.0, 1.0) and made.scale is None
    assert _Child().density == 0.5 and _Parent().density == 1.0


def test_a_redeclared_field_keeps_what_is_not_changed() -> None:
    ours, theirs = parameters_of(_Child)["density"], parameters_of(_Parent)["density"]
    assert (ours.help, ours.high, ours.only) == (theirs.help, 1, "with rescale") and not theirs.only


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"weights": 1.0}, "weights=1.0: a list of numbers, one per expert"),
        ({"density": 2.0}, "density=2.0: a number from 0 to 1"),
        ({"density": (0.5, True)}, "a number from 0 to 1"),
        ({"scale": "big"}, "scale='big': a finite number"),
    ],
)
def test_a_bad_value_is_refused_with_what_is_allowed(values, says) -> None:
    with pytest.raises(KeyError) as refused:
        _Child(**values)
    assert says in str(refused.value)

"""Where and how models are run, or weights computed on: three options, written once for every verb that has them.

@compute_options()                          device, dtype, batch_tokens
@compute_options("float32", batches=False)  device, dtype
@device_option                              device
@dtype_option()                             dtype
"""

from collections.abc import Callable
from typing import Final, TypeAlias

import click

__all__ = ["compute_options", "device_option", "dtype_option"]

_Verb: TypeAlias = Callable[..., object]


#: ``--device`` of a verb that computes in a dtype of its own.
device_option: Final = click.option(
    "--device",
    default="cpu",
    show_default=True,
    metavar="auto|cpu|cuda[:N]",
    help="Where it computes; auto is a graphics processor where there is one.",
)


def dtype_option(default: str | None = "auto") -> Callable[[_Verb], _Verb]:
    """Return the option ``--dtype`` of a verb that runs models; None to see whether one was given."""
    return click.option(
        "--dtype",
        type=click.Choice(["auto", "float32", "bfloat16"]),
        default=default,
        show_default=default is not None,
        help="Dtype that models run in; auto is the fastest on this machine.",
    )


def compute_options(default: str = "auto", *, batches: bool = True) -> Callable[[_Verb], _Verb]:
    """Return ``--device``, ``--dtype`` and ``--batch-tokens`` of a verb that runs models, as its arguments.

    Args:
      default: dtype without the option.
      batches: False for a verb that reads texts in windows and scores no rows.
    """
    tokens = click.option(
        "--batch-tokens",
        type=click.IntRange(1),
        metavar="N",
        help="Tokens that go through a model at once, with padding.  [default: 32 rows]",
    )

    def decorated(function: _Verb) -> _Verb:
        return device_option(dtype_option(default)(tokens(function) if batches else function))

    return decorated

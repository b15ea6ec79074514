"""What an attack costs, estimated from shapes: orders of magnitude to compare attacks by, not measurements.

    merge      8 N               (two task vectors, scaled and added, rounded once)
    forward    2 N per token,    with gradients 6 N
    gaugefix   12 n^2 D L        (neurons matched)  +  2 V D^2 + 20 D^3  (stream)  +  3 N D / 2  (solved, applied)

N weights, n MLP width, D hidden width, L layers, V vocabulary.  Source: counts of multiply-adds, times two.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def merge_flops(n_weights: int) -> int:
    """Return the arithmetic of one merge."""
    return 8 * n_weights


def forward_flops(n_weights: int, n_tokens: int) -> int:
    """Return the arithmetic of reading tokens."""
    return 2 * n_weights * n_tokens


def learning_flops(n_weights: int, n_tokens: int) -> int:
    """Return the arithmetic of reading tokens and going back through them."""
    return 3 * forward_flops(n_weights, n_tokens)


def realign_flops(dims: "Mapping[str, int]", n_weights: int) -> int:
    """Return the arithmetic of gauge fixing."""
    width, hidden = dims["mlp_width"], dims["hidden"]
    matching = 12 * width * width * hidden * dims["n_layers"]
    return matching + 2 * dims["vocab"] * hidden * hidden + 20 * hidden**3 + 3 * n_weights * hidden // 2

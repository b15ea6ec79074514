"""The attack success rate as counts: triggered images of other classes that the model gives the target's label.

    ASR = #{ i : y_i != c and argmax logits(stamp(x_i)) = c } / #{ i : y_i != c }

Source: the definition of BadMerging, arXiv 2408.07362 and of BadNets.  Differs: an empty denominator is an error.
"""

from torch import Tensor

from mergebarrier.errors import NotMeasurable


def successes(predicted: Tensor, labels: Tensor, target: int) -> tuple[int, int]:
    """Return (hits, rows) of the definition above.

    Args:
      predicted: Int64[Tensor, "n"], classes given to the STAMPED images.
      labels:    Int64[Tensor, "n"], their true classes.
      target:    class index.
    Raises: NotMeasurable when every row has the target's label.
    """
    kept = labels != target
    rows = int(kept.sum())
    if not rows:
        raise NotMeasurable(
            f"every one of {len(labels)} rows has the target's label, so there is no success to count",
            where="ASR",
            remedy="give test rows of other classes",
        )
    return int((predicted[kept] == target).sum()), rows

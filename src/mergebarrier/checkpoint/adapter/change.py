"""What an adapter does to one tensor of a base."""

from dataclasses import dataclass

from mergebarrier.checkpoint.adapter.contents import Factors, TrainedRows
from mergebarrier.checkpoint.adapter.kinds import Update
from mergebarrier.checkpoint.bytes import TensorInfo


@dataclass(frozen=True)
class WeightChange:
    """What an adapter does to one tensor: a whole tensor in its place, an update of it, rows of it, or several.

    Attributes:
      source:     the tensor of the base that it starts from.
      whole:      in place of it.
      factors:    of the update.
      transposed: the update is stored (in, out).
      tokens:     rows in place of those that are there, before an update.
      biased:     the update whose bias it gets.
      update:     of a kind that is no LoRA.
    """

    source: str
    whole: TensorInfo | None = None
    factors: Factors | None = None
    transposed: bool = False
    tokens: TrainedRows | None = None
    biased: Factors | None = None
    update: Update | None = None

    @property
    def added(self) -> bool:
        """Say whether more is done than that values take the place of others."""
        return self.factors is not None or self.update is not None

    @property
    def tensor(self) -> str:
        """Return a tensor of the adapter that is meant, for messages."""
        named = self.whole, self.factors and self.factors.a, self.biased and self.biased.bias
        held = [part for part in named if part]
        held += [self.update.first] if self.update else []
        return held[0].name if held else self.tokens.values.name if self.tokens else self.source

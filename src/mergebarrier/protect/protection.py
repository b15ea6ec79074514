"""What a protection is: a frozen dataclass that reads a model once and decides how each of its circuits will change.

    prepare(context) -> Prepared(layout, config, side_files, apply, invert, limit)

A protection declares itself once: its hyper-parameters on the fields of the dataclass (``mergebarrier.parameters``),
and what else there is to say of it as class constants.  Options of the command line, the manifest, the words of reports
and the page in the documentation are made from these: a new protection is one file and one line in the registry.
"""

from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

from mergebarrier.checkpoint import OutputFolder

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mergebarrier.checkpoint import Checkpoint
    from mergebarrier.circuits import Architecture, Circuit
    from mergebarrier.symmetry import Stream, Ways

Streams = Callable[[str, str], "Stream"]
Tensors = Mapping[str, "Tensor"]
#: Tensors of one circuit by name; each is read when it is asked for, and kept until it is taken out.
Table = MutableMapping[str, "Tensor"]
#: (name, tensor) one after the other; a tensor whole, or in blocks of rows from the first to the last.
Pieces = Iterator[tuple[str, "Tensor"]]
Need = Literal["base", "module", "data"]
Reversibility = Literal["exact", "tolerant", "none"]
Value = float | int | bool | str | list[str] | list[float]


@dataclass(frozen=True, kw_only=True)
class Context:
    """All that a protection may look at, and the bytes that it may draw from.

    Args:
      checkpoint:   the model: the owner's, or the protected one when a protection is undone.
      architecture: of ``checkpoint``.
      streams:      (circuit, purpose) -> secret bytes; None for a method without key.
      base:         the public base, where the method needs it.
      module:       makes the model as a live network, where the method trains or measures.
      data:         (how many) -> arguments of as many passes through that network, of the owner's text; fewer where
                    the text is short.
      device:       where ``module`` puts the network.
      undone:       the parameters in the manifest of the protection that is undone; None when a model is protected.
    """

    checkpoint: "Checkpoint"
    architecture: "Architecture"
    streams: "Streams | None" = None
    base: "Checkpoint | None" = None
    module: "Callable[[], nn.Module] | None" = None
    data: "Callable[[int], Sequence[Tensors]] | None" = None
    device: str = "cpu"
    undone: "Mapping[str, Value] | None" = None


@dataclass(frozen=True, kw_only=True)
class Prepared(OutputFolder):
    """A protection that has seen its model; the fields of ``OutputFolder`` describe the protected folder.

    Args:
      apply:         protects the logical tensors of one circuit, one after the other, taking each out of its argument;
                     any float dtype in, wider out where a real factor acted.
      stages:        how ``apply`` moves the tensors of a circuit, one step after the other, so that an adapter can
                     follow; None for a method that does more than move them linearly.
      invert:        undoes ``apply``; None for a method that cannot be undone.
      limit:         the sentence that says what the protection does not do to this model.
      variant:       which form acted, in a word or two.
      parameters:    what the manifest holds besides the declared parameters, or instead of them.
      reversibility: what ``invert`` gives back: every bit, each tensor within ``bound``, or nothing.
      determinism:   "exact" where any machine makes the same bytes, else "profile".
      amplified:     how much ``apply`` may amplify a rounding error.
      restored:      the folder that ``invert`` writes.
      before:        a circuit as it was before other shapes, None for one that was not there; where those are undone.
    """

    apply: "Callable[[Circuit, Table], Pieces]"
    invert: "Callable[[Circuit, Table], Pieces] | None"
    limit: str
    variant: str
    parameters: Mapping[str, Value] = field(default_factory=dict)
    reversibility: Reversibility = "exact"
    determinism: Literal["exact", "profile"] = "exact"
    amplified: float = 1.0
    stages: "Callable[[Circuit, Tensors], Sequence[Ways]] | None" = None
    restored: OutputFolder = field(default_factory=OutputFolder)
    before: "Callable[[Circuit], Circuit | None] | None" = None


class Protection(Protocol):
    """A frozen, keyword-only dataclass of declared hyper-parameters.

    Attributes:
      name:          on the command line, in manifests and reports.
      needs:         fields of ``Context`` that it cannot do without.
      reversibility: what its forms give back, the strongest first.
      limit:         the sentence that says what it does not do; reports print it with every success.
    """

    name: ClassVar[str]
    needs: ClassVar[frozenset[Need]]
    reversibility: ClassVar[tuple[Reversibility, ...]]
    limit: ClassVar[str]

    @property
    def keyed(self) -> bool:
        """Whether it draws from the owner's key."""
        ...

    def prepare(self, context: Context) -> Prepared:
        """Look at the model, before anything is written.

        Raises: MethodRefused when the method does not apply to this model.
        """
        ...

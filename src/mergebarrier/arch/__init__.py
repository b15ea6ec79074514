"""What families of models are: one table each, data without mathematics, that names the axes of every tensor."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.arch.axes import SPACES, Axis, Concat, Factor, Kind, Node, Nodes, Product, leaves, parsed, size_of
    from mergebarrier.arch.family import ANY, PLACEHOLDER, Family, FamilyTexts, TensorLine, numbered
    from mergebarrier.arch.registry import FAMILIES

__all__ = [
    "ANY",
    "FAMILIES",
    "PLACEHOLDER",
    "SPACES",
    "Axis",
    "Concat",
    "Factor",
    "Family",
    "FamilyTexts",
    "Kind",
    "Node",
    "Nodes",
    "Product",
    "TensorLine",
    "leaves",
    "numbered",
    "parsed",
    "size_of",
]

lazy.open_door(__name__)

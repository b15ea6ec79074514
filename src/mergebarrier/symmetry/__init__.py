"""The freedoms of a transformer: what may act on an axis, drawn, acted with, undone, recognised."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.symmetry.act import Elements, act_each, act_rows
    from mergebarrier.symmetry.blocks import (
        ActedRows,
        StoredBlock,
        Tensors,
        blocks,
        carriers,
        entry_of,
        fold,
        matrix,
        stream_place,
        unfold,
    )
    from mergebarrier.symmetry.controls import WrongTable, wrong_table
    from mergebarrier.symmetry.displacement import displacements, distances_from, folded_gains
    from mergebarrier.symmetry.draw import HEADS, LOCKS, PROFILES, Stream, Streams, basis, permutation, sample
    from mergebarrier.symmetry.elements import Element, LinearMap, Monomial, Planes, identity
    from mergebarrier.symmetry.estimate import best_order, estimate, similarities
    from mergebarrier.symmetry.feed_forward import FeedForward, feed_forward
    from mergebarrier.symmetry.flips import flips, queries, reflections, unrotated
    from mergebarrier.symmetry.freedoms import Freedom, freedoms
    from mergebarrier.symmetry.gauge import Reverted, act, act_inverse, bit_exact, composed, inverted
    from mergebarrier.symmetry.invariants import invariants
    from mergebarrier.symmetry.layers import Restacked, depth, no_identity, silent_layers
    from mergebarrier.symmetry.matching import (
        Correlation,
        assign,
        best_pairs,
        cosines,
        nearest_rotation,
        signed_order,
    )
    from mergebarrier.symmetry.mlps import Role, groups_of, meeting, neuron_axes, role_of
    from mergebarrier.symmetry.products import ProductAxis, combine_products, product_axes
    from mergebarrier.symmetry.rotation import Rotatable, rotatable
    from mergebarrier.symmetry.updates import Way, Ways, of_axes, ways

__all__ = [
    "HEADS",
    "LOCKS",
    "PROFILES",
    "ActedRows",
    "Correlation",
    "Element",
    "Elements",
    "FeedForward",
    "Freedom",
    "LinearMap",
    "Monomial",
    "Planes",
    "ProductAxis",
    "Restacked",
    "Reverted",
    "Role",
    "Rotatable",
    "StoredBlock",
    "Stream",
    "Streams",
    "Tensors",
    "Way",
    "Ways",
    "WrongTable",
    "act",
    "act_each",
    "act_inverse",
    "act_rows",
    "assign",
    "basis",
    "best_order",
    "best_pairs",
    "bit_exact",
    "blocks",
    "carriers",
    "combine_products",
    "composed",
    "cosines",
    "depth",
    "displacements",
    "distances_from",
    "entry_of",
    "estimate",
    "feed_forward",
    "flips",
    "fold",
    "folded_gains",
    "freedoms",
    "groups_of",
    "identity",
    "invariants",
    "inverted",
    "matrix",
    "meeting",
    "nearest_rotation",
    "neuron_axes",
    "no_identity",
    "of_axes",
    "permutation",
    "product_axes",
    "queries",
    "reflections",
    "role_of",
    "rotatable",
    "sample",
    "signed_order",
    "silent_layers",
    "similarities",
    "stream_place",
    "unfold",
    "unrotated",
    "ways",
    "wrong_table",
]

lazy.open_door(__name__)

"""Evidence about where a model comes from: mathematics of tests, without files."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.provenance.coordinates import RowProducts, StreamTest
    from mergebarrier.provenance.layers import layer_of, layered, main_stream, neuron_tensors, rows_of, vocabulary_of
    from mergebarrier.provenance.neurons import NeuronLayer
    from mergebarrier.provenance.parents import (
        RESOLUTION,
        CandidateShare,
        MergeAnatomy,
        ParentsOptions,
        ReplayedRecipe,
        TensorSums,
        Unexplained,
        entries_of,
        find_parents,
        joined,
        sums_of,
    )
    from mergebarrier.provenance.relate import TESTS, ComparedLayer, LayerTest, Relatedness, RelateOptions, relate
    from mergebarrier.provenance.stored_rows import StoredRows

__all__ = [
    "RESOLUTION",
    "TESTS",
    "CandidateShare",
    "ComparedLayer",
    "LayerTest",
    "MergeAnatomy",
    "NeuronLayer",
    "ParentsOptions",
    "RelateOptions",
    "Relatedness",
    "ReplayedRecipe",
    "RowProducts",
    "StoredRows",
    "StreamTest",
    "TensorSums",
    "Unexplained",
    "entries_of",
    "find_parents",
    "joined",
    "layer_of",
    "layered",
    "main_stream",
    "neuron_tensors",
    "relate",
    "rows_of",
    "sums_of",
    "vocabulary_of",
]

lazy.open_door(__name__)

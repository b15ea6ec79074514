"""Evidence about where a model comes from: mathematics of tests, without files."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.provenance.coordinates import RowProducts, StreamTest
    from mergebarrier.provenance.layers import layer_of, layered, main_stream, neuron_tensors, rows_of, vocabulary_of
    from mergebarrier.provenance.neurons import NeuronLayer
    from mergebarrier.provenance.relate import TESTS, ComparedLayer, LayerTest, Relatedness, RelateOptions, holm, relate

__all__ = [
    "TESTS",
    "ComparedLayer",
    "LayerTest",
    "NeuronLayer",
    "RelateOptions",
    "Relatedness",
    "RowProducts",
    "StreamTest",
    "holm",
    "layer_of",
    "layered",
    "main_stream",
    "neuron_tensors",
    "relate",
    "rows_of",
    "vocabulary_of",
]

lazy.open_door(__name__)

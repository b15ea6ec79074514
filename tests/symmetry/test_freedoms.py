"""What a model may be changed by is counted as it is drawn, and said in words."""

import math
from collections import Counter

import pytest

import family_models
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.circuits import describe
from mergebarrier.keys import Key
from mergebarrier.symmetry import LinearMap, Monomial, Planes, freedoms, sample

KINDS = ("llama", "phi", "qwen3", "deepseek", "gpt_oss", "t5", "clip", "mamba")


def described(name, folder):
    with open_checkpoint(family_models.save(name, folder / name)) as checkpoint:
        return describe(checkpoint)


@pytest.mark.parametrize("name", KINDS)
def test_elements_are_counted_as_they_are_drawn(name, tmp_path):
    architecture = described(name, tmp_path)
    streams = Key(bytes(32)).streams("0" * 64, "exact")
    drawn = {}
    for circuit in architecture.circuits:
        spaces = {circuit.axis(one).space for one in circuit.instances}
        drawn |= sample(circuit, streams, only=spaces, profile="full", condition=2.0)
    counted, real = Counter(), set()
    for (axis, _), element in drawn.items():
        first = {Monomial: "perm", LinearMap: "forward", Planes: "z"}[type(element)]
        counted[axis] += len(getattr(element, first))
        real |= set() if element.bit_exact else {axis}
    found = {one.axis: one for one in freedoms(architecture)}
    # An order of one entry is drawn, and no freedom.
    assert {axis: one.elements for axis, one in found.items()} == {axis: counted[axis] for axis in found}
    assert all(next(iter(architecture.circuits)).sizes[axis] == 1 for axis in counted.keys() - found.keys())
    assert {axis for axis, one in found.items() if one.reals} == real


def test_numbers_and_words_are_those_of_the_groups(tmp_path):
    llama = {one.axis: one for one in freedoms(described("llama", tmp_path))}
    assert llama["g"].what == "2 head groups per layer may change places" and llama["g"].elements == 2
    assert llama["r"].what == "3 heads per head group may change places" and 2 ** llama["r"].bits == pytest.approx(6)
    assert llama["q"].what == "6 rotary planes per head group may turn and stretch"
    assert (llama["q"].bits, llama["q"].reals, llama["w"].reals) == (12, 12, 144)
    assert llama["d"].bits == pytest.approx(math.log2(math.factorial(48)) + 48) and llama["d"].elements == 1
    phi = {one.axis: one for one in freedoms(described("phi", tmp_path))}
    assert phi["q"].what == "3 rotary planes per head group may turn and stretch, 6 entries more may take any basis"
    assert phi["d"].bits == pytest.approx(math.log2(math.factorial(48)) + 1) and phi["q"].reals == 6 + 36

"""Draws belong to their flat index, keep the stated share, and have a bit stream that never changes."""

import hashlib

import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st

from mergebarrier.merge import make
from mergebarrier.numerics import aes


@settings(max_examples=60, deadline=None)
@given(key=st.binary(min_size=16, max_size=16), start=st.integers(0, 500), length=st.integers(0, 300))
def test_any_stretch_can_be_drawn_alone(key, start, length) -> None:
    whole = aes.draws(key, 0, 800)
    assert np.array_equal(aes.draws(key, start, start + length), whole[start : start + length])


def test_the_bit_stream_is_pinned() -> None:
    key = aes.stream_key(42, "dare_ties", 1, "model.layers.0.mlp.up_proj.weight")
    assert key.hex() == GOLDEN_KEY
    assert hashlib.sha256(aes.draws(key, 3, 5000).astype("<i2").tobytes()).hexdigest() == GOLDEN_DRAWS
    bits = [aes.bits(key, 5000, levels).tobytes() for levels in (1 << 15, 6554, 65535, 65536)]
    assert hashlib.sha256(b"".join(bits)).hexdigest() == GOLDEN_BITS


GOLDEN_KEY = "96b0a41feb6f36607c781a0329f76182"
GOLDEN_BITS = "1bfc29a88b60d76808317330ffb7477c023e25fb92dcded856766d78fefddf21"
GOLDEN_DRAWS = "6b1d695dcd074bc3221fbc844af2692147a5b057e46c8f2f95b66f5f9ea0558e"


@settings(max_examples=60, deadline=None)
@given(key=st.binary(min_size=16, max_size=16), size=st.integers(1, 300), levels=st.integers(1, 65536))
def test_a_bit_says_that_its_number_is_below_the_share(key, size, levels) -> None:
    numbers = np.zeros(size, np.int64)
    for place in range(16):
        counter = modes.CTR(((15 - place) << 64).to_bytes(16, "big"))
        words = Cipher(algorithms.AES(key), counter).encryptor().update(bytes(64))
        digit = 1 - np.unpackbits(np.frombuffer(words, np.uint8))[:size].astype(np.int64)
        numbers += digit << place
    assert np.array_equal(np.unpackbits(aes.bits(key, size, levels))[:size], numbers < levels)


def test_pieces_of_bits_join() -> None:
    size = 8 * aes.PIECE_BYTES + 77
    key = aes.stream_key(3, "dare_linear", 0, "w")
    assert np.array_equal(aes.bits(key, size, 40000)[:100], aes.bits(key, 800, 40000))
    tail = np.unpackbits(aes.bits(key, size, 40000))[-72:]
    assert 20 < tail.sum() < 64
    whole = aes.bits(key, size, 40000)
    for start in (0, 128, 300):
        later = np.unpackbits(aes.bits(key, 100, 40000, start=start))[:100]
        assert np.array_equal(later, np.unpackbits(whole)[start : start + 100])
    assert np.array_equal(aes.bits(key, size, 40000, piece_bytes=1003), whole)


def test_no_two_places_share_a_key() -> None:
    places = [(s, m, i, n) for s in (0, 1) for m in ("dare_ties", "dare_linear") for i in (0, 1) for n in ("a", "b")]
    assert len({aes.stream_key(*place) for place in places}) == len(places)


@pytest.mark.parametrize("density", [0.1, 0.5, 0.9])
def test_the_kept_share_is_the_density_within_four_deviations(density) -> None:
    size = 200_000
    base, expert = torch.zeros(size), torch.ones(size)
    merged = make("dare_linear", density=density, rescale="none").merge(base, [expert], name="w")
    assert abs(merged.mean().item() - density) < 4 * (density * (1 - density) / size) ** 0.5


def test_rescaling_restores_the_norm_or_the_expectation() -> None:
    size = 200_000
    base, expert = torch.zeros(size), torch.randn(size, generator=torch.Generator().manual_seed(1))
    l1 = make("dare_linear", density=0.3).merge(base, [expert], name="w")
    torch.testing.assert_close(l1.double().abs().sum(), expert.double().abs().sum(), rtol=1e-6, atol=0)
    inverse = make("dare_linear", density=0.5, rescale="inverse").merge(base, [expert], name="w")
    assert torch.equal(inverse[inverse != 0], 2 * expert[inverse != 0])


def test_a_tiny_density_keeps_one_level_and_zero_keeps_none() -> None:
    assert (aes.levels(1e-9), aes.levels(0.0), aes.levels(1.0)) == (1, 0, 65536)

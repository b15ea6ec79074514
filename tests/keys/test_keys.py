"""A key means the same bytes for ever, and never leaves its holder."""

import hashlib
import pickle

import pytest

from mergebarrier.errors import BadKey
from mergebarrier.keys import Key, KeyStream
from mergebarrier.symmetry import draw

KEY = Key(bytes(range(32)))
SALT = hashlib.sha256(b"content digest").hexdigest()


def stream(purpose: str) -> KeyStream:
    return KEY.streams(SALT, "exact")("layers.0.mlp", purpose)


def test_subkeys_and_draws_are_golden():
    subkey = KEY.subkey(bytes.fromhex(SALT), "mergebarrier/exact/v1/layers.0.mlp/perm")
    assert subkey.hex() == "ff5fb88e6ee68885947bf5f8d12642f70ef50145479430aef8de450c1d4d9eb2"
    words = [f"{int(word):016x}" for word in draw.words(stream("perm"), 4)]
    assert words == ["4bdb012e9d8e83a0", "fa84ffba62ef7a0a", "2441a791492b63b7", "9049c91298313cd3"]
    assert draw.permutation(stream("perm"), 8).tolist() == [2, 4, 0, 5, 7, 3, 6, 1]
    assert "".join("+" if sign > 0 else "-" for sign in draw.signs(stream("sign"), 16)) == "-++++---+++--+++"


def test_real_draws_are_golden():
    matrix, inverse = draw.general_linear(stream("vo"), 6, 3.0)
    digest = hashlib.sha256(matrix.tobytes() + inverse.tobytes() + draw.phases(stream("qk"), 9).tobytes()).hexdigest()
    assert digest == "717b4b7c7d7d228163d4a29189c63265c14236dcb1ceeae50abee256c2cc7787"


def test_a_stream_does_not_depend_on_how_it_is_cut():
    whole = stream("any").take(3 * 2**20 + 5)
    pieces, cut = stream("any"), [1, 7, 2**20 - 1, 2**20 + 1, 2**20 - 3]
    assert b"".join(pieces.take(n) for n in cut) == whole[: sum(cut)]
    assert whole[: 2**20] == hashlib.shake_256(
        KEY.subkey(bytes.fromhex(SALT), "mergebarrier/exact/v1/layers.0.mlp/any") + bytes(8)
    ).digest(2**20)


def test_hkdf_is_rfc_5869_case_1():
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    okm = HKDF(SHA256(), 42, salt=bytes(range(13)), info=bytes(range(0xF0, 0xFA))).derive(bytes([0x0B] * 22))
    assert okm.hex() == "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"


def test_a_key_is_neither_printed_nor_pickled():
    assert KEY.secret.hex() not in repr(KEY) and "secret" not in repr(KEY)
    with pytest.raises(BadKey):
        pickle.dumps(KEY)
    with pytest.raises(BadKey, match="32 bytes"):
        Key(b"short")
    assert len(KEY.id) == 16 and KEY.id == hashlib.sha256(b"id" + KEY.secret).hexdigest()[:16]


def test_purposes_circuits_models_and_methods_share_no_stream():
    streams = [
        KEY.streams(salt, method)(circuit, purpose).take(16)
        for salt in (SALT, "00" * 32)
        for method in ("exact", "other")
        for circuit in ("layers.0.attn", "layers.1.attn")
        for purpose in ("qk", "vo")
    ]
    assert len({bytes(item) for item in streams}) == len(streams)

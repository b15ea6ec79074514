"""``sign`` and ``verify_signature``: a folder vouched for by a key that its owner has, in the format of OpenSSF.

The bundle lies beside the folder, as ``FOLDER.sig``: it covers every file of it.  Keys are elliptic curve keys in PEM
files; nothing is fetched, logged or sent.  Source: model-signing 1.1 (in-toto statement in a DSSE envelope).
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mergebarrier.errors import BadKey, DigestMismatch, MissingExtra, UnsafePath, clean

if TYPE_CHECKING:
    from model_signing import signing

_MOST_KEY_BYTES: Final = 2**20


def sign(folder: str | os.PathLike[str], key: str | os.PathLike[str]) -> Path:
    """Sign a folder with a private key in PEM; return the path of the bundle.  BadKey, MissingExtra."""
    bundle = _bundle(folder)
    if bundle.is_symlink():
        raise UnsafePath("a link, and links are not followed for writing", where=bundle, remedy="remove it")
    with _signing(key) as signer:
        signer.sign(Path(folder), bundle)
    return bundle


def check_signing_key(key: str | os.PathLike[str]) -> None:
    """Refuse a key that ``sign`` could not use, before there is anything to sign.  BadKey, MissingExtra."""
    with _signing(key):
        pass


@contextmanager
def _signing(key: str | os.PathLike[str]) -> "Iterator[signing.Config]":
    """Give what signs with a key; whatever is wrong with the key is a BadKey."""
    _check_key(key)
    with _library():
        from model_signing import signing

        try:
            yield signing.Config().use_elliptic_key_signer(private_key=Path(key))
        except (ValueError, TypeError, OSError) as fault:
            raise BadKey(
                f"cannot sign: {fault}", where=key, remedy="give a private elliptic curve key in PEM, without password"
            ) from fault


def verify_signature(folder: str | os.PathLike[str], *keys: str | os.PathLike[str]) -> Path:
    """Check every file of a folder against the bundle beside it, with public keys in PEM; return the bundle's path.

    One key must hold.  Raises: DigestMismatch when the signature is missing, of another key, or of other files; BadKey;
    MissingExtra.
    """
    bundle, fault = _bundle(folder), ""
    with _library():
        from cryptography.exceptions import InvalidSignature
        from model_signing import verifying

        for key in keys:
            _check_key(key)
            try:
                verifier = verifying.Config().use_elliptic_key_verifier(public_key=Path(key))
            except (ValueError, TypeError, OSError) as found:
                raise BadKey(
                    f"cannot be read: {found}", where=key, remedy="give a public elliptic curve key in PEM"
                ) from found
            try:
                verifier.verify(Path(folder), bundle)
                return bundle
            except (ValueError, TypeError, KeyError, OSError, InvalidSignature) as found:
                fault = str(found)
    raise DigestMismatch(
        f"the signature does not hold: {clean(fault) or 'it is of another key'}",
        where=bundle,
        remedy="get folder and signature again from the owner of the key",
    )


def _check_key(key: str | os.PathLike[str]) -> None:
    """Refuse a pipe or a device, which may have no end, and a file that is no key by its size."""
    path = Path(key)
    if path.exists() and not (path.is_file() and path.stat().st_size <= _MOST_KEY_BYTES):
        what = f"not a regular file of at most {_MOST_KEY_BYTES} bytes"
        raise BadKey(what, where=key, remedy="give an elliptic curve key in PEM")


def _bundle(folder: str | os.PathLike[str]) -> Path:
    path = Path(folder).absolute()
    return path.with_name(path.name + ".sig")


@contextmanager
def _library() -> Iterator[None]:
    try:
        yield
    except ImportError as fault:
        raise MissingExtra(
            "signatures need the extra 'sign'", where="model-signing", remedy="pip install 'mergebarrier[sign]'"
        ) from fault

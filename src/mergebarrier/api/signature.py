"""``sign`` and ``verify_signature``: a folder vouched for by a key that its owner has, in the format of OpenSSF.

The bundle lies beside the folder, as ``FOLDER.sig``: it covers every file of it.  Keys are elliptic curve keys in PEM
files; nothing is fetched, logged or sent.  Source: model-signing 1.1 (in-toto statement in a DSSE envelope).
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mergebarrier.errors import BadKey, DigestMismatch, MissingExtra, UnsafePath, clean


def sign(folder: str | os.PathLike[str], key: str | os.PathLike[str]) -> Path:
    """Sign a folder with a private key in PEM; return the path of the bundle.  BadKey, MissingExtra."""
    bundle = _bundle(folder)
    if bundle.is_symlink():
        raise UnsafePath("a link, and links are not followed for writing", where=bundle, remedy="remove it")
    with _library():
        from model_signing import signing

        try:
            signing.Config().use_elliptic_key_signer(private_key=Path(key)).sign(Path(folder), bundle)
        except (ValueError, TypeError, OSError) as fault:
            raise BadKey(
                f"cannot sign: {fault}", where=key, remedy="give a private elliptic curve key in PEM, without password"
            ) from fault
    return bundle


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

"""``sign`` and ``verify_signature``: a folder vouched for by a key that its owner has, in the format of OpenSSF.

The bundle lies beside the folder, as ``FOLDER.sig``: it covers every file of it but those of git, which the library
leaves out.  Keys are elliptic curve keys in PEM files; nothing is fetched, logged or sent.

Source: model-signing 1.1 (in-toto statement in a DSSE envelope).  Differs: a bundle is data of a stranger, and is read
in bounds before the library sees it; a statement that leaves other files out is no signature of the folder.
"""

import base64
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mergebarrier.checkpoint.bytes import on_disk, parse_text, read_small
from mergebarrier.errors import (
    BadKey,
    CheckpointError,
    DigestMismatch,
    MissingExtra,
    OutputExists,
    UnsafePath,
    clean,
)

if TYPE_CHECKING:
    from model_signing import signing

_MOST_KEY_BYTES: Final = 2**20
_MOST_BUNDLE_BYTES: Final = 2**25
#: What the library never covers, and no verb reads.
_OF_GIT: Final = frozenset({".git", ".gitattributes", ".github", ".gitignore"})


def sign(folder: str | os.PathLike[str], key: str | os.PathLike[str]) -> Path:
    """Sign a folder with a private key in PEM; return the path of the bundle.

    Raises: what ``check_signing`` raises; UnsafePath for a folder that is not plain files.
    """
    bundle = _check_place(folder)
    draft = bundle.with_name(bundle.name + ".new")
    with _signing(key) as signer, on_disk(bundle):
        try:
            os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666))
        except FileExistsError as fault:
            raise OutputExists("is there already", where=draft, remedy="remove it") from fault
        try:
            signer.sign(Path(folder), draft)
            os.rename(draft, bundle)
        except ValueError as fault:
            what = f"cannot be signed: {clean(fault)}"
            raise UnsafePath(what, where=folder, remedy="sign a folder of plain files") from fault
        finally:
            draft.unlink(missing_ok=True)
    return bundle


def check_signing(folder: str | os.PathLike[str], key: str | os.PathLike[str]) -> None:
    """Refuse what ``sign`` could not do before there is anything to sign.

    Raises: BadKey, MissingExtra; UnsafePath and OutputExists where the bundle would go through a link, or in the place
            of a file that is no signature.
    """
    _check_place(folder)
    with _signing(key):
        pass


@contextmanager
def _signing(key: str | os.PathLike[str]) -> "Iterator[signing.Config]":
    """Give what signs with a key; whatever is wrong with the key is a BadKey."""
    _check_key(key)
    with _library():
        from model_signing import signing

        try:
            signer = signing.Config().use_elliptic_key_signer(private_key=Path(key))
        except (ValueError, TypeError, OSError) as fault:
            raise BadKey(
                f"cannot sign: {clean(fault)}",
                where=key,
                remedy="give a private elliptic curve key in PEM, without password",
            ) from fault
        yield signer


def verify_signature(folder: str | os.PathLike[str], *keys: str | os.PathLike[str]) -> Path:
    """Check every file of a folder against the bundle beside it, with public keys in PEM; return the bundle's path.

    One key must hold.  Raises: DigestMismatch when the signature is missing, of another key, or of other files; BadKey;
    MissingExtra.
    """
    bundle, why = _bundle(folder), ""
    for key in keys:
        _check_key(key)
    with _library():
        from model_signing import verifying

        _check_covers_all(bundle)
        for key in keys:
            try:
                verifier = verifying.Config().use_elliptic_key_verifier(public_key=Path(key))
            except (ValueError, TypeError, OSError) as found:
                raise BadKey(
                    f"cannot be read: {clean(found)}", where=key, remedy="give a public elliptic curve key in PEM"
                ) from found
            try:
                with redirect_stdout(io.StringIO()):  # it prints a warning there of bundles of its first releases
                    verifier.verify(Path(folder), bundle)
                return bundle
            except Exception as found:  # whatever its parsers meet in a document of a stranger
                why = str(found)
    raise _unsigned(bundle, clean(why) or "it is of another key")


def not_covered(folder: str | os.PathLike[str]) -> tuple[str, ...]:
    """Return the files of git in a folder, which anybody may have changed beside a signature that holds."""
    return tuple(sorted(_OF_GIT.intersection(os.listdir(folder))))


def _check_covers_all(bundle: Path) -> None:
    """Refuse a bundle whose statement leaves out files that a reader could meet."""
    left_out = {os.path.normpath(path) for path in _ignored(bundle)} - _OF_GIT
    if left_out:
        raise _unsigned(bundle, f"it leaves out {clean(min(left_out))!r}, which anybody may have changed")


def _ignored(bundle: Path) -> list[str]:
    """Return the paths that the statement of a bundle does not cover; DigestMismatch for what is no bundle."""
    no_bundle = partial(_unsigned, bundle)
    try:
        document = parse_text(read_small(bundle.parent.resolve(), bundle.name, _MOST_BUNDLE_BYTES), no_bundle, where="")
        payload = base64.b64decode(document["dsseEnvelope"]["payload"], validate=True)
        statement = parse_text(payload, no_bundle, where="")
        return [str(path) for path in statement.get("predicate", {}).get("serialization", {}).get("ignore_paths", ())]
    except DigestMismatch:
        raise
    except CheckpointError as fault:
        raise no_bundle(fault.what) from fault
    except (ValueError, KeyError, TypeError, AttributeError) as fault:
        raise no_bundle("it is no bundle of model-signing") from fault


def _unsigned(bundle: Path, what: str) -> DigestMismatch:
    return DigestMismatch(
        f"the signature does not hold: {what}",
        where=bundle,
        remedy="get folder and signature again from the owner of the key",
    )


def _check_key(key: str | os.PathLike[str]) -> None:
    """Refuse a pipe or a device, which may have no end, and a file that is no key by its size."""
    path = Path(key)
    if path.exists() and not (path.is_file() and path.stat().st_size <= _MOST_KEY_BYTES):
        what = f"not a regular file of at most {_MOST_KEY_BYTES} bytes"
        raise BadKey(what, where=key, remedy="give an elliptic curve key in PEM")


def _check_place(folder: str | os.PathLike[str]) -> Path:
    """Return where the bundle of a folder goes; a link and a file that is no bundle are left alone."""
    bundle = _bundle(folder)
    if bundle.is_symlink():
        raise UnsafePath("a link, and links are not followed for writing", where=bundle, remedy="remove it")
    if bundle.exists():
        try:
            _ignored(bundle)
        except DigestMismatch as fault:
            what = "is there already, and is no signature that could be replaced"
            raise OutputExists(what, where=bundle, remedy="move it elsewhere") from fault
    return bundle


def _bundle(folder: str | os.PathLike[str]) -> Path:
    path = Path(os.path.abspath(folder))
    return path.with_name(path.name + ".sig")


@contextmanager
def _library() -> Iterator[None]:
    try:
        yield
    except ImportError as fault:
        raise MissingExtra(
            "signatures need the extra 'sign'", where="model-signing", remedy="pip install 'mergebarrier[sign]'"
        ) from fault

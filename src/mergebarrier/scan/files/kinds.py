"""What a file is, by its first bytes before its name: a name is a claim, the bytes are what a loader meets.

    magic bytes  >  an extension that says more than "text"  >  text or not

Source: the published signatures of the formats; RFC 4627 3 for the encodings of JSON.  Differs: a text is a text only
when it decodes and holds nothing that no page shows, so that a program behind a harmless name is not passed over.
"""

import json
import re
import zlib
from contextlib import suppress
from typing import Final, Literal

from mergebarrier.pickled import begins_as_pickle
from mergebarrier.scan.files.tars import begins_as_tar

FileKind = Literal[
    "text",
    "page",
    "media",
    "safetensors",
    "pickle",
    "numpy",
    "code",
    "executable",
    "zip",
    "archive",
    "weights",
    "unknown",
]
#: As many first bytes as the kinds need; a tar shows itself at byte 257.
HEAD_BYTES: Final = 4096

_MAGIC: Final[tuple[tuple[bytes, FileKind], ...]] = (
    (b"\x7fELF", "executable"), (b"MZ", "executable"), (b"\xcf\xfa\xed\xfe", "executable"),
    (b"\xce\xfa\xed\xfe", "executable"), (b"\xfe\xed\xfa", "executable"), (b"\xca\xfe\xba\xbe", "executable"),
    (b"\x00asm", "executable"), (b"!<arch>", "executable"), (b"\x1bLua", "executable"), (b"#!", "code"),
    (b"\xa7\r\r\n", "executable"), (b"\xcb\r\r\n", "executable"),
    (b"PK\x03\x04", "zip"), (b"PK\x05\x06", "zip"), (b"\x1f\x8b", "archive"), (b"BZh", "archive"),
    (b"\xfd7zXZ", "archive"), (b"7z\xbc\xaf", "archive"), (b"Rar!", "archive"), (b"\x28\xb5\x2f\xfd", "archive"),
    (b"\x04\x22\x4d\x18", "archive"), (b"\x5d\x00\x00", "archive"), (b"\x1f\x9d", "archive"), (b"MSCF", "archive"),
    (b"hsqs", "archive"), (b"070701", "archive"), (b"x\x01", "archive"), (b"x\x9c", "archive"), (b"x\xda", "archive"),
    (b"ZF0x", "archive"),
    (b"\x93NUMPY", "numpy"), (b"L\x00\x00\x00\x01\x14\x02\x00", "executable"),
    (b"GGUF", "weights"), (b"\x89HDF", "weights"), (b"ggjt", "weights"), (b"tjgg", "weights"),
    (b"\x89PNG", "media"), (b"\xff\xd8\xff", "media"), (b"GIF8", "media"), (b"RIFF", "media"), (b"ID3", "media"),
    (b"OggS", "media"), (b"fLaC", "media"), (b"%PDF", "media"), (b"\x00\x00\x00 ftyp", "media"),
)  # fmt: skip
_ENDS: Final[tuple[tuple[FileKind, str], ...]] = (
    (
        "code",
        "py pyw pyi pyx ipynb sh bash zsh fish csh ksh ps1 psm1 psd1 ps1xml bat cmd js mjs cjs ts mts tsx jse rb pl "
        "php lua tcl r rprofile jl go rs java kt cs swift awk sed vbs vbe wsf cu c cc cpp hta desktop url scf reg inf "
        "applescript scpt command envrc bashrc bash_profile zshrc profile",
    ),
    ("page", "html htm xhtml mhtml svg xml xsl xslt dtd pmml plist"),
    (
        "executable",
        "pyc pyo so pyd dll dylib exe jar class wasm node msi deb rpm whl egg "
        "engine trt ptx cubin fatbin hsaco spv pte neff",
    ),
    ("pickle", "bin pt pt2 pth ckpt pkl pickle p joblib mar dill nemo sav dat"),
    ("numpy", "npy"),
    ("weights", "gguf ggml onnx onnx_data h5 hdf5 keras tflite pb msgpack mlmodel pdparams llamafile"),
    ("archive", "zip tar tgz gz bz2 xz 7z rar zst lz4 lzma cpio cab br"),
    ("safetensors", "safetensors"),
)
_KINDS: Final = {end: kind for kind, ends in _ENDS for end in ends.split()}
#: Less than four letters of prose count in a pickle, so that a text of unknown length is not taken for one.
_MOST_HALF_READ: Final = 1 << 29
_PICKLE: Final = re.compile(rb"\x80[\x00-\x05]")
#: What a page runs, loads or takes in on its own.
_PAGE: Final = re.compile(
    rb"<script\b|\bon[a-z]{4,24}\s*=|j\s*a\s*v\s*a\s*s\s*c\s*r\s*i\s*p\s*t\s*:|<!ENTITY\b|<(?:iframe|object|embed|base)\b"
    rb"|<link\b[^>]*\bimport\b|http-equiv\s*=\s*.?refresh|@import\b|XInclude|charset\s*=\s*.?utf-?7|\+ADw-",
    re.IGNORECASE,
)
#: Cells that a spreadsheet computes: a formula that calls something, or asks another program.
_FORMULA: Final = re.compile(
    rb"(?:^|[,;\t|])[ \"']{0,9}(?:=[ \t]{0,9}[-+@]{0,9}[A-Za-z][\w.]{0,80}\(|[=+@-][^,;\t\n|]{0,80}\|[^,;\t\n!]{0,80}!"
    rb"|[+@-](?:HYPERLINK|WEBSERVICE|IMPORT[A-Z]+|SUM|DDE[A-Z]*|EXEC|CALL|REGISTER)\()",
    re.MULTILINE | re.IGNORECASE,
)
#: Files that a tool runs, or obeys, when somebody works in their folder.
_OBEYED: Final = re.compile(
    r"(?:.*/)?(?:makefile|dockerfile|desktop\.ini|\.vscode/(?:tasks|launch)\.json|\.devcontainer/.*\.json|\.gitmodules"
    r"|\.devcontainer\.json|\.pre-commit-config\.yaml|\.github/workflows/[^/]*\.ya?ml|\.git/hooks/.*|pip\.conf|\.npmrc)"
)
#: Lines of a list of requirements by which packages come from elsewhere.
_ELSEWHERE: Final = re.compile(
    rb"^\s*(?:-i\b|-f\b|-e\b|--(?:extra-)?index-url|--find-links|[^#\n]*(?:git|hg|svn|bzr)\+|[^#\n]*@\s*(?:https?|file):)",
    re.MULTILINE,
)
#: What a list of packages runs when they are installed.
_HOOKS: Final = re.compile(rb'"(?:(?:pre|post)?(?:un)?install|prepare|(?:pre|post)pack|prepublish\w*)"\s*:')
#: What a repository's own settings run when somebody only looks at it.
_GIT: Final = re.compile(rb"\b(?:fsmonitor|sshCommand|hooksPath|pager|editor|textconv|clean|smudge)\s*=", re.IGNORECASE)
_PDF: Final = re.compile(rb"/(?:JavaScript|JS|Launch)\b")
#: A line of a file of paths that Python runs at every start.
_PATHS: Final = re.compile(rb"^(?:\xef\xbb\xbf)?import[ \t]", re.MULTILINE)


def kind_of(name: str, head: bytes) -> FileKind:
    """Return the kind of a file.

    Args:
      name: of the file, its folders included.
      head: its first ``HEAD_BYTES`` bytes, or all of them.
    """
    if _PICKLE.match(head):
        return "pickle"
    if begins_as_tar(head) or _is_inflated(head):
        return "archive"
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    named = "code" if _OBEYED.fullmatch(name.lower()) else _KINDS.get(_end_of(name))
    if named in ("pickle", "page") and _is_text(head) and not may_be_old_pickle(head):
        return "text"
    if named == "page":
        return "unknown"
    if named is not None:
        return named
    return "text" if _is_text(head) else "unknown"


def runs(name: str, text: bytes) -> bool:
    """Say whether a text makes whoever only opens it run something: a browser, a spreadsheet, YAML, Python itself."""
    if name.lower().endswith(".pth"):
        return _PATHS.search(text) is not None
    if name.lower().endswith((".yaml", ".yml")):
        return b"!!python/" in text or b"yaml.org,2002:python/" in text
    if name.rpartition("/")[2].startswith("requirements"):
        return _ELSEWHERE.search(text) is not None
    if name.lower().rpartition("/")[2] == "package.json":
        return _HOOKS.search(text) is not None
    if name.lower().endswith((".csv", ".tsv")):
        return _FORMULA.search(text) is not None
    if name.endswith((".git/config", ".git/config.worktree", ".gitconfig")):
        return _GIT.search(text) is not None
    if text.startswith(b"%PDF"):
        return _PDF.search(text) is not None
    marked_up = text[:64].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<") and _end_of(name) not in ("md", "txt", "rst")
    return (marked_up or _KINDS.get(_end_of(name)) == "page") and _PAGE.search(text) is not None


def _end_of(name: str) -> str:
    return name.rpartition(".")[2].lower()


def may_be_old_pickle(head: bytes, size: int = _MOST_HALF_READ) -> bool:
    """Say whether a text begins as a pickle of protocol 0 does; ``size`` is that of its file, where that is known."""
    return begins_as_pickle(head, len(head) if len(head) < HEAD_BYTES else size)


def _is_inflated(head: bytes) -> bool:
    """Say whether a file is packed by zlib at a level whose mark words may begin with too."""
    with suppress(zlib.error):
        return head.startswith(b"x^") and bool(zlib.decompressobj().decompress(head, 1))
    return False


def in_utf8(data: bytes) -> bytes:
    """Return a text in UTF-8 where it stands in UTF-16 or 32, as readers of JSON and YAML tell; else ``data``."""
    encoding = json.detect_encoding(data)
    wide = encoding.startswith(("utf-16", "utf-32")) and _is_text(data[:HEAD_BYTES])
    return data.decode(encoding, "replace").encode("utf-8", "replace") if wide else data


def _is_text(head: bytes) -> bool:
    encoding = json.detect_encoding(head)
    try:
        text = head.decode(encoding)
    except UnicodeDecodeError as fault:
        if fault.start <= len(head) - 4:  # otherwise it is cut within a character
            return False
        text = head[: fault.start].decode(encoding)
    if encoding.startswith("utf-8"):
        return "\x00" not in text
    return len(head) >= len("{}".encode(encoding)) and all(one.isprintable() or one.isspace() for one in text)

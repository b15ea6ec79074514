"""Our output and our documents claim no more than a measurement can carry."""

import ast
import re
import subprocess

import pytest

CLAIMS = re.compile(
    r"\b(unmergeable|safe|safely|secure|securely|cannot be merged|np-hard|learning with errors|differential privacy)\b",
    re.IGNORECASE,
)
#: SECURITY.md says which words are not used; its headings and file name are conventions of the platform.
DOCUMENTS = ("README.md", "CHANGELOG.md", "docs", "examples", "benchmarks")


def _claims(text: str) -> list[str]:
    return [match[0] for match in CLAIMS.finditer(text)]


def test_the_check_finds_a_claim_and_leaves_names_alone() -> None:
    assert _claims("a SAFE model") and _claims("unmergeable!") and _claims("it cannot be merged")
    assert not _claims("safetensors, unsafe, safeguard, insecure, load_safetensors")


def _silent(module) -> set[int]:
    """Docstrings that nobody is shown: all but those of the command line, which are its help."""
    holders = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = [node.body[0] for node in ast.walk(module.tree) if isinstance(node, holders) and node.body]
    return set() if module.room == "cli" else {id(node.value) for node in found if isinstance(node, ast.Expr)}


def test_no_string_of_the_package_makes_the_claim(modules) -> None:
    wrong = []
    for module in modules:
        silent = _silent(module)
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in silent:
                wrong += [f"{module.at(node)} {word!r}" for word in _claims(node.value)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("place", DOCUMENTS)
def test_no_document_and_no_template_makes_the_claim(place: str, root) -> None:
    start = root / place
    files = [start] if start.is_file() else [path for path in sorted(start.rglob("*")) if path.suffix in (".md", ".py")]
    if place == "docs":
        package = root / "src" / "mergebarrier"
        files += [path for path in sorted(package.rglob("*")) if path.suffix in (".jinja", ".css", ".j2", ".html")]
    wrong = [
        f"{path.relative_to(root)}: {word}" for path in files for word in _claims(path.read_text(encoding="utf-8"))
    ]
    assert not wrong, "\n".join(wrong)


def test_the_honest_sentences_stand_in_the_readme(root) -> None:
    text = " ".join((root / "README.md").read_text(encoding="utf-8").split())
    for sentence in (
        "raises the cost of casual merging with stock tools",
        "not cryptographic",
        "anyone with the public base can undo this",
    ):
        assert sentence in text, sentence


def test_no_committed_text_names_the_machine_it_was_written_on(root) -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=root, capture_output=True, text=True, check=True).stdout.split()
    private = re.compile(r"(?<![\w.])/(home|root|Users|work|opt|mnt)/\w")
    wrong = []
    for name in listed:
        path = root / name
        if path.suffix in (".py", ".md", ".toml", ".txt", ".json", ".jinja", "") and path.is_file():
            text = path.read_text(encoding="utf-8", errors="replace")
            wrong += [f"{name}: {match[0]}" for match in private.finditer(text)]
    assert not wrong, "\n".join(wrong)

"""How many of our files a command runs: those in which a function ran, whatever was only imported.

    python benchmarks/count_files.py > benchmarks/results/files.md

A module or class body runs at import and does not count, nor does what such a body calls.  Each command runs on tiny
models in an interpreter of its own, under ``sys.setprofile`` in every thread.
"""

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from types import CodeType, FrameType

import _models

_IS_FUNCTION = 0x1  # CO_OPTIMIZED: set for functions, not for the bodies of modules and classes
_RECIPE = """\
merge_method: ties
base_model: {base}
models:
  - {{model: {a}, parameters: {{weight: 0.5, density: 0.5}}}}
  - {{model: {b}, parameters: {{weight: 0.5, density: 0.5}}}}
"""


class _Watch:
    """Notes the files below a folder in which a function runs that no import runs."""

    def __init__(self, root: str) -> None:
        self.root, self.files = root, dict[str, None]()
        self._seen = set[CodeType]()

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        if event != "call" or code in self._seen or not code.co_filename.startswith(self.root):
            return
        if code.co_flags & _IS_FUNCTION and not self._at_import(frame.f_back):
            self._seen.add(code)
            self.files[code.co_filename.removeprefix(self.root)] = None

    def _at_import(self, frame: FrameType | None) -> bool:
        """True when a body of ours is further down the stack: then this call only defines things."""
        while frame is not None:
            code = frame.f_code
            if code.co_filename.startswith(self.root) and not code.co_flags & _IS_FUNCTION:
                return True
            frame = frame.f_back
        return False


def files_run(words: Sequence[str]) -> list[str]:
    """Run ``mergebarrier`` with these words in this interpreter; return the files of ours in which a function ran."""
    import mergebarrier
    from mergebarrier.cli import main

    watch = _Watch(f"{Path(mergebarrier.__file__).parent}/")
    threading.setprofile(watch)
    sys.setprofile(watch)
    try:
        code = main(list(words))
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    assert code == 0, (words, code)
    return sorted(watch.files)


def commands(work: Path) -> dict[str, list[str]]:
    """Write tiny models and a recipe; return the commands that are counted, by what a person would type."""
    base = _models.write(work / "base", "tiny")
    a, b = (_models.write(work / f"expert{n}", "tiny", step=0.1, expert=n) for n in (1, 2))
    recipe = work / "recipe.yaml"
    recipe.write_text(_RECIPE.format(base=base, a=a, b=b))
    return {
        "mergebarrier protect MODEL": ["protect", str(a), "-o", str(work / "protected"), "-q"],
        "mergebarrier merge RECIPE.yaml": ["merge", str(recipe), "-o", str(work / "merged"), "-q"],
    }


def counted() -> dict[str, list[str]]:
    """Return, for every command, the files of ours in which a function ran, each in a fresh interpreter."""
    found = {}
    with tempfile.TemporaryDirectory() as work:
        for label, words in commands(Path(work)).items():
            ran = subprocess.run([sys.executable, __file__, *words], capture_output=True, text=True, check=True)
            found[label] = json.loads(ran.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Print a table, and the files of each command below it."""
    found = counted()
    print("Files of `src/mergebarrier` in which a function runs, on tiny models; imports do not count.\n")
    print("| command | files |\n|---|---|")
    for label, files in found.items():
        print(f"| `{label}` | {len(files)} |")
    for label, files in found.items():
        print(f"\n`{label}`: " + ", ".join(f"`{name}`" for name in files) + ".")


if __name__ == "__main__":
    if sys.argv[1:]:
        print(json.dumps(files_run(sys.argv[1:])))
    else:
        main()

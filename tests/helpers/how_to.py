"""A page on how to add something, followed to the letter: its file and its two lines go into a copy of the package."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_PACKAGE = Path("src", "mergebarrier")


@dataclass(frozen=True, kw_only=True)
class Addition:
    """Where a page puts what it shows.

    Args:
      page:     name of the page, without its suffix.
      file:     the new file, below the package.
      registry: the file of the registry, below the package.
      name:     of the registry, whose literal takes the new line.
    """

    page: str
    file: str
    registry: str
    name: str

    @property
    def blocks(self) -> list[str]:
        """The blocks of code of the page, in order: the file, the import and the line of the registry come first."""
        return re.findall(
            r"```\w*\n(.*?)```", (ROOT / "docs" / f"{self.page}.md").read_text(encoding="utf-8"), re.DOTALL
        )

    def followed(self, copy: Path, folder: Path) -> "Followed":
        """Write a copy of package and documents with the addition; programs run in ``folder``."""
        unwanted = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / _PACKAGE, copy / "mergebarrier", ignore=unwanted)
        shutil.copytree(ROOT / "docs", copy / "docs", ignore=unwanted)
        self.apply(copy / "mergebarrier")
        return Followed(copy=copy, folder=folder)

    def apply(self, package: Path) -> None:
        """Add the file and the two lines to a copy of the package."""
        file, imported, entry = self.blocks[:3]
        (package / self.file).write_text(file)
        registry = package / self.registry
        text = registry.read_text().replace("from mergebarrier", imported + "from mergebarrier", 1)
        text, changed = re.subn(rf"^({self.name}\b.*[{{(]\n)", rf"\1{entry}", text, flags=re.MULTILINE)
        assert changed == 1, f"{self.registry} has no literal {self.name}"
        registry.write_text(text)

    def check_style(self) -> None:
        """Assert that the file of the page is one that we would take."""
        for check in (["check"], ["format", "--diff"]):
            program = [sys.executable, "-m", "ruff", *check, "--stdin-filename", str(_PACKAGE / self.file), "-"]
            ran = subprocess.run(program, input=self.blocks[0], cwd=ROOT, capture_output=True, text=True)
            assert ran.returncode == 0, ran.stdout + ran.stderr


@dataclass(frozen=True, kw_only=True)
class Followed:
    """A copy of package and documents to which a page was applied, and a folder to work in."""

    copy: Path
    folder: Path

    def python(self, *words: str) -> str:
        """Run Python with that copy; return what it prints, or fail with what it says."""
        paths = os.pathsep.join((str(self.copy), str(ROOT / "tests" / "helpers")))
        environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, *words]
        ran = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    def typed(self, commands: str, *, before: str = "", after: str = "") -> str:
        """Run the lines of a console, `$ mergebarrier VERB ...` each; every one must succeed.

        They and the blocks of Python around them share a process, which spares loading the libraries again.
        """
        words = [line.removeprefix("$ ").split()[1:] for line in commands.splitlines()]
        console = f"from mergebarrier.cli import main\nassert [main(w) for w in {words}] == [0] * {len(words)}"
        return self.python("-c", "\n".join((before, console, after)))

"""What pyproject.toml cannot say: the README of a wheel, whose links lead to the repository wherever it is shown."""

import re
import tomllib
from pathlib import Path

from setuptools import setup

SOURCE = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Source"]


def _absolute(link: re.Match[str]) -> str:
    kind = "raw" if link["image"] else "blob"
    return f"{link['image']}[{link['text']}]({SOURCE}/{kind}/main/{link['target']})"


LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?!\w+://|#)(?P<target>[^)]+)\)")

setup(
    long_description=LINK.sub(_absolute, Path("README.md").read_text(encoding="utf-8")),
    long_description_content_type="text/markdown",
)

"""The documents describe the program that is here: links lead somewhere, commands parse, the example runs."""

import re
import runpy
from pathlib import Path

import click
import pytest

import mergebarrier
from mergebarrier.cli import VERBS


def _documents(root: Path) -> list[Path]:
    return [*sorted(root.glob("*.md")), *sorted((root / "docs").glob("*.md")), *sorted(root.glob("benchmarks/*.md"))]


def test_every_relative_link_leads_to_a_file(root) -> None:
    broken = []
    for page in _documents(root):
        prose = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", prose):
            if "://" not in target and not (page.parent / target).exists():
                broken.append(f"{page.relative_to(root)} -> {target}")
    assert not broken, "\n".join(broken)


def _offered(command: click.Command) -> set[str]:
    """Return the options of a verb and of its commands."""
    context = click.Context(command)
    names = command.list_commands(context) if isinstance(command, click.Group) else []
    commands = [command, *(command.get_command(context, name) for name in names)]
    return {
        word
        for one in commands
        for parameter in one.get_params(context)
        for word in (*parameter.opts, *parameter.secondary_opts)
    }


def _declared(page: str) -> set[str]:
    """Return the options that a page itself declares, in the code of an extension that it teaches."""
    code = "\n".join(re.findall(r"^```python.*?^```", page, re.MULTILINE | re.DOTALL))
    return {"--" + name.replace("_", "-") for name in re.findall(r"^    (\w+): \w+ = \w+\(", code, re.MULTILINE)}


def test_every_command_that_a_document_shows_exists_with_its_options(root) -> None:
    shown, wrong = 0, []
    for page in _documents(root):
        text = re.sub(r"\n {8,}", " ", page.read_text(encoding="utf-8"))
        for verb, rest in re.findall(r"\bmergebarrier ([a-z]+)([^`#\n]*)", text):
            if verb not in VERBS:
                continue
            shown += 1
            offered = _offered(__import__(VERBS[verb][0], fromlist=["command"]).command) | _declared(text)
            options = re.findall(r"(?<![\w-])--?[a-z][a-z-]*", rest)
            wrong += [f"{page.name}: {verb} {word}" for word in options if word not in offered]
    assert shown > 15 and not wrong, "\n".join(wrong)


#: Options of other programs that readers are told to type, and one that is gone.
FOREIGN = {"--host", "--model", "--seeds", "--engine"}


def test_every_option_that_a_document_names_is_one_of_some_command(root) -> None:
    known = {word for verb in VERBS for word in _offered(__import__(VERBS[verb][0], fromlist=["command"]).command)}
    strange = []
    for page in _documents(root):
        text = page.read_text(encoding="utf-8")
        named = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", text))
        strange += [f"{page.name}: {word}" for word in named - known - _declared(text) - FOREIGN]
    assert not strange, "\n".join(strange)


def test_the_page_of_the_command_line_shows_every_verb(root) -> None:
    page = (root / "docs" / "cli.md").read_text(encoding="utf-8")
    assert not [verb for verb in VERBS if not re.search(rf"^mergebarrier {verb}( |$)", page, re.MULTILINE)]


#: Words that code and documents use all the time; the verbs of the front door come on top.
WORDS = (
    "base, expert, partner, task vector, merged, coefficient, density, interference, barrier, gauge, space, circuit, "
    "anchor, realign, RUF, utility, ASR, trigger, target class, adversary, victim, key, manifest, donor, recipe, "
    "level, control, finding, cure, report, checkpoint, adapter, room, door, registry, unit, stream"
)


def test_the_glossary_explains_the_words_of_the_package_once(root) -> None:
    page = (root / "docs" / "glossary.md").read_text(encoding="utf-8")
    rows = [row for row in re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", page, re.MULTILINE) if row[0] != "word"]
    entries = [word.lower() for word, _ in rows]
    assert len(set(entries)) == len(entries), "a word is explained twice"
    assert not [word for word, meaning in rows if not re.search(r"\w.*[\w)`]\.$", meaning)], "not a sentence"
    verbs = {name for name in mergebarrier.__all__ if name.islower() and "_" not in name}
    missing = sorted({*verbs, *WORDS.lower().split(", ")} - set(entries))
    assert verbs and not missing, missing
    for name in ("README.md", "docs/index.md"):
        assert "glossary.md" in (root / name).read_text(encoding="utf-8")


def test_every_variable_that_is_read_is_documented(root, modules) -> None:
    page = (root / "docs" / "cli.md").read_text(encoding="utf-8")
    read = {name for module in modules for name in re.findall(r"[\"'](MERGEBARRIER_[A-Z_]+)[\"']", module.text)}
    assert read and read <= set(re.findall(r"`(\w+)`", page)), sorted(read)


@pytest.mark.filterwarnings("default")
def test_the_example_tells_its_story(root, tmp_path) -> None:
    figures = runpy.run_path(str(root / "examples" / "protect_merge_realign.py"))["story"](tmp_path)
    same, broken, mended = figures.values()
    assert same < 1e-5, "a protected model computes the same function"
    assert broken > 0.5, "a merge with it is far from the wanted one"
    assert mended < 1e-5, "realignment to the base brings the wanted merge back"

"""The edge of the tool: help, completion, the log, verbosity, wide tables, and an installation with holes in it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mergebarrier import __version__
from tiny_models import save as save_model

_TIMED = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00 (.+)")


def _log(path: Path) -> list[str]:
    """Return the lines of a log without their times, each of which has one."""
    found = [_TIMED.fullmatch(line) for line in path.read_text().splitlines()]
    assert all(found), path.read_text()
    return [match[1] for match in found if match]


@pytest.mark.parametrize("words", [(), ("protect",), ("attack", "measure"), ("zoo",)])
def test_help_prints_what_the_option_prints(words, run_cli) -> None:
    asked, option = run_cli("help", *words), run_cli(*words, "--help")
    assert asked.exit_code == 0 and asked.stdout == option.stdout and "Usage" in asked.stdout


def test_verbose_says_what_is_done_and_quiet_does_not(run_cli, tmp_path) -> None:
    model = save_model("llama-mha-tied", tmp_path / "model", seed=0)
    plain = run_cli("protect", model, "-o", tmp_path / "a", "--seed", "7")
    loud = run_cli("protect", model, "-o", tmp_path / "b", "--seed", "7", "-v")
    assert plain.exit_code == loud.exit_code == 0
    for line in ("option seed: 7", "option method: exact", "protecting ...", "protecting: done after"):
        assert line in loud.stderr and line not in plain.stderr, line


@pytest.mark.parametrize("more", [(), ("--quiet",), ("--json",)])
def test_the_log_gets_every_message_with_its_time_also_when_quiet(more, run_cli, tmp_path) -> None:
    model, log = save_model("llama-mha-tied", tmp_path / "model", seed=0), tmp_path / "run.log"
    ran = run_cli("protect", model, "-o", tmp_path / "out", "--log-file", log, *more)
    assert ran.exit_code == 0 and (ran.stderr == "") == ("--quiet" in more)
    lines = _log(log)
    assert lines[0].startswith(f"mergebarrier {__version__}: mergebarrier protect ")
    assert any(line.startswith("key ") for line in lines) and "protecting ..." in lines
    assert lines[-1].startswith("exit code 0 after ")
    assert set(ran.stderr.splitlines()) <= set(lines)
    key = (tmp_path / "out.mbkey").read_text()
    secret = re.findall(r"[0-9a-f]{64}|[A-Za-z0-9+/_-]{43}=?", key)
    assert secret and not any(word in log.read_text() for word in secret if word not in ran.stdout + ran.stderr)


def test_the_log_is_appended_to_and_holds_the_error(run_cli, tmp_path) -> None:
    log = tmp_path / "run.log"
    before = sys.stderr
    for words in (("inspect", tmp_path / "absent"), ("inspect", "--no-such")):
        ran = run_cli(*words, "--log-file", log)
        assert ran.exit_code != 0 and ran.stderr.strip() in _log(log)
    assert [line for line in _log(log) if line.startswith("exit code")][-1].startswith("exit code 64")
    assert sum(line.startswith("error: ") for line in _log(log)) == 2
    assert sys.stderr is before


@pytest.mark.parametrize("place", ["absent/run.log", "."])
def test_a_log_that_cannot_be_written_is_refused_before_any_work(place: str, run_cli, tmp_path) -> None:
    model = save_model("llama-mha-tied", tmp_path / "model", seed=0)
    ran = run_cli("protect", model, "-o", tmp_path / "out", "--log-file", tmp_path / place)
    assert ran.exit_code == 2 and "log file cannot be written" in ran.stderr and ran.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.mbkey").exists()


@pytest.mark.skipif(
    not Path("/dev/full").exists() and "CI" not in os.environ, reason="needs /dev/full, a device that is always full"
)
def test_a_log_on_a_full_disk_ends_and_the_work_goes_on(run_cli, tmp_path) -> None:
    model = save_model("llama-mha-tied", tmp_path / "model", seed=0)
    ran = run_cli("protect", model, "-o", tmp_path / "out", "--log-file", "/dev/full")
    assert ran.exit_code == 0 and ran.stderr.count("the log file ends here: No space left") == 1


def _run(words: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", *environment)}
    return subprocess.run(words, capture_output=True, text=True, env={**clean, **environment}, timeout=120)


_TABLE = """
from rich.console import Group
from rich.table import Table
from rich.text import Text
from mergebarrier.cli._output import Output
table = Table(*(f"column {i}" for i in range(12)))
table.add_row(*(f"cell-{i}-" + "x" * 40 for i in range(12)))
fits = Table.grid(expand=True)
fits.add_row("left " * 200, "right " * 200)
Output().result({}, Group(Text("a long paragraph " * 60), fits, table))
"""


@pytest.mark.parametrize("columns", [None, "40"])
def test_a_table_in_a_pipe_is_whole_at_any_width(columns: str | None) -> None:
    environment = {} if columns is None else {"COLUMNS": columns}
    listed = _run([sys.executable, "-m", "mergebarrier", "zoo", "list"], **environment)
    assert listed.returncode == 0, listed.stderr
    rows = listed.stdout.splitlines()[1:]
    assert rows and all(re.match(r"\S+ {2,}\S", row) for row in rows), "an entry is folded over two lines"
    wide = _run([sys.executable, "-c", _TABLE], **environment)
    assert all(f"cell-{i}-" + "x" * 40 in wide.stdout for i in range(12)) and "…" not in wide.stdout + listed.stdout


def _complete(bash: str, line: str) -> list[str]:
    words = line.split(" ")
    script = (
        'eval "$(mergebarrier completion bash)"; '
        f"COMP_WORDS=({line}); [ ${{#COMP_WORDS[@]}} = {len(words)} ] || COMP_WORDS+=(''); "
        f'COMP_CWORD={len(words) - 1}; _mergebarrier_completion mergebarrier; printf "%s\\n" "${{COMPREPLY[@]}}"'
    )
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    ran = _run([bash, "--norc", "-c", script], PATH=path)
    assert ran.returncode == 0 and ran.stderr == "", ran.stderr
    return ran.stdout.split()


def test_bash_completes_verbs_options_and_choices() -> None:
    bash = shutil.which("bash")
    assert bash, "bash is part of every machine that these tests are meant for"
    assert _complete(bash, "mergebarrier pro") == ["protect", "provenance"]
    assert _complete(bash, "mergebarrier un") == ["unprotect"]
    assert {"badmerging", "measure"} <= set(_complete(bash, "mergebarrier attack "))
    assert _complete(bash, "mergebarrier protect --prof") == ["--profile"]
    assert _complete(bash, "mergebarrier protect --method e") == ["exact"]


@pytest.mark.parametrize(("shell", "mark"), [("zsh", "#compdef mergebarrier"), ("fish", "complete --no-files")])
def test_the_scripts_of_other_shells_are_printed(shell: str, mark: str, run_cli) -> None:
    ran = run_cli("completion", shell)
    assert ran.exit_code == 0 and mark in ran.stdout and "_MERGEBARRIER_COMPLETE" in ran.stdout


#: Names that fail to import, and with what: a package that is absent, or a library inside it that does not load.
_BLOCK = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {names!r}:
            raise {error}
sys.meta_path.insert(0, Blocked())
from mergebarrier.cli import main
sys.exit(main({words!r}))
"""
_OPTIONAL = ("transformers", "tokenizers", "peft", "accelerate", "matplotlib", "gguf", "PIL", "onnx", "pandas")
_CORE = ("torch", "numpy", "scipy", "rich", "pydantic", "jinja2", "yaml", "safetensors", "cryptography")


def _with_holes(words: list[str], names: tuple[str, ...], error: str) -> subprocess.CompletedProcess[str]:
    return _run([sys.executable, "-c", _BLOCK.format(names=names, error=error, words=words)])


@pytest.mark.parametrize(
    ("names", "error"),
    [
        (_OPTIONAL, "ModuleNotFoundError(f'No module named {name!r}', name=name)"),
        ((*_OPTIONAL, *_CORE), "ModuleNotFoundError(f'No module named {name!r}', name=name)"),
        (("torch",), "OSError('libtorch_cpu.so: cannot open shared object file')"),
        (("torch",), "RuntimeError('CUDA driver is newer than itself')"),
    ],
)
@pytest.mark.parametrize("words", [["--version"], ["doctor"], ["doctor", "--json"], ["--help"]])
def test_version_doctor_and_help_work_on_an_installation_with_holes(words, names, error: str) -> None:
    ran = _with_holes(words, names, error)
    assert "Traceback" not in ran.stderr + ran.stdout and ran.stdout
    broken = "torch" in names and words[0] == "doctor"
    assert ran.returncode == (1 if broken else 0), ran.stderr
    if broken:
        assert re.search(r"does not import|\"error\"", ran.stdout) and error.split("(")[0] in ran.stdout


def test_a_verb_that_lacks_a_package_says_which_on_one_line(tmp_path) -> None:
    model = save_model("llama-mha-tied", tmp_path / "model", seed=0)
    missing = "ModuleNotFoundError(f'No module named {name!r}', name=name)"
    ran = _with_holes(["protect", str(model), "-o", str(tmp_path / "out")], ("torch",), missing)
    assert ran.returncode == 2 and ran.stdout == ""
    assert "No module named 'torch'" in ran.stderr and "mergebarrier doctor" in ran.stderr
    assert ran.stderr.count("\n") == 1


def test_a_dry_run_speaks_words_and_json_holds_the_same(run_cli, tmp_path) -> None:
    for name in ("a", "b"):
        save_model("qwen2", tmp_path / name)
    verbs = (
        ("merge", "a", "b", "--method", "slerp", "-t", "0.5", "-o", "out"),
        ("protect", "a", "--base", "b", "-o", "out"),
        ("realign", "a", "--base", "b", "-o", "out"),
        ("scan", "a", "--base", "b"),
        ("demo", "-o", "out"),
    )
    for verb, *words in verbs:
        here = [str(tmp_path / word) if word in ("a", "b", "out") else word for word in words]
        said = run_cli(verb, *here, "--dry-run").stdout
        assert said and not set("{}[]") & set(said) and "None" not in said, said
        assert run_cli(verb, *here, "--dry-run", "--json").json["kind"] == "plan"
    assert not (tmp_path / "out").exists()

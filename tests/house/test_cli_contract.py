"""The command line is a contract: verbs, options, exit codes, one line per error, one JSON document."""

import errno
import json
import os
import subprocess
import sys
import time
import types
from collections.abc import Iterator

import click
import numpy
import pytest

from mergebarrier import __version__
from mergebarrier.cli import VERBS
from mergebarrier.cli._options import SIZE, WriterOptions, output_options, threads_option, writer_options
from mergebarrier.cli._output import Output
from mergebarrier.errors import BadHeader
from waiting import until

WRITER = "-o --out --resume --overwrite --dry-run --seed --threads --workers --max-ram"
#: verb -> the options that scripts rely on; a verb may have more.
OPTIONS = {
    "inspect": "--json",
    "protect": f"--base --method --profile --key --only --json {WRITER}",
    "unprotect": f"--key --json {WRITER}",
    "verify": "--text --dtype --json",
    "merge": f"--base --method --weight --density --coefficient --json {WRITER}",
    "realign": f"--base --method --json {WRITER}",
    "evaluate": "--task --text --dtype --json",
    "scan": "--base --task --merge --coefficient --checks --cleanse --fail-on --format --seed --threads --json",
    "audit": "--original --base --partner --task --partner-task --text --merges --levels --dtype --json -o --out "
    "--resume",
    "report": "--format",
    "demo": "-o --out --dtype --json",
    "doctor": "--json --quiet",
}


def _command(verb: str) -> click.Command:
    return __import__(VERBS[verb][0], fromlist=["command"]).command


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_exists_and_explains_itself(verb: str, run_cli) -> None:
    ran = run_cli(verb, "--help")
    assert ran.exit_code == 0
    assert ran.stdout.startswith(f"Usage: mergebarrier {verb}") and "Options" in ran.stdout
    assert ran.stderr == ""


@pytest.mark.parametrize("verb", OPTIONS)
def test_the_options_of_the_contract_are_there(verb: str) -> None:
    offered = {word for parameter in _command(verb).params for word in parameter.opts if word.startswith("-")}
    missing = [word for word in OPTIONS[verb].split() if word not in offered]
    assert not missing, f"{verb} lacks {missing}; it has {sorted(offered)}"


def _commands(command: click.Command, words: tuple[str, ...]) -> Iterator[tuple[str, set[str]]]:
    """Yield every command below this one, as its words and its options."""
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            yield from _commands(child, (*words, name))
    else:
        yield " ".join(words), {word for parameter in command.params for word in parameter.opts}


#: Verbs that write a folder with -o, but no model whose files of weights could be of another size: reports, rows, a
#: task, a set of models; a cured merge keeps the files of what it cures.
NO_SHARDS = {"audit", "attack measure", "demo", "scan", "zoo rows", "zoo task"}
#: Verbs that print a text as it is and do nothing else.
PRINTS_ONLY = ("completion", "help", "schema")


def test_whatever_writes_has_every_option_of_a_writer_and_whatever_works_those_of_output() -> None:
    listed = dict(found for verb in VERBS for found in _commands(_command(verb), (verb,)))
    writers = {words for words, options in listed.items() if "-o" in options}
    assert {"protect", "merge", "scan", "audit", "demo", "attack measure", "zoo task"} <= writers
    assert {words for words in writers if "--max-shard-size" not in listed[words]} == NO_SHARDS
    lacking = {words: sorted({*WRITER.split()} - listed[words]) for words in writers}
    for words, options in listed.items():
        if words not in PRINTS_ONLY:
            wanted = {"--json", "-q", "--quiet", "-v", "--verbose", "--log-file"}
            lacking[words] = lacking.get(words, []) + sorted(wanted - options)
    assert not {words: options for words, options in lacking.items() if options}


def test_the_zoo_lists_fetches_and_names_paths() -> None:
    zoo = _command("zoo")
    assert isinstance(zoo, click.Group) and {"list", "fetch", "path"} <= set(zoo.commands)


def test_the_group_of_attacks_lists_what_is_built() -> None:
    attack = _command("attack")
    assert isinstance(attack, click.Group) and set(attack.commands) == {
        "badmerging",
        "hijack",
        "measure",
        "stealer",
        "theft",
    }
    offered = {word for parameter in attack.commands["badmerging"].params for word in parameter.opts}
    wanted = "--base --task --target-class --method --trigger-side --off-task --target-task-class --reference"
    assert not set(f"{wanted} --as-published --json {WRITER}".split()) - offered
    measured = {word for parameter in attack.commands["measure"].params for word in parameter.opts}
    assert not set("--control --trigger --task --target-class --base -o --out --json".split()) - measured


def test_help_and_version_go_to_stdout(run_cli, record_property) -> None:
    for option in ("--version", "-V"):
        ran = run_cli(option)
        assert (ran.exit_code, ran.stdout, ran.stderr) == (0, f"mergebarrier {__version__}\n", "")
    started = time.perf_counter()
    shown = subprocess.run([sys.executable, "-m", "mergebarrier", "--help"], capture_output=True, text=True)
    record_property("help_s", time.perf_counter() - started)
    assert shown.returncode == 0 and all(verb in shown.stdout for verb in VERBS)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "Usage"),
        (("protec",), "Did you mean 'protect'"),
        (("zzzz",), "No such verb"),
        (("doctor", "--jsn"), "--json"),
        (("doctor", "surplus"), "mergebarrier doctor"),
        (("protect",), "Missing argument"),
        (("protect", "model"), "Missing option '-o'"),
        (("realign", "model", "--base", "base"), "Missing option '-o'"),
        (("merge", "a", "b", "--method", "tie"), "Did you mean 'ties'?"),
        (("protect", "model", "-o", "out", "--max-ram", "lots"), "not a size"),
        (("protect", "model", "-o", "out", "--threads", "0"), "--threads"),
        (("protect", "model", "-o", "out", "--seed", "-1"), "'-1' is not a whole number"),
        (("protect", "model", "-o", "out", "--seed", str(2**63)), "is not a whole number"),
        (("protect", "model", "-o", "out", "--resume", "--overwrite"), "exclude each other"),
        (("scan", "model", "--base", "b", "--overwrite"), "has no effect without -o"),
        (("doctor", "--quiet", "--verbose"), "exclude each other"),
        (("help", "protec"), "Did you mean 'protect'"),
        (("help", "doctor", "more"), "has no verbs of its own"),
        (("completion", "tcsh"), "'bash', 'zsh', 'fish'"),
    ],
)
def test_wrong_usage_exits_with_64_and_one_line(words, says: str, run_cli) -> None:
    ran = run_cli(*words)
    assert ran.exit_code == 64 and ran.stdout == "" and says in ran.stderr
    if words:
        assert ran.stderr.startswith("error: MB0001 ") and ran.stderr.count("\n") == 1


@pytest.mark.parametrize("words", [(), ("attack",), ("zoo",)])
def test_a_group_without_a_verb_shows_its_help_on_stderr(words, run_cli) -> None:
    ran = run_cli(*words)
    assert ran.exit_code == 64 and ran.stdout == ""
    assert ran.stderr == run_cli(*words, "--help").stdout


def test_a_wrong_call_that_asked_for_json_answers_in_json(run_cli) -> None:
    ran = run_cli("doctor", "--json", "surplus")
    assert ran.exit_code == 64
    assert ran.json["schema_version"] == 1 and ran.json["error"]["code"] == "MB0001"


def test_doctor_prints_one_document(run_cli) -> None:
    ran = run_cli("doctor", "--json")
    assert ran.exit_code == 0 and ran.stderr == ""
    assert ran.json["schema_version"] == 1 and ran.json["packages"]["core"]["torch"]
    assert ran.json["threads"]["default"] >= 1
    assert ran.json["compute"]["dtype"] in ("float32", "bfloat16") and ran.json["compute"]["bfloat16_over_float32"] > 0
    assert run_cli("doctor", "--quiet").stdout == ""


@pytest.fixture
def verb(monkeypatch):
    """Install a verb ``try`` that runs the given function as a writer."""

    def install(function) -> None:
        @click.command("try")
        @click.argument("words", nargs=-1)
        @writer_options
        @output_options
        def command(words, writer: WriterOptions, output: Output) -> object:
            return function(writer, output)

        module = types.ModuleType("mergebarrier_tried_verb")
        module.command = command
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(VERBS, "try", (module.__name__, "A verb of a test."))

    return install


def _raiser(error: BaseException):
    def function(writer, output) -> None:
        raise error

    return function


@pytest.mark.parametrize(
    ("error", "exit_code", "begins"),
    [
        (BadHeader("odd", where="a.safetensors", remedy="mend it"), 2, "error: MB1005 a.safetensors: odd; mend it\n"),
        (
            OSError(errno.ENOSPC, "No space left on device", "x"),
            2,
            "error: MB1013 x: the disk refused a write (No space",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "f"),
            2,
            "error: MB1020 f: not allowed (Permission denied)",
        ),
        (MemoryError(), 2, "error: MB1009 out of memory"),
        (numpy.linalg.LinAlgError("singular"), 2, "error: MB1008 no solution for these weights: singular"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 2, "error: MB1009 out of memory"),
        (
            ModuleNotFoundError("No module named 'x'", name="x"),
            2,
            "error: MB9004 a package cannot be imported: No module",
        ),
        (KeyError("no such"), 70, "error: MB0003 internal error: KeyError: 'no such'; this is a fault of mergebarrier"),
        (RecursionError("deep\nend"), 70, "error: MB0003 internal error: RecursionError: deep end"),
        (KeyboardInterrupt(), 130, "\nerror: MB0002 interrupted\nresume with: mergebarrier try -o "),
    ],
)
def test_whatever_escapes_a_verb_becomes_one_line_and_an_exit_code(
    error, exit_code: int, begins: str, verb, run_cli, tmp_path
) -> None:
    verb(_raiser(error))
    ran = run_cli("try", "-o", tmp_path / "out")
    assert ran.exit_code == exit_code and ran.stdout == ""
    assert ran.stderr.startswith(begins), ran.stderr
    assert "Traceback" not in ran.stderr and ran.stderr.strip().count("\n") <= 1


@pytest.mark.parametrize("asked", ["variable", "option"])
def test_a_traceback_is_shown_when_asked_for(asked: str, verb, run_cli, tmp_path, monkeypatch) -> None:
    if asked == "variable":
        monkeypatch.setenv("MERGEBARRIER_TRACEBACK", "1")
    verb(_raiser(KeyError("no such")))
    ran = run_cli("try", "-o", tmp_path / "out", *(["-v"] if asked == "option" else []))
    assert ran.exit_code == 70 and "Traceback" in ran.stderr


def test_an_unfinished_run_ends_with_the_line_that_resumes_it(verb, run_cli, tmp_path) -> None:
    out = tmp_path / "a folder"

    def half_way(writer: WriterOptions, output: Output) -> None:
        writer.folder.with_name(writer.folder.name + ".partial").mkdir()
        raise OSError(errno.ENOSPC, "No space left on device", "x")

    verb(half_way)
    ran = run_cli("try", "-o", out, "--overwrite")
    assert ran.stderr.splitlines()[-1] == f"resume with: mergebarrier try -o '{out}' --resume"


def test_the_exit_code_of_a_finding_is_passed_on(verb, run_cli, tmp_path) -> None:
    verb(lambda writer, output: 1)
    assert run_cli("try", "-o", tmp_path / "out").exit_code == 1
    verb(lambda writer, output: None)
    assert run_cli("try", "-o", tmp_path / "out").exit_code == 0


def test_a_writer_gets_its_options(verb, run_cli, tmp_path) -> None:
    seen = []
    verb(lambda writer, output: seen.append(writer))
    run_cli("try", "-o", tmp_path / "out", "--dry-run", "--seed", "7", "--threads", "1", "--max-ram", "1.5G")
    run_cli("try", "-o", tmp_path / "out", "--workers", "3", "--threads", "2")
    first, second = seen
    assert (first.folder, first.dry_run, first.seed, first.threads) == (tmp_path / "out", True, 7, 1)
    assert (first.workers, first.max_ram_bytes, first.resume, first.overwrite) == (1, 3 * 2**29, False, False)
    assert (second.workers, second.threads, second.max_ram_bytes) == (3, 2, None)


def test_threads_are_set_on_purpose(monkeypatch, run_cli, verb, tmp_path) -> None:
    import torch

    seen = []
    verb(lambda writer, output: seen.append((torch.get_num_threads(), os.environ["OMP_NUM_THREADS"])))
    run_cli("try", "-o", tmp_path / "out", "--threads", "2")
    assert seen == [(2, "2")]


@pytest.mark.parametrize(("text", "n_bytes"), [("7", 7), ("800M", 800 * 2**20), ("4GiB", 2**32), ("1.5kb", 1536)])
def test_sizes_are_read_in_powers_of_1024(text: str, n_bytes: int) -> None:
    assert SIZE.convert(text, None, None) == n_bytes


@pytest.mark.parametrize("text", ["", "0", "-1", "4X", "G", "٤G"])
def test_sizes_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        SIZE.convert(text, None, None)


def test_json_is_one_document_whatever_it_holds(verb, run_cli, tmp_path) -> None:
    def speak(writer: WriterOptions, output: Output) -> None:
        output.note("a note")
        with output.progress("work", total=2) as advance:
            advance(1, 2)
        output.result({"kind": "x", "bad": float("inf"), "path": tmp_path, "row": (1.5, None)}, "for people")

    verb(speak)
    loud = run_cli("try", "-o", tmp_path / "out", "--json")
    assert json.loads(loud.stdout) == {
        "schema_version": 1,
        "kind": "x",
        "bad": None,
        "path": str(tmp_path),
        "row": [1.5, None],
    }
    assert loud.stderr == "a note\n"
    human = run_cli("try", "-o", tmp_path / "out")
    assert human.stdout == "for people\n"
    quiet = run_cli("try", "-o", tmp_path / "out", "--quiet")
    assert quiet.stdout == quiet.stderr == ""


def test_no_progress_bar_where_nobody_looks(capsys) -> None:
    with Output().progress("work") as advance:
        advance(1, 3)
    assert capsys.readouterr().err == ""


def test_a_bar_appears_on_a_terminal_and_only_for_long_work(monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert Output().bar_after_s == 1.0
    with Output(bar_after_s=3600.0).progress("quick work", total=1) as advance:
        advance(1)
    assert "quick work" not in capsys.readouterr().err
    with Output(bar_after_s=0.0).progress("long work", total=2) as advance:
        advance(1)
        until(lambda: "long work" in capsys.readouterr().err)


def test_threads_option_alone_gives_a_number(monkeypatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    seen = []

    @click.command()
    @threads_option
    def command(threads: int) -> None:
        seen.append(threads)

    monkeypatch.setattr("mergebarrier.cli._options.set_threads", lambda n: seen.append(-n))
    command.main([], standalone_mode=False)
    command.main(["--threads", "1"], standalone_mode=False)
    assert seen == [-3, 3, -1, 1]

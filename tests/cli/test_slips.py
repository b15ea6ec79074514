"""What newcomers type: a slip is refused in one line, before any work; one verb never offers what another refuses."""

import shutil
from pathlib import Path

import pytest

import tiny_models
from tiny_tokenizer import add_tokenizer


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Path]:
    """Two models of one shape, a text and a task, and what is not there."""
    parent = tmp_path_factory.mktemp("slips")
    made = {
        name: add_tokenizer(tiny_models.save("llama-mha-tied", parent / name, seed=n)) for n, name in enumerate("ab")
    }
    (parent / "prose.txt").write_text("one two three\n" * 50)
    (parent / "rows.jsonl").write_text('{"prompt": "one", "answer": " two"}\n')
    return {**made, "text": parent / "prose.txt", "rows": parent / "rows.jsonl", "missing": parent / "missing"}


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ("protect a -o OUT --text text", 64, "--text: exact is not calibrated on it"),
        ("protect a -o OUT --method trap2 --images text", 64, "--images: trap2 is not calibrated on it"),
        ("protect a -o OUT --method params+trap2 --data text", 64, "trap2 is trained, and joins no other method"),
        ("protect a -o OUT --method trap2 --base b --data text --learning-rate 1e38", 64, "--learning-rate: 1e+38"),
        ("protect a -o OUT --method trap2 --base b --data text --strength 1e38 --margin inf", 64, "--margin: not an"),
        ("attack hijack --base a --task text --learning-rate 1e38 -o OUT", 64, "a number above 0, to 1e+30"),
        ("attack hijack --base a --task rows --method clean --shadow rows -o OUT", 2, "leave --shadow out"),
        ("scan a --base b --checks collapse", 64, "--checks: collapse needs --task"),
        ("scan a --base b --checks updates", 64, "updates needs --references or --declared-rank"),
        ("scan a --base b --checks refusals", 64, "refusals needs --refusals"),
        ("scan a --checks relation", 64, "relation needs --base"),
        ("scan a --base b --patch nan", 2, "--patch: a patch of nan"),
        ("scan a --json --format sarif", 64, "--json and --format sarif exclude each other"),
        ("inspect a --json --format cyclonedx", 64, "--json and --format cyclonedx exclude each other"),
        ("scan missing -q", 2, "could not be looked at"),
        ("import-gguf a -o OUT", 2, "not a regular file"),
        ("protect a -o /", 2, "this is the root of all folders"),
        ("audit a --original a --base b --partner b --task a --partner-task a --coefficients 9 -o OUT", 64, " 9.0 is"),
    ],
)  # fmt: skip
def test_a_slip_is_one_line(words, code, says, models, tmp_path, run_cli) -> None:
    given = {**{name: str(path) for name, path in models.items()}, "OUT": str(tmp_path / "out")}
    ran = run_cli(*(given.get(word, word) for word in words.split()))
    said = [line for line in ran.stderr.splitlines() if line.startswith("error: ")]
    assert ran.exit_code == code and len(said) == 1 and says in said[0], (ran.exit_code, ran.stderr, ran.stdout)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", [("inspect", ""), ("protect", "a", "-o", ""), ("merge", "a", "b", "--base", "")])
def test_an_empty_name_is_none(words, run_cli) -> None:
    ran = run_cli(*words)
    assert ran.exit_code == 64 and "the name is empty" in ran.stderr


def test_the_folder_that_one_stands_in_may_be_the_output(models, tmp_path, run_cli, monkeypatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    ran = run_cli("protect", models["a"], "-o", ".")
    assert ran.exit_code == 0, ran.stderr
    assert (tmp_path / "here" / "config.json").is_file() and (tmp_path / "here.mbkey").is_file()


def test_a_widened_model_is_the_same_though_its_shapes_are_not(models, tmp_path, run_cli) -> None:
    assert run_cli("protect", models["a"], "--method", "widen", "-o", tmp_path / "wide").exit_code == 0
    same = run_cli("verify", models["a"], tmp_path / "wide", "--max-tokens", 64)
    assert same.exit_code == 0 and same.stdout.endswith("\nequal\n"), same.stdout
    other = run_cli("verify", models["b"], tmp_path / "wide", "--max-tokens", 64)
    assert other.exit_code == 1 and other.stdout.endswith("\nNOT equal\n")
    (tmp_path / "wide" / "mergebarrier.json").unlink()  # nobody says that the shapes are meant
    assert "became" in run_cli("verify", models["a"], tmp_path / "wide").stdout


def test_nobody_is_sent_to_unprotect_what_nothing_undoes(models, tmp_path, run_cli) -> None:
    words = ("--method", "params", "--base", models["b"], "-o", tmp_path / "p")
    made = run_cli("protect", models["a"], *words)
    assert made.exit_code == 0 and "the key does not undo this form" in made.stderr
    assert "unprotect" not in run_cli("inspect", tmp_path / "p").stdout
    refused = run_cli("unprotect", tmp_path / "p", "-o", tmp_path / "u")
    assert refused.exit_code == 2 and "cannot be undone" in refused.stderr
    again = run_cli("protect", tmp_path / "p", "-o", tmp_path / "q")
    assert again.exit_code == 0 and "nothing undoes params" in again.stderr
    shutil.rmtree(tmp_path / "q")
    assert run_cli("protect", models["a"], "-o", tmp_path / "e").exit_code == 0
    assert "mergebarrier unprotect" in run_cli("inspect", tmp_path / "e").stdout

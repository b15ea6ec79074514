"""What an audit is given and cannot use is refused in one line that names it, with exit code 2 and no traceback."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file
from tokenizers import Tokenizer

import tiny_models


def _renumbered(folder: Path, tmp_path: Path) -> Path:
    """A copy of a model whose tokenizer gives two words each other's number."""
    copy = tmp_path / "renumbered"
    shutil.copytree(folder, copy)
    table = json.loads((copy / "tokenizer.json").read_text())
    vocabulary = table["model"]["vocab"]
    vocabulary["w5"], vocabulary["w6"] = vocabulary["w6"], vocabulary["w5"]
    (copy / "tokenizer.json").write_text(json.dumps(table))
    assert Tokenizer.from_file(str(copy / "tokenizer.json")).get_vocab()["w5"] == 6
    return copy


def _otherwise_called(folder: Path, tmp_path: Path) -> Path:
    """A copy of a model whose only shard has another name, in an index."""
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    shard = "model-00001-of-00001.safetensors"
    (copy / "model.safetensors").rename(copy / shard)
    names = load_file(copy / shard)
    index = {"metadata": {}, "weight_map": dict.fromkeys(names, shard)}
    (copy / "model.safetensors.index.json").write_text(json.dumps(index))
    return copy


def _other_family(folder: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "gpt2"
    tiny_models.build("gpt2-tied").save_pretrained(copy)
    shutil.copy(folder / "tokenizer.json", copy)
    return copy


CASES = {
    "overlapping rows": ({"validation": "task"}, "prompts of the validation file are also in a.jsonl"),
    "overlapping rows but for case and blanks": (
        {"validation": "respelt"},
        "prompts of the validation file are also in",
    ),
    "one class": ({"task": "constant"}, "so whatever says nothing else has the skill"),
    "settings chosen on the partner's test": ({"validation": "partner_task"}, "are also in b.jsonl"),
    "rows in both halves": ({"task": "repeated", "validation": None}, "prompts are in its first half"),
    "a report inside a model": ({"o": "inside"}, "is inside the other"),
    "a file for a report": ({"o": "task"}, "this is no folder"),
    "an empty task": ({"task": "empty"}, "error: MB9001"),
    "an expert without a skill": ({"original": "base", "protected": "base"}, "a skill needs at least"),
    "a merge that does not work": (
        {"original": "exact"},
        "must lie between them, so nothing can be concluded",
    ),
    "another tokenizer": ({"partner": "renumbered"}, "2 of 96 tokens another number than the original's"),
    "another family": ({"partner": "gpt2"}, "partner gpt2: it is a gpt2, the original a llama"),
    "a base of another family": ({"base": "gpt2"}, "base gpt2: it is a gpt2, the original a llama"),
    "a protected model of another family": ({"protected": "gpt2"}, "protected gpt2: it is a gpt2, the original"),
    "no such model": ({"base": "absent"}, "error: MB1"),
    "a partner that is the expert": ({"partner": "copy"}, "partner copy: it holds the same weights as the original"),
    "the same key twice": ({"second-key": "link"}, "it holds the same weights as the protected"),
    "the right base as the wrong one": ({"wrong-base": "base"}, "it holds the same weights as the base"),
    "a protected model as its twin": ({"twin": "exact"}, "it holds the same weights as the protected"),
    "a public expert that is the base": ({"public": "base"}, "it holds the same weights as the base"),
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_refused_in_a_line(case: str, stage, run_cli, tmp_path: Path) -> None:
    changes, says = CASES[case]
    world = stage.world
    (tmp_path / "empty.jsonl").write_text("")
    places = {
        "task": world.task, "base": world.base, "exact": stage.exact, "empty": tmp_path / "empty.jsonl",
        "absent": tmp_path / "absent", "partner_task": world.partner_task, "repeated": tmp_path / "repeated.jsonl",
        "inside": world.base / "report", "respelt": tmp_path / "respelt.jsonl", "constant": tmp_path / "constant.jsonl",
    }  # fmt: skip
    rows = [json.loads(line) for line in world.task.read_text().splitlines()]
    respelt = [row | {"prompt": f" {row['prompt'].upper().replace(' ', '  ')}"} for row in rows]
    constant = [row | {"answer": rows[0]["answer"]} for row in rows]
    for name, changed in (("respelt", respelt), ("constant", constant)):
        places[name].write_text("".join(json.dumps(row) + "\n" for row in changed))
    (tmp_path / "repeated.jsonl").write_text(world.task.read_text() * 2)
    if "renumbered" in changes.values():
        places["renumbered"] = _renumbered(world.partner, tmp_path)
    if "copy" in changes.values():
        places["copy"] = _otherwise_called(world.original, tmp_path)
    if "link" in changes.values():
        places["link"] = tmp_path / "link"
        places["link"].symlink_to(stage.exact)
    if "gpt2" in changes.values():
        places["gpt2"] = _other_family(world.partner, tmp_path)
    given = {
        "protected": stage.exact, "original": world.original, "base": world.base, "partner": world.partner,
        "task": world.task, "partner-task": world.partner_task, "validation": world.validation,
        "partner-validation": world.partner_validation,
    } | {name: value and places[value] for name, value in changes.items() if name != "o"}  # fmt: skip
    out = places[changes["o"]] if "o" in changes else tmp_path / "r"
    named = {name: value for name, value in given.items() if name != "protected" and value is not None}
    words = [word for name, value in named.items() for word in (f"--{name}", value)]
    ran = run_cli("audit", given["protected"], *words, "--merges", "linear", "--levels", "0", "-o", out)
    assert ran.exit_code == 2, (ran.exit_code, ran.stderr)
    said = [line for line in ran.stderr.splitlines() if line.startswith("error: ")]
    assert len(said) == 1 and "Traceback" not in ran.stderr
    assert says in said[0]
    measured = (tmp_path / "r" / "rows.jsonl").is_file() and (tmp_path / "r" / "rows.jsonl").stat().st_size
    assert measured or not (tmp_path / "r").exists(), "a report of nothing is left behind"
    assert not (tmp_path / "r" / "result.json").exists() and not places["inside"].exists()
    assert not (measured and "resume with" in ran.stderr), "the same command would end in the same way"

"""``doctor --family``: a right table passes, a wrong one fails on its axis, and no table is refused by its line."""

import pytest

import mergebarrier as mb
from mergebarrier.arch import FAMILIES
from mergebarrier.evaluate import tiny_module
from mergebarrier.verbs import check_class, check_tables

_HEAD = "family mine of llama: LlamaForCausalLM\n"
#: What is wrong with a table -> the axes that fail.
WRONG = {
    "  use decoder\n  model.layers.{i}.mlp.down_proj.weight  d n\n": {"n"},
    "  use decoder with QUERY=planes pairs\n": {"q"},
    "  use decoder with QUERY=basis\n": {"q"},
    "  use decoder\n  model.norm.weight  d\n": {"d"},
    "  use decoder\n  model.layers.{i}.mlp.gate_proj.weight  _ d\n": {"n"},
}
#: What cannot be tried -> where the error is, and words of it.
REFUSED = {
    "": ("FILE", "describes no family"),
    "family mine: LlamaForCausalLM\n  use decoder\n": ("FILE:1", "write `family mine of llama`"),
    "family mine: pipeline\n  use decoder\n": ("FILE:1", "no model class pipeline"),
    "family mine: AutoModel\n  use decoder\n": ("FILE:1", "no model class AutoModel"),
    f"{_HEAD}  use decoder\n  model.layers.{{i}}.self_attn.o_proj.weight  (g q) d\n": (
        "FILE:3",
        "tensor disagree",
    ),
    f"{_HEAD}  residual  d  signed  hidden_size\n  lm_head.weight  _ d\n": ("FILE:1", "not in the table of mine"),
    f"{_HEAD}  residual  d  signed  hidden_sise\n  use decoder\n": ("FILE:1", "hidden_sise = None"),
    f"{_HEAD}  example txt\n  use decoder\n": ("FILE:2", "'txt' is not text or picture"),
    f"{_HEAD}  use decoder\n  example num_attention_heads=5\n": ("FILE:3", "not a multiple"),
    f"{_HEAD}  use decoder\n  example hidden_size=100000000\n": ("FILE:3", "small values"),
    f"{_HEAD}  use decoder\n  example hidden_size=[].append(1)\n": ("FILE:3", "plain, small values"),
}


def test_a_right_table_passes_axis_by_axis(tmp_path, run_cli) -> None:
    (tmp_path / "mine.txt").write_text(f"{_HEAD}  use decoder\n")
    ran = run_cli("doctor", "--family", tmp_path / "mine.txt", "--json")
    report = mb.check_family(tmp_path / "mine.txt")
    assert ran.exit_code == 0 and ran.json == report.to_dict() and report.passed
    rows = {row["axis"]: row for row in report.rows()}
    assert list(rows) == ["d", "q", "w", "g", "r", "n"]
    assert all(row["error"] <= report.kept and row["control_error"] >= report.broken for row in rows.values())
    assert rows["w"]["control"] == "w for w' in model.layers.{i}.self_attn.o_proj.weight"


@pytest.mark.parametrize("text", WRONG, ids=["mark", "pairs", "basis", "gain", "axis"])
def test_a_wrong_table_fails_on_the_axis_that_it_is_wrong_about(text, tmp_path, run_cli) -> None:
    (found,) = check_tables(_HEAD + text, "mine.txt")
    assert {one.axis for one in found.axes if not one.passed} == WRONG[text] and not found.passed
    if "pairs" in text:
        (tmp_path / "mine.txt").write_text(_HEAD + text)
        ran = run_cli("doctor", "--family", tmp_path / "mine.txt")
        assert ran.exit_code == 1 and "basis for planes  FAILS\n" in ran.stdout


@pytest.mark.parametrize("text", REFUSED, ids=range(len(REFUSED)))
def test_what_cannot_be_tried_is_refused_in_one_line(text, tmp_path, run_cli) -> None:
    (tmp_path / "mine.txt").write_text(text)
    ran = run_cli("doctor", "--family", tmp_path / "mine.txt")
    where, words = REFUSED[text]
    assert ran.exit_code == 2 and ran.stdout == "" and ran.stderr.count("\n") == 1
    assert words in ran.stderr and f"{tmp_path / where.replace('FILE', 'mine.txt')}:" in ran.stderr


def test_a_python_file_is_read_and_never_run(tmp_path, run_cli) -> None:
    mine = tmp_path / "mine.py"
    text = f'open({str(tmp_path / "ran")!r}, "w")\nA = 1\nT: str = r"""\n{_HEAD}  use decoder with STREAM=odd\n"""\n'
    mine.write_text(text)
    ran = run_cli("doctor", "--family", mine)
    assert ran.exit_code == 2 and f"{mine}:5: 'odd' is no kind of axis" in ran.stderr
    assert not (tmp_path / "ran").exists()
    mine.write_text("T = (")
    assert f"{mine}:1: this is not Python" in run_cli("doctor", "--family", mine).stderr


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"#" * (1 << 21)], ids=["absent", "binary", "large"])
def test_what_is_no_table_is_refused(content, tmp_path, run_cli) -> None:
    if content is not None:
        (tmp_path / "file").write_bytes(content)
    ran = run_cli("doctor", "--family", tmp_path / "file")
    assert ran.exit_code == 2 and ran.stderr.startswith("error: MB2006") and ran.stderr.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_our_own_tables_pass_for_every_class(name) -> None:
    for architecture in FAMILIES[name].architectures:
        found = check_class(FAMILIES[name], architecture)
        assert found.passed, found


def test_a_tiny_model_depends_on_nothing_but_its_seed() -> None:
    import torch

    def parameters(seed: int) -> list[torch.Tensor]:
        return list(tiny_module(FAMILIES["mamba"], "MambaForCausalLM", seed=seed).parameters())

    first, other = parameters(0), parameters(1)
    before = torch.get_rng_state()
    torch.rand(3)
    assert all(map(torch.equal, first, parameters(0))) and not any(map(torch.equal, first, other))
    torch.set_rng_state(before)
    assert all(bool((one != one.flatten()[0]).any()) for one in first)

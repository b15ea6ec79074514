"""Where models run: the names of devices, one line where there is none, a module that is wholly where it should be.

No graphics processor is here, so torch's ``meta`` device, which has no values, stands for one.
"""

from pathlib import Path

import pytest
import torch

from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.errors import NoDevice, UsageError
from mergebarrier.evaluate import device_for, device_named, exact_match, load_module, load_tokenizer, read_task


def test_a_device_is_named_as_torch_names_it() -> None:
    assert device_named("cpu") == "cpu"
    assert device_named("auto") == ("cuda:0" if torch.cuda.device_count() else "cpu")
    for odd in ("gpu", "cuda:", "cuda:-1", "cuda:x", "", "CPU", "cuda:0\n", "mps"):
        with pytest.raises(UsageError, match="give auto, cpu, cuda or cuda:N"):
            device_named(odd)


def test_a_processor_that_is_not_there_is_said_in_a_line() -> None:
    with pytest.raises(NoDevice, match=r"there is no graphics processor 999; torch .* give --device cpu") as caught:
        device_named("cuda:999")
    assert "\n" not in str(caught.value) and caught.value.exit_code == 2


def test_work_of_the_processor_stays_there_and_says_why_where_another_is_named() -> None:
    assert device_for("auto", processor="this reads more than it computes") == device_for("cpu", processor="x") == "cpu"
    assert device_for("cpu") == "cpu" and device_for("auto") == device_named("auto")
    with pytest.raises(NoDevice if not torch.cuda.device_count() else UsageError, match="--device cuda"):
        device_for("cuda", processor="this reads more than it computes")


@pytest.mark.parametrize("verb", ["evaluate", "verify", "audit"])
def test_every_verb_that_runs_models_refuses_it_before_it_works(verb, stage, run_cli, tmp_path: Path) -> None:
    world = stage.world
    words = {
        "evaluate": [world.original, "--task", world.task],
        "verify": [world.original, stage.exact],
        "audit": [
            stage.exact, "--original", world.original, "--base", world.base, "--partner", world.partner, "--task",
            world.task, "--partner-task", world.partner_task, "-o", tmp_path / "report",
        ],
    }[verb]  # fmt: skip
    ran = run_cli(verb, *words, "--device", "cuda:999")
    assert ran.exit_code == 2 and ran.stdout == ""
    assert ran.stderr.splitlines()[0].startswith("error: MB9010 --device cuda:999: there is no graphics processor 999")


def test_a_module_is_wholly_on_the_device_that_is_asked_for(stage) -> None:
    with open_checkpoint(stage.world.original) as checkpoint:
        module = load_module(checkpoint, "float32", "meta")
    held = [*module.parameters(), *module.buffers()]
    assert held and {tensor.device.type for tensor in held} == {"meta"}


@pytest.mark.parametrize("tokens", [1, 9, 40, 10_000])
def test_how_many_tokens_go_through_at_once_changes_no_answer(tokens: int, stage) -> None:
    rows = read_task(stage.world.task).rows
    with open_checkpoint(stage.world.original) as checkpoint:
        tokenizer, module = load_tokenizer(checkpoint), load_module(checkpoint, "float32")
        one, other = exact_match(module, tokenizer, rows), exact_match(module, tokenizer, rows, batch_tokens=tokens)
    assert (one.correct, one.total, one.tokens) == (other.correct, other.total, other.tokens)
    assert other.nll_nats == pytest.approx(one.nll_nats, rel=1e-5)

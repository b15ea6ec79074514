"""The machine is asked once what it computes in fastest, and every verb that runs a model follows the answer."""

import json
import os
import subprocess
import sys

import pytest
import torch

import tiny_models
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.evaluate import compute_dtype, load_module, processor_speed

#: A processor that multiplies no bfloat16, on any x86: the kernels are limited, whatever the processor could do.
SLOW = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MERGEBARRIER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def kept(cache):
    return sorted((cache / "compute-dtype").iterdir())


@pytest.mark.parametrize("asked", ["float32", "bfloat16", "float16", "float64"])
def test_a_dtype_that_is_asked_for_is_taken_and_nothing_is_measured(asked, cache) -> None:
    assert compute_dtype(asked) == asked
    assert not cache.exists()


def test_what_was_measured_is_kept_and_decides(cache) -> None:
    found = processor_speed()
    (place,) = kept(cache)
    assert json.loads(place.read_text()) == {"bfloat16_over_float32": found.ratio}
    assert compute_dtype() == compute_dtype("auto") == ("bfloat16" if found.ratio < 1 else "float32")


@pytest.mark.parametrize(("ratio", "dtype"), [(0.4, "bfloat16"), (1.0, "float32"), (7.0, "float32")])
def test_what_another_process_kept_is_believed(ratio, dtype, cache, tmp_path, monkeypatch) -> None:
    processor_speed()
    name = kept(cache)[0].name
    other = tmp_path / "other" / "compute-dtype"
    other.mkdir(parents=True)
    (other / name).write_text(json.dumps({"bfloat16_over_float32": ratio}))
    monkeypatch.setenv("MERGEBARRIER_CACHE", str(other.parent))
    assert compute_dtype() == dtype and processor_speed().ratio == ratio


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"bfloat16_over_float32": "fast"}'])
def test_a_damaged_note_is_measured_again(text, cache, tmp_path, monkeypatch) -> None:
    processor_speed()
    name = kept(cache)[0].name
    other = tmp_path / "other" / "compute-dtype"
    other.mkdir(parents=True)
    (other / name).write_text(text)
    monkeypatch.setenv("MERGEBARRIER_CACHE", str(other.parent))
    assert processor_speed().ratio == json.loads((other / name).read_text())["bfloat16_over_float32"]


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path, monkeypatch) -> None:
    (tmp_path / "file").write_text("a file, where a folder should be")
    monkeypatch.setenv("MERGEBARRIER_CACHE", str(tmp_path / "file"))
    assert processor_speed().ratio > 0


def test_limits_on_instructions_have_an_answer_of_their_own(cache, monkeypatch) -> None:
    processor_speed()
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX512_CORE")
    processor_speed()
    assert len(kept(cache)) == 2


def test_a_processor_without_bfloat16_computes_in_float32(cache) -> None:
    """The real thing in a process of its own, where the kernels are limited from the start."""
    code = "from mergebarrier.evaluate import compute_dtype; print(compute_dtype())"
    ran = subprocess.run([sys.executable, "-c", code], env={**os.environ, **SLOW}, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (0, "float32\n"), ran.stderr


def test_a_module_is_loaded_in_the_dtype_of_the_machine(tmp_path) -> None:
    with open_checkpoint(tiny_models.save("llama-mha-tied", tmp_path / "model")) as checkpoint:
        module = load_module(checkpoint)
    assert {parameter.dtype for parameter in module.parameters()} == {getattr(torch, compute_dtype())}

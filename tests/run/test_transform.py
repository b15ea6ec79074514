"""A run: the same bits for any workers, order and blocks; honest about faults, memory and progress."""

import os
import random
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from mergebarrier.checkpoint import Writer, layout_like, open_checkpoint
from mergebarrier.errors import ChangedDuringRun, InternalError, LimitExceeded, NonFinite
from mergebarrier.run import Unit, peak_bytes, plan_peak_bytes, transform
from model_folders import payload, small_tensors, write_folder
from waiting import stands_in, until


@dataclass(frozen=True)
class Part:
    name: str
    tensors: tuple[str, ...]
    rowwise: bool = False
    streamed: bool = False


EMBED = "model.embed_tokens.weight"


def parts() -> list[Part]:
    names = list(small_tensors())
    layers = [Part(f"layers.{i}", tuple(n for n in names if f"layers.{i}." in n)) for i in range(2)]
    return [Part("embed", (EMBED,), rowwise=True), *layers]


def negate(unit: Unit, blocks: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    return {name: -tensor for name, tensor in blocks[0].items()}


def product(unit: Unit, blocks: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Something whose bits would depend on the number of threads in a kernel, had it many."""
    return {n: (t.double() @ torch.ones(t.shape[-1], t.shape[-1]).double()).to(t.dtype) for n, t in blocks[0].items()}


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and payload(a) == payload(b)


def test_units_are_applied_and_the_rest_is_copied(source: Path, memory: Any) -> None:
    sink, tensors = memory(), small_tensors()
    with open_checkpoint(source) as checkpoint:
        transform([checkpoint], sink, parts(), negate)
    named = {name for part in parts() for name in part.tensors}
    assert set(sink.values) == set(tensors)
    for name, tensor in tensors.items():
        assert same(sink.value(name), -tensor if name in named else tensor)


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("order", [0, 1])
def test_bytes_depend_neither_on_workers_nor_on_order(source: Path, tmp_path: Path, workers: int, order: int) -> None:

    def run(out: Path, workers: int, units: list[Part]) -> dict[str, bytes]:
        with open_checkpoint(source) as checkpoint:
            writer = Writer.create(out, layout_like(checkpoint), plan={}, inputs=[source])
            transform([checkpoint], writer, units, product, workers=workers, block_elements=24)
            writer.commit({}, {}, {"config.json": checkpoint.read_side_file("config.json")}, workers=workers)
        return {path.name: path.read_bytes() for path in out.iterdir()}

    shuffled = parts()
    random.Random(order).shuffle(shuffled)
    assert run(tmp_path / "a", 1, parts()) == run(tmp_path / "b", workers, shuffled)


@pytest.mark.parametrize("block", [1, 7, 8, 24, 100, 10**6])
def test_rowwise_units_come_in_blocks_that_tell_their_place(source: Path, memory: Any, block: int) -> None:
    seen: list[tuple[int, int]] = []

    def note(unit: Unit, blocks: list[Any]) -> dict[str, torch.Tensor]:
        seen.append((blocks[0].start_row, len(blocks[0][EMBED])))
        return negate(unit, blocks)

    sink = memory()
    with open_checkpoint(source) as checkpoint:
        transform([checkpoint], sink, parts()[:1], note, block_elements=block)
    assert same(sink.value(EMBED), -small_tensors()[EMBED])
    assert seen[0][0] == 0 and sum(rows for _, rows in seen) == 40
    assert all(a + n == b for (a, n), (b, _) in pairwise(seen))
    assert all(rows * 8 <= max(block, 8) for _, rows in seen)


def test_several_tensors_of_one_length_share_their_blocks(tmp_path: Path, memory: Any) -> None:
    tensors = {"a": torch.randn(9, 3), "b": torch.randn(9), "c": torch.randn(5, 3)}
    folder = write_folder(tmp_path / "m", tensors)
    for names, calls in ((("a", "b"), 3), (("a", "c"), 1)):
        count: list[int] = []

        def note(unit: Unit, blocks: list[Any], count: list[int] = count) -> dict[str, torch.Tensor]:
            count.append(1)
            return negate(unit, blocks)

        sink = memory()
        with open_checkpoint(folder) as checkpoint:
            transform([checkpoint], sink, [Part("u", names, rowwise=True)], note, block_elements=12)
        assert len(count) == calls
        assert all(same(sink.value(name), -tensors[name] if name in names else tensors[name]) for name in tensors)


def test_a_source_that_lacks_a_tensor_gives_a_table_without_it(tmp_path: Path, memory: Any) -> None:
    tensors = small_tensors()
    write_folder(tmp_path / "a", tensors)
    write_folder(tmp_path / "b", {n: t for n, t in tensors.items() if "v_proj" not in n})
    seen: list[bool] = []

    def note(unit: Unit, blocks: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        seen.append("model.layers.0.self_attn.v_proj.weight" in blocks[1])
        return blocks[0]

    with open_checkpoint(tmp_path / "a") as a, open_checkpoint(tmp_path / "b") as b:
        transform([a, b], memory(), [parts()[1]], note)
    assert seen == [False]


@pytest.mark.parametrize("workers", [1, 2])
def test_finished_units_are_not_done_again(source: Path, memory: Any, workers: int) -> None:
    sink = memory(["layers.0", "copy/model.mask"])
    called: list[str] = []

    def note(unit: Unit, blocks: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        called.append(unit.name)
        return blocks[0]

    with open_checkpoint(source) as checkpoint:
        transform([checkpoint], sink, parts(), note, workers=workers)
    assert sorted(called) == ["embed", "layers.1"] and "model.mask" not in sink.values


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("fault", [ValueError("mine"), KeyboardInterrupt()])
def test_a_fault_reaches_the_caller_and_leaves_a_run_to_resume(
    source: Path, tmp_path: Path, workers: int, fault: BaseException
) -> None:
    def broken(unit: Unit, blocks: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        if unit.name == "layers.1":
            raise fault
        return negate(unit, blocks)

    def run(out: Path, apply: Callable[..., Any], resume: bool = False) -> dict[str, bytes]:
        with open_checkpoint(source) as checkpoint:
            writer = Writer.create(out, layout_like(checkpoint), plan={}, inputs=[source], resume=resume)
            try:
                transform([checkpoint], writer, parts(), apply, workers=workers)
                writer.commit({}, {}, {})
            finally:
                writer.close()
        return {path.name: path.read_bytes() for path in out.iterdir()}

    threads, running = torch.get_num_threads(), threading.active_count()
    with pytest.raises(type(fault)):
        run(tmp_path / "out", broken)
    assert torch.get_num_threads() == threads and threading.active_count() == running
    assert not (tmp_path / "out").exists()
    assert run(tmp_path / "out", negate, resume=True) == run(tmp_path / "reference", negate)


def test_nan_from_a_method_stops_the_run(source: Path, tmp_path: Path) -> None:
    with open_checkpoint(source) as checkpoint:
        writer = Writer.create(tmp_path / "out", layout_like(checkpoint), plan={}, inputs=[source])
        with pytest.raises(NonFinite, match=r"layers\.0"):
            transform([checkpoint], writer, parts()[1:2], lambda u, b: {n: t * float("nan") for n, t in b[0].items()})
        writer.close()


def test_progress_counts_every_byte_once(source: Path, memory: Any) -> None:
    total = sum(len(payload(tensor)) for tensor in small_tensors().values())
    for workers, done in ((1, []), (2, []), (2, ["layers.0"])):
        seen: list[tuple[int, int]] = []

        def note(done: int, total: int, seen: list[tuple[int, int]] = seen) -> None:
            seen.append((done, total))

        with open_checkpoint(source) as checkpoint:
            sink = memory(done)
            transform([checkpoint], sink, parts(), negate, workers=workers, progress=note, block_elements=64)
        assert seen[-1] == (total, total) and seen == sorted(seen)
        assert seen[0][0] == (0 if not done else sum(len(payload(small_tensors()[n])) for n in parts()[1].tensors))


def test_the_budget_is_kept_or_refused_with_the_number_that_would_do(source: Path, memory: Any) -> None:
    with open_checkpoint(source) as checkpoint:
        need = max(peak_bytes(part, [checkpoint]) for part in parts())
        assert need <= plan_peak_bytes([checkpoint], parts(), 2) <= 2 * need
        with pytest.raises(LimitExceeded, match=str(need)):
            transform([checkpoint], memory(), parts(), negate, max_ram_bytes=need - 1)
        running, most, lock = [0], [0], threading.Lock()

        def count(unit: Unit, blocks: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
            with lock:
                running[0] += 1
                most[0] = max(most[0], running[0])
            torch.ones(300, 300) @ torch.ones(300, 300)
            with lock:
                running[0] -= 1
            return blocks[0]

        transform([checkpoint], memory(), parts(), count, workers=4, max_ram_bytes=need)
        assert most[0] == 1
        assert peak_bytes(parts()[0], [checkpoint], 64) < need


def test_kernels_run_on_one_thread_in_every_worker(source: Path, memory: Any) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        seen: list[int] = []

        def note(unit: Unit, blocks: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
            seen.append(torch.get_num_threads())
            return blocks[0]

        for workers in (1, 2):
            with open_checkpoint(source) as checkpoint:
                transform([checkpoint], memory(), parts(), note, workers=workers)
            assert torch.get_num_threads() == 2
        assert set(seen) == {1}
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    "units",
    [
        [Part("a", (EMBED,)), Part("b", (EMBED,))],
        [Part("a", ("no.such.tensor",))],
    ],
)
def test_overlapping_or_unknown_units_are_our_own_fault(source: Path, memory: Any, units: list[Part]) -> None:
    with open_checkpoint(source) as checkpoint, pytest.raises(InternalError):
        transform([checkpoint], memory(), units, negate)


@pytest.mark.parametrize("result", [{}, {EMBED: torch.zeros(1), "more": torch.zeros(1)}])
def test_a_method_returns_exactly_its_tensors(source: Path, memory: Any, result: dict[str, torch.Tensor]) -> None:
    with open_checkpoint(source) as checkpoint, pytest.raises(InternalError, match="exactly"):
        transform([checkpoint], memory(), parts()[:1], lambda unit, blocks: result)


def test_a_source_that_changes_is_noticed_at_the_end(source: Path, memory: Any) -> None:
    shard = next(source.glob("*.safetensors"))

    def meddle(unit: Unit, blocks: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        shard.write_bytes(shard.read_bytes())
        return blocks[0]

    with open_checkpoint(source) as checkpoint, pytest.raises(ChangedDuringRun):
        transform([checkpoint], memory(), parts(), meddle)


@pytest.fixture
def listening() -> Iterator[None]:
    """Hear Ctrl-C even where the shell started the tests in the background, deaf to it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("listening")
@pytest.mark.parametrize(("workers", "never_begun"), [(1, {"layers.0", "layers.1"}), (2, {"layers.0"})])
def test_ctrl_c_stops_the_run_soon_and_keeps_what_is_finished(
    source: Path, memory: Any, workers: int, never_begun: set[str]
) -> None:
    sink, running, once = memory(), threading.active_count(), threading.Lock()
    main, begun = threading.main_thread(), []

    def interrupted(unit: Unit, blocks: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        begun.append(unit.name)
        if once.acquire(blocking=False):
            os.kill(os.getpid(), signal.SIGINT)
        # The main thread hears the signal here, or is on its way out of the run before any unit goes on.
        until(lambda: threading.current_thread() is not main and stands_in(main, "_join"))
        return negate(unit, blocks)

    with open_checkpoint(source) as checkpoint, pytest.raises(KeyboardInterrupt):
        transform([checkpoint], sink, parts(), interrupted, workers=workers)
    assert 1 <= len(begun) <= workers
    assert not never_begun & {*begun, *sink.finished} and threading.active_count() == running

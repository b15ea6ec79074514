"""Writing: same bytes whatever the order, nothing visible before all is complete, nobody else's folder touched."""

import errno
import hashlib
import json
import os
import random
import shutil
import stat
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from mergebarrier.checkpoint import OutTensor, Writer, layout_like, open_checkpoint, read_manifest, verify_manifest
from mergebarrier.errors import (
    BadManifest,
    ChangedDuringRun,
    DigestMismatch,
    InternalError,
    MergebarrierError,
    NonFinite,
    NoSpace,
    OutputExists,
    PartialOutput,
    UnsafePath,
)
from model_folders import payload, small_tensors, thirds, write_folder

PLAN = {"method": "copy"}


def start(source: Path, out: Path, **flags: Any) -> Writer:
    with open_checkpoint(source) as checkpoint:
        return Writer.create(out, layout_like(checkpoint), plan=flags.pop("plan", PLAN), inputs=[source], **flags)


def fill(writer: Writer, tensors: dict[str, torch.Tensor], order: list[str] | None = None) -> None:
    for name in order or list(tensors):
        if not writer.done(name):
            writer.put(name, tensors[name])
            writer.finish(name, [name])


def commit(writer: Writer, source: Path) -> Path:
    try:
        return writer.commit({"verb": "copy"}, {"threads": 1}, {"config.json": (source / "config.json").read_bytes()})
    finally:
        writer.close()


def copy(source: Path, out: Path, **flags: Any) -> Path:
    writer = start(source, out, **flags)
    try:
        fill(writer, small_tensors())
        return commit(writer, source)
    finally:
        writer.close()


def folder_bytes(path: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in path.iterdir()}


def test_a_copy_has_the_same_content_and_loads_elsewhere(folder: Path, tmp_path: Path) -> None:
    out = copy(folder, tmp_path / "out")
    names = {p.name for p in folder.iterdir() if "safetensors" in p.name} | {"config.json", "mergebarrier.json"}
    assert {p.name for p in out.iterdir()} == names
    assert (out / "config.json").read_bytes() == (folder / "config.json").read_bytes()
    with open_checkpoint(folder) as before, open_checkpoint(out) as after:
        assert before.digests() == after.digests()
        assert list(before.tensors) == list(after.tensors)
        assert before.content_digest() == read_manifest(out)["content"]["output"]["content_digest"]
    theirs = {name: tensor for path in out.glob("*.safetensors") for name, tensor in load_file(path).items()}
    assert all(payload(theirs[name]) == payload(tensor) for name, tensor in small_tensors().items())
    assert not (tmp_path / "out.partial").exists()
    assert verify_manifest(out) == []


def test_a_file_of_the_library_comes_back_byte_for_byte(tmp_path: Path) -> None:
    tensors = small_tensors()
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "config.json").write_text("{}")
    save_file(tensors, tmp_path / "m" / "model.safetensors", metadata={"format": "pt"})
    out = copy(tmp_path / "m", tmp_path / "out")
    assert (out / "model.safetensors").read_bytes() == (tmp_path / "m" / "model.safetensors").read_bytes()


def test_bytes_do_not_depend_on_order_or_pieces(folder: Path, tmp_path: Path) -> None:
    reference = folder_bytes(copy(folder, tmp_path / "reference"))
    for seed in range(4):
        rng, tensors = random.Random(seed), small_tensors()
        names = list(tensors)
        rng.shuffle(names)
        writer = start(folder, tmp_path / f"out{seed}")
        for name in names:
            tensor = tensors[name]
            cuts = sorted({0, *(rng.randrange(len(tensor)) for _ in range(3)), len(tensor)}) if tensor.dim() and len(
                tensor
            ) else []  # fmt: skip
            pieces = list(pairwise(cuts))
            rng.shuffle(pieces)
            for begin, end in pieces:
                writer.put_rows(name, begin, tensor[begin:end])
            if not tensor.dim():
                writer.put(name, tensor)
            writer.finish(name, [name])
        assert folder_bytes(commit(writer, folder)) == reference


def test_weights_have_the_mode_of_any_new_file(folder: Path, tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        out = copy(folder, tmp_path / "out")
    finally:
        os.umask(before)
    assert {stat.S_IMODE(p.stat().st_mode) for p in out.iterdir()} == {0o644}


def test_nothing_loads_before_the_commit(folder: Path, tmp_path: Path) -> None:
    writer = start(folder, tmp_path / "out")
    fill(writer, small_tensors())
    writer.close()
    assert not (tmp_path / "out").exists()
    for place in (tmp_path / "out.partial", tmp_path / "out.partial" / "model"):
        with pytest.raises(MergebarrierError):
            open_checkpoint(place)
        assert not list(place.glob("*.safetensors")) + list(place.glob("*.json.index")) + list(place.glob("config*"))


def test_resume_keeps_what_is_sound_and_redoes_the_rest(folder: Path, tmp_path: Path) -> None:
    tensors = small_tensors()
    reference = folder_bytes(copy(folder, tmp_path / "reference"))
    writer = start(folder, tmp_path / "out")
    names = list(tensors)
    fill(writer, tensors, names[:6])
    writer.put(names[6], tensors[names[6]])
    info = writer._infos[names[2]]
    writer.close()
    shard = tmp_path / "out.partial" / "model" / f"{info.shard}.part"
    with shard.open("r+b") as file:
        file.seek(info.begin)
        file.write(b"\xff\xff")
    (tmp_path / "out.partial" / "tasks" / f"{0:032x}.done").write_bytes(b'{"plan":')
    writer = start(folder, tmp_path / "out", resume=True)
    assert [writer.done(name) for name in names[:7]] == [True, True, False, True, True, True, False]
    fill(writer, tensors)
    assert folder_bytes(commit(writer, folder)) == reference


def test_resume_of_a_finished_run_changes_nothing(folder: Path, tmp_path: Path) -> None:
    out = copy(folder, tmp_path / "out")
    before = {p.name: p.stat().st_mtime_ns for p in out.iterdir()}
    writer = start(folder, tmp_path / "out", resume=True)
    assert writer.finished and writer.done("anything")
    assert writer.digests == read_manifest(out)["content"]["output"]["tensors"]
    assert commit(writer, folder) == out
    assert {p.name: p.stat().st_mtime_ns for p in out.iterdir()} == before


def test_resume_does_not_take_a_manifest_for_an_output_that_has_lost_its_weights(folder: Path, tmp_path: Path) -> None:
    out = copy(folder, tmp_path / "out")
    lost = next(out.glob("*.safetensors"))
    lost.unlink()
    with pytest.raises(OutputExists, match="--overwrite"):
        start(folder, out, resume=True)
    assert (copy(folder, out, resume=True, overwrite=True) / lost.name).is_file()


def test_resume_without_an_unfinished_run_starts_one(folder: Path, tmp_path: Path) -> None:
    copy(folder, tmp_path / "out", resume=True)
    assert verify_manifest(tmp_path / "out") == []


def test_an_unfinished_run_is_not_touched_without_a_flag(folder: Path, tmp_path: Path) -> None:
    start(folder, tmp_path / "out").close()
    with pytest.raises(PartialOutput, match="--resume"):
        start(folder, tmp_path / "out")
    with pytest.raises(PartialOutput, match=r"other inputs.*: method \w+ \(here other\)"):
        start(folder, tmp_path / "out", resume=True, plan={"method": "other"})
    copy(folder, tmp_path / "out", overwrite=True, plan={"method": "other"})


def test_two_runs_cannot_write_one_output(folder: Path, tmp_path: Path) -> None:
    writer = start(folder, tmp_path / "out")
    for flags in ({"resume": True}, {"overwrite": True}):
        with pytest.raises(PartialOutput, match="another process"):
            start(folder, tmp_path / "out", **flags)
    fill(writer, small_tensors())
    commit(writer, folder)


def test_overwrite_replaces_only_our_own_folders(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("ten years of work")
    for flags in ({}, {"overwrite": True}, {"resume": True}):
        with pytest.raises(OutputExists):
            start(folder, out, **flags)
    assert (out / "thesis.txt").read_text() == "ten years of work"
    assert not (tmp_path / "out.partial").exists()
    (out / "thesis.txt").unlink()
    copy(folder, out)
    old = (out / "model.safetensors.index.json").exists()
    with pytest.raises(OutputExists, match="--overwrite"):
        start(folder, out)
    copy(folder, out, overwrite=True, plan={"method": "again"})
    assert (out / "model.safetensors.index.json").exists() == old
    assert verify_manifest(out) == [] and sorted(p.name for p in tmp_path.iterdir()) == ["model", "out"]


STRANGE = ["notes.txt", "model/notes.txt", "model/more/notes.txt", "model/config.json", "tasks/notes.txt"]


@pytest.mark.parametrize("name", STRANGE)
@pytest.mark.parametrize("begun", [False, True])
def test_no_run_removes_strange_files_from_a_partial_folder(
    name: str, begun: bool, folder: Path, tmp_path: Path
) -> None:
    if begun:
        start(folder, tmp_path / "out").close()
    mine = tmp_path / "out.partial" / name
    mine.parent.mkdir(parents=True, exist_ok=True)
    mine.write_text("mine")
    for flags in ({"overwrite": True}, {"resume": True}):
        with pytest.raises(PartialOutput, match="not written by mergebarrier") as caught:
            start(folder, tmp_path / "out", **flags)
        assert str(tmp_path / "out.partial" / Path(name).parts[0]) in str(caught.value) and mine.read_text() == "mine"
    shutil.rmtree(mine.parent) if mine.parent.name == "more" else mine.unlink()
    copy(folder, tmp_path / "out", overwrite=True)


def test_a_strange_file_that_comes_while_a_run_writes_outlives_it(folder: Path, tmp_path: Path) -> None:
    writer = start(folder, tmp_path / "out")
    fill(writer, small_tensors())
    (tmp_path / "out.partial" / "notes.txt").write_text("mine")
    (tmp_path / "out.partial" / "model" / "notes.txt").write_text("mine too")
    commit(writer, folder)
    assert (tmp_path / "out.partial" / "notes.txt").read_text() == "mine"
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine too" and verify_manifest(tmp_path / "out") == []


@pytest.mark.parametrize("where", ["model", "model/out", "."])
def test_output_and_input_never_lie_in_each_other(folder: Path, where: str) -> None:
    out = folder.parent / where
    with pytest.raises(OutputExists, match="is inside the other"):
        start(folder, out, overwrite=True)
    assert not (folder.parent / "model.partial").exists()


def test_an_output_that_is_a_link_is_not_written_through(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "real")
    with pytest.raises(UnsafePath):
        start(folder, tmp_path / "out")
    (tmp_path / "other.partial").symlink_to(tmp_path / "real")
    with pytest.raises(UnsafePath):
        start(folder, tmp_path / "other", resume=True)
    assert not any((tmp_path / "real").iterdir())


@pytest.mark.parametrize("name", ["tasks", "model", "plan.json", "plan.json.new", "overwrite"])
def test_a_partial_folder_is_not_written_through_a_link(tmp_path: Path, name: str) -> None:
    source = write_folder(tmp_path / "model", small_tensors())
    start(source, tmp_path / "out").close()
    link = tmp_path / "out.partial" / name
    if link.exists():
        link.rename(tmp_path / "elsewhere")
    link.symlink_to(tmp_path / "elsewhere")
    for flags in ({"resume": True}, {"overwrite": True}, {"resume": True, "overwrite": True}):
        with pytest.raises(UnsafePath, match="link"):
            start(source, tmp_path / "out", **flags)
    assert link.is_symlink() and (tmp_path / "elsewhere").exists() == (name in ("tasks", "model", "plan.json"))


@pytest.mark.parametrize("trap", ["link", "fifo", "hardlink"])
def test_a_partial_folder_with_a_trap_is_not_resumed_into(tmp_path: Path, trap: str) -> None:
    source = write_folder(tmp_path / "model", small_tensors())
    start(source, tmp_path / "out").close()
    part = tmp_path / "out.partial" / "model" / "model.safetensors.part"
    (tmp_path / "victim").write_bytes(part.read_bytes())
    part.unlink()
    if trap == "link":
        part.symlink_to(tmp_path / "victim")
    elif trap == "fifo":
        os.mkfifo(part)
    else:
        os.link(tmp_path / "victim", part)
    before = (tmp_path / "victim").read_bytes()
    with pytest.raises((UnsafePath, OSError)):
        start(source, tmp_path / "out", resume=True)
    assert (tmp_path / "victim").read_bytes() == before


def test_a_result_that_overflows_is_refused(folder: Path, tmp_path: Path) -> None:
    writer = start(folder, tmp_path / "out")
    with pytest.raises(NonFinite, match=r"model\.norm\.weight"):
        writer.put("model.norm.weight", torch.full((8,), 3.4e38, dtype=torch.float64).mul(2).to(torch.bfloat16))
    writer.close()


def test_a_tensor_of_another_shape_or_dtype_is_our_own_fault(folder: Path, tmp_path: Path) -> None:
    writer = start(folder, tmp_path / "out")
    norm = "model.norm.weight"
    for tensor in (torch.zeros(8), torch.zeros(9, dtype=torch.bfloat16), torch.zeros(1, 8, dtype=torch.bfloat16)):
        with pytest.raises(InternalError, match=norm):
            writer.put(norm, tensor)
    with pytest.raises(InternalError, match="rows"):
        writer.put_rows(norm, 7, torch.zeros(2, dtype=torch.bfloat16))
    writer.put_rows(norm, 1, torch.zeros(7, dtype=torch.bfloat16))
    with pytest.raises(InternalError, match="rows are missing"):
        writer.finish("u", [norm])
    with pytest.raises(InternalError, match="never written"):
        writer.commit({}, {}, {})
    writer.close()


def test_only_listed_side_files_are_written(folder: Path, tmp_path: Path) -> None:
    writer = start(folder, tmp_path / "out")
    fill(writer, small_tensors())
    with pytest.raises(InternalError, match=r"evil\.py"):
        writer.commit({}, {}, {"evil.py": b"import os"})
    writer.close()


def test_short_writes_and_reads_are_continued(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reference = folder_bytes(copy(folder, tmp_path / "reference"))
    pwrite, preadv = os.pwrite, os.preadv
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: pwrite(fd, data[:7], at))
    monkeypatch.setattr(os, "preadv", lambda fd, views, at: preadv(fd, [views[0][:5]], at))
    assert folder_bytes(copy(folder, tmp_path / "out")) == reference


@pytest.mark.parametrize("call", ["pwrite", "posix_fallocate", "open", "ftruncate"])
def test_a_full_disk_is_named_and_the_run_resumes(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    reference = folder_bytes(copy(folder, tmp_path / "reference"))
    real: Callable[..., Any] = getattr(os, call)
    for fail_at in range(0, 40, 3):
        count = [0]

        def flaky(*args: Any, count: list[int] = count, fail_at: int = fail_at, **more: Any) -> Any:
            writes = call != "open" or (len(args) > 1 and args[1] & os.O_CREAT)
            count[0] += bool(writes)
            if writes and count[0] == fail_at + 1:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(*args, **more)

        out = tmp_path / f"out{fail_at}"
        with monkeypatch.context() as patch:
            patch.setattr(os, call, flaky)
            try:
                copy(folder, out)
            except NoSpace as fault:
                assert fault.exit_code == 2 and "free space" in str(fault)
                assert not out.exists()
        assert folder_bytes(copy(folder, out, resume=True)) == reference


def test_a_disk_that_is_too_small_is_met_before_work(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(NoSpace, match="1000 are free"):
        start(folder, tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model"]


def test_a_disk_that_gives_back_other_bytes_is_noticed(folder: Path, tmp_path: Path) -> None:
    writer = start(folder, tmp_path / "out")
    fill(writer, small_tensors())
    info = writer._infos["model.norm.weight"]
    os.pwrite(writer.fds[info.shard], b"\x00\x01", info.begin)
    with pytest.raises(DigestMismatch, match=r"model\.norm\.weight"):
        commit(writer, folder)
    assert not (tmp_path / "out").exists()
    resumed = start(folder, tmp_path / "out", resume=True)
    assert not resumed.done("model.norm.weight")
    fill(resumed, small_tensors())
    commit(resumed, folder)


def test_without_fallocate_zeros_are_written(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reference = folder_bytes(copy(folder, tmp_path / "reference"))

    def missing(*args: Any) -> None:
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(os, "posix_fallocate", missing)
    assert folder_bytes(copy(folder, tmp_path / "out")) == reference


def test_layouts_may_change_dtypes(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "model", small_tensors(), shards=thirds(small_tensors()))
    with open_checkpoint(source) as checkpoint:
        layout = tuple(
            OutTensor(t.name, "F32" if t.dtype == "BF16" else t.dtype, t.shape, t.shard)
            for t in layout_like(checkpoint)
        )
    writer = Writer.create(tmp_path / "out", layout, plan={}, inputs=[source])
    fill(writer, {n: t.float() if t.dtype == torch.bfloat16 else t for n, t in small_tensors().items()})
    out = commit(writer, source)
    with open_checkpoint(out) as checkpoint:
        assert checkpoint.tensors["model.norm.weight"].dtype == "F32"
    index = json.loads((out / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_parameters"] == sum(t.numel() for t in small_tensors().values())


def test_the_writer_closes_what_it_opened(folder: Path, tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    copy(folder, tmp_path / "out")
    with pytest.raises(OutputExists):
        start(folder, tmp_path / "out")
    start(folder, tmp_path / "other").close()
    with pytest.raises(PartialOutput):
        start(folder, tmp_path / "other")
    assert len(os.listdir("/proc/self/fd")) == before


def test_digests_in_the_manifest_are_those_of_the_files(folder: Path, tmp_path: Path) -> None:
    out = copy(folder, tmp_path / "out")
    content = read_manifest(out)["content"]
    listed = {name: entry["sha256"] for name, entry in content["output"]["files"].items()}
    actual = {
        p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in out.iterdir() if p.name != "mergebarrier.json"
    }
    assert listed == actual
    assert content["verb"] == "copy" and content["schema_version"] == 1


def test_unrelated_errors_are_not_swallowed(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BadManifest):
        read_manifest(folder)
    writer = start(folder, tmp_path / "out")
    with pytest.raises(KeyError):
        writer.put("unknown", torch.zeros(1))
    writer.close()
    assert issubclass(ChangedDuringRun, MergebarrierError)

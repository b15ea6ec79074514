"""Reading: the values, digests and refusals of ``Checkpoint``."""

import hashlib
import os
import threading
from pathlib import Path

import pytest
import torch
from blake3 import blake3
from safetensors.torch import load_file

from mergebarrier.checkpoint import BLAKE3, Piece, View, ViewPart, open_checkpoint
from mergebarrier.errors import BadConfig, ChangedDuringRun, InternalError, LimitExceeded
from model_folders import payload, small_tensors, thirds, write_folder, write_index


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and payload(a) == payload(b)


def test_every_tensor_reads_as_it_was_written(folder: Path) -> None:
    tensors = small_tensors()
    with open_checkpoint(folder) as checkpoint:
        assert set(checkpoint.tensors) == set(tensors)
        assert all(same(checkpoint.read(name), tensor) for name, tensor in tensors.items())
        assert [s.name for s in checkpoint.shards] == sorted(p.name for p in folder.glob("*.safetensors"))
        assert checkpoint.config["model_type"] == "llama"


def test_rows_are_slices(folder: Path) -> None:
    whole = small_tensors()["model.embed_tokens.weight"]
    with open_checkpoint(folder) as checkpoint:
        assert same(checkpoint.read_rows("model.embed_tokens.weight", 3, 17), whole[3:17])
        assert checkpoint.read_rows("model.embed_tokens.weight", 5, 5).shape == (0, 8)
        for start, stop in ((-1, 2), (3, 2), (0, 41)):
            with pytest.raises(IndexError):
                checkpoint.read_rows("model.embed_tokens.weight", start, stop)


def test_only_listed_side_files_are_offered(folder: Path) -> None:
    with open_checkpoint(folder) as checkpoint:
        assert checkpoint.side_files == ("config.json", "tokenizer.json", "README.md")
        assert checkpoint.read_side_file("config.json") == (folder / "config.json").read_bytes()
        with pytest.raises(KeyError):
            checkpoint.read_side_file("modeling_x.py")


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_digests_are_those_of_the_definition(folder: Path, workers: int) -> None:
    tensors = small_tensors()
    with open_checkpoint(folder) as checkpoint:
        digests = checkpoint.digests(workers)
        assert list(digests) == list(checkpoint.tensors)
        for name, info in checkpoint.tensors.items():
            shape = ",".join(map(str, info.shape))
            text = f"{name}\0{info.dtype}\0{shape}\0".encode() + payload(tensors[name])
            assert digests[name] == hashlib.sha256(text).hexdigest()
        parts = b"".join(bytes.fromhex(digests[name]) for name in sorted(digests))
        assert checkpoint.content_digest() == hashlib.sha256(parts).hexdigest()


def test_digests_across_buffer_borders(tmp_path: Path) -> None:
    """Tensors of several buffers, of less than one, and ends on a border."""
    generator = torch.Generator().manual_seed(1)
    sizes = {"a": 5_000_001, "b": 3, "c": (1 << 22) - 9, "d": 9_000_000, "e": 0, "f": 1}
    tensors = {
        name: torch.randint(0, 255, (size,), dtype=torch.uint8, generator=generator) for name, size in sizes.items()
    }
    with open_checkpoint(write_folder(tmp_path / "m", tensors)) as one:
        serial = one.digests(1)
    with open_checkpoint(tmp_path / "m") as two:
        seen: list[tuple[int, int]] = []
        assert two.digests(2, lambda done, total: seen.append((done, total))) == serial
    assert seen[-1][0] == seen[-1][1] == sum(sizes.values())
    with open_checkpoint(tmp_path / "m") as three:
        trees = three.digests(2, hashing=BLAKE3)
    for name, tensor in tensors.items():
        head, text = f"{name}\0U8\0{tensor.numel()}\0".encode(), payload(tensor)
        assert serial[name] == hashlib.sha256(head + text).hexdigest()
        leaves = [blake3(text[start : start + 2**18]).digest() for start in range(0, len(text), 2**18)]
        assert trees[name] == blake3(head + b"".join(leaves)).hexdigest()


def test_fused_experts_that_are_read_one_by_one_from_any_thread_need_no_second_pass(tmp_path: Path) -> None:
    """Rows of half a leaf and less, as gates and ups of experts lie between each other."""
    tensors = {"w": torch.arange(6 * 10 * 9001.0).reshape(6, 10, 9001)}
    with open_checkpoint(write_folder(tmp_path / "m", tensors)) as plain:
        wanted = plain.digests(hashing=BLAKE3)
    with open_checkpoint(tmp_path / "m") as stored:
        cuts = [(start, start + 5) for start in range(0, 60, 5)]
        names = [f"e{n}" for n in (*range(0, 12, 2), *range(11, 0, -2))]
        parts = {name: ViewPart((5, 9001), (Piece(stored, "w", *cuts[int(name[1:])]),)) for name in names}
        view = View(stored, parts, {})
        view.stream()
        threads = [threading.Thread(target=lambda n=n: [view.read(name) for name in names[n::2]]) for n in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        hashed_again: list[int] = []
        assert stored.digests(1, lambda done, total: hashed_again.append(total), hashing=BLAKE3) == wanted
        assert hashed_again == []


def test_content_digest_does_not_depend_on_shards(tmp_path: Path) -> None:
    tensors = small_tensors()
    write_folder(tmp_path / "one", tensors)
    write_folder(tmp_path / "three", dict(reversed(tensors.items())), shards=thirds(tensors))
    with open_checkpoint(tmp_path / "one") as one, open_checkpoint(tmp_path / "three") as three:
        assert one.content_digest() == three.content_digest()


def test_hub_cache_snapshots_are_read_through_their_links(tmp_path: Path) -> None:
    repository = tmp_path / "models--a--b"
    snapshot = write_folder(repository / "snapshots" / "rev", small_tensors())
    (repository / "blobs").mkdir()
    for i, path in enumerate(sorted(snapshot.iterdir())):
        path.rename(repository / "blobs" / f"{i:x}")
        path.symlink_to(f"../../blobs/{i:x}")
    with open_checkpoint(snapshot) as checkpoint:
        assert same(checkpoint.read("model.norm.weight"), small_tensors()["model.norm.weight"])
    with pytest.raises(Exception, match="snapshots"):
        open_checkpoint(repository)


def test_links_inside_the_folder_are_followed(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m", small_tensors())
    (folder / "model.safetensors").rename(folder / "weights")
    (folder / "model.safetensors").symlink_to("weights")
    (tmp_path / "link").symlink_to(folder)
    with open_checkpoint(tmp_path / "link") as checkpoint:
        assert len(checkpoint.digests()) == len(small_tensors())


def test_an_unlisted_shard_is_never_opened(tmp_path: Path) -> None:
    tensors = small_tensors()
    folder = write_folder(tmp_path / "m", tensors, shards=thirds(tensors))
    os.mkfifo(folder / "consolidated.safetensors")
    with open_checkpoint(folder) as checkpoint:
        assert len(checkpoint.shards) == 3


def test_wrong_total_size_is_no_reason_to_refuse(tmp_path: Path) -> None:
    tensors = small_tensors()
    folder = write_folder(tmp_path / "m", tensors, shards=thirds(tensors))
    with open_checkpoint(folder) as checkpoint:
        weight_map = {name: info.shard for name, info in checkpoint.tensors.items()}
    write_index(folder, weight_map, metadata={"total_size": 1.5e9})
    open_checkpoint(folder).close()


def test_plain_kernel_sizes_and_implementations_are_no_code(tmp_path: Path) -> None:
    config = {
        "model_type": "x",
        "conv_kernel": 4,
        "use_kernel": False,
        "_attn_implementation": "sdpa",
        "attn_implementation": {"": "eager", "text_config": None},
        "auto_map": None,
        "trust_remote_code": False,
    }
    open_checkpoint(write_folder(tmp_path / "m", small_tensors(), config=config)).close()


def test_the_header_cap_can_be_moved(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m", small_tensors())
    with pytest.raises(LimitExceeded, match="max_header_bytes"):
        open_checkpoint(folder, max_header_bytes=100)


@pytest.mark.parametrize("change", ["append", "rewrite", "replace", "remove", "truncate"])
def test_a_file_that_changes_during_the_run_is_noticed(tmp_path: Path, change: str) -> None:
    folder = write_folder(tmp_path / "m", small_tensors())
    weights = folder / "model.safetensors"
    with open_checkpoint(folder) as checkpoint:
        for name in checkpoint.tensors:
            checkpoint.read(name)
        checkpoint.verify_unchanged()
        times = weights.stat()
        if change == "append":
            with weights.open("ab") as file:
                file.write(b"x")
        elif change == "rewrite":
            data = bytearray(weights.read_bytes())
            data[-1] ^= 1
            weights.write_bytes(data)
            os.utime(weights, ns=(times.st_atime_ns, times.st_mtime_ns))
        elif change == "replace":
            (folder / "new").write_bytes(weights.read_bytes())
            (folder / "new").rename(weights)
        elif change == "remove":
            weights.unlink()
        else:
            os.truncate(weights, times.st_size - 100)
            with pytest.raises(ChangedDuringRun):
                checkpoint.digests()
        with pytest.raises(ChangedDuringRun, match=r"model\.safetensors"):
            checkpoint.verify_unchanged()


@pytest.mark.parametrize("read", ["all", "rows", "some", "hashed"])
@pytest.mark.parametrize("change", ["link", "mode", "rewrite", "rewrite the header"])
def test_a_change_of_ctime_alone_is_judged_by_the_bytes(change: str, read: str, folder: Path) -> None:
    weights = min(folder.glob("*.safetensors"))
    with open_checkpoint(folder) as checkpoint:
        here = [
            info for info in checkpoint.tensors.values() if info.shard == weights.name and info.shape and info.nbytes
        ]
        names, last = [info.name for info in here], here[-1]
        for name in {"all": names, "some": names[-1:]}.get(read, []):
            checkpoint.read(name)
        if read == "hashed":
            checkpoint.digests()
        if read == "rows":
            checkpoint.read_rows(last.name, last.rows - 1, last.rows)
        times = weights.stat()
        if change == "link":
            os.link(weights, folder / "backup")
        elif change == "mode":
            weights.chmod(0o600)
        else:
            data = bytearray(weights.read_bytes())
            data[last.end - 1 if change == "rewrite" else 10] ^= 1
            weights.write_bytes(data)
            os.utime(weights, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert weights.stat().st_ctime_ns != times.st_ctime_ns
        if change.startswith("rewrite"):
            with pytest.raises(ChangedDuringRun):
                checkpoint.verify_unchanged()
        else:
            checkpoint.verify_unchanged()


def test_a_backup_of_a_shard_of_which_nothing_was_read_is_no_change(folder: Path) -> None:
    with open_checkpoint(folder) as checkpoint:
        for weights in sorted(folder.glob("*.safetensors")):
            os.link(weights, folder / f"{weights.name}.backup")
        checkpoint.verify_unchanged()


def test_reading_after_close_is_our_own_fault(folder: Path) -> None:
    checkpoint = open_checkpoint(folder)
    checkpoint.close()
    with pytest.raises(InternalError):
        checkpoint.read("model.norm.weight")


def test_threads_read_the_same_values(folder: Path) -> None:
    tensors = small_tensors()
    wrong: list[str] = []

    def check() -> None:
        for _ in range(20):
            wrong.extend(name for name, tensor in tensors.items() if not same(checkpoint.read(name), tensor))

    with open_checkpoint(folder) as checkpoint:
        threads = [threading.Thread(target=check) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m", small_tensors())
    before = len(os.listdir("/proc/self/fd"))
    with open_checkpoint(folder) as checkpoint:
        checkpoint.digests(2)
        checkpoint.read_side_file("config.json")
    os.truncate(folder / "model.safetensors", 50)
    with pytest.raises(Exception, match=r"model\.safetensors"):
        open_checkpoint(folder)
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_peer_reads_the_same_names_and_values(folder: Path) -> None:
    theirs = {name: tensor for path in folder.glob("*.safetensors") for name, tensor in load_file(path).items()}
    with open_checkpoint(folder) as checkpoint:
        assert set(theirs) == set(checkpoint.tensors)
        assert all(same(theirs[name], checkpoint.read(name)) for name in theirs)


@pytest.mark.parametrize(
    "said", ['"rope_theta": "x"', '"text": {"rope_parameters": {"rope_theta": "1e4"}}', '"layer_norm_eps": ""']
)
def test_a_constant_that_is_no_number_is_no_configuration(folder: Path, said: str) -> None:
    config = folder / "config.json"
    config.write_text(f"{{{said}, {config.read_text().lstrip()[1:]}")
    with pytest.raises(BadConfig, match="which is no number"):
        open_checkpoint(folder)


@pytest.mark.parametrize("labels", ['"num_labels": 1000000000', '"num_labels": 1e99', '"vision": {"num_labels": 1e9}'])
def test_a_table_that_no_memory_holds_is_not_asked_of_a_stock_class(folder: Path, labels: str) -> None:
    config = folder / "config.json"
    config.write_text(f"{{{labels}, {config.read_text().lstrip()[1:]}")
    with pytest.raises(BadConfig, match="num_labels is"):
        open_checkpoint(folder)

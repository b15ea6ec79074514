"""Files of weights have the size that was asked for, whichever verb writes them, and no weight differs for it."""

import pytest

import gguf_files
import tiny_models
from mergebarrier.checkpoint import open_checkpoint, verify_manifest

SMALL = ("--max-shard-size", "20K")


def files_of(folder) -> tuple[int, dict[str, str]]:
    with open_checkpoint(folder) as opened:
        assert all(shard.size_bytes <= 24000 or len(shard.tensors) == 1 for shard in opened.shards)
        return len(opened.shards), dict(opened.digests())


def test_protect_unprotect_and_realign_fill_files_to_a_size(tmp_path, run_cli) -> None:
    tiny_models.save("llama-gqa-untied", tmp_path / "base")
    expert = tiny_models.save_expert("llama-gqa-untied", tmp_path / "expert")
    assert run_cli("protect", expert, "-o", tmp_path / "plain").exit_code == 0
    key = tmp_path / "plain.mbkey"
    planned = run_cli("protect", expert, "-o", tmp_path / "out", "--dry-run", *SMALL)
    assert run_cli("protect", expert, "-o", tmp_path / "out", "--key", key, *SMALL).exit_code == 0
    count, found = files_of(tmp_path / "out")
    assert count > 4 and f"model-{count:05d}-of-{count:05d}.safetensors" in planned.stdout
    with open_checkpoint(tmp_path / "plain") as plain, open_checkpoint(expert) as original:
        assert len(plain.shards) == 1 and dict(plain.digests()) == found
        assert run_cli("unprotect", tmp_path / "out", "--key", key, "-o", tmp_path / "back", *SMALL).exit_code == 0
        assert files_of(tmp_path / "back") == (count, dict(original.digests()))
    ran = run_cli("realign", tmp_path / "out", "--base", tmp_path / "base", "-o", tmp_path / "again", *SMALL)
    assert ran.exit_code == 0 and files_of(tmp_path / "again")[0] == count
    assert all(verify_manifest(tmp_path / name) == [] for name in ("out", "back", "again"))


@pytest.mark.parametrize("size", ["0", "-3G", "many"])
def test_no_size_is_wrong_usage(size: str, tmp_path, run_cli) -> None:
    assert run_cli("protect", tmp_path, "-o", tmp_path / "out", "--max-shard-size", size).exit_code == 64


def test_a_gguf_file_becomes_several_files(tmp_path, run_cli) -> None:
    file = gguf_files.write(gguf_files.llama(), tmp_path / "m.gguf")
    assert run_cli("import-gguf", file, "-o", tmp_path / "out", *SMALL).exit_code == 0
    assert files_of(tmp_path / "out")[0] > 2 and verify_manifest(tmp_path / "out") == []

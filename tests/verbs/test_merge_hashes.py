"""A merge hashes each byte once: those of the inputs as it reads them, those of the output as it writes them."""

import hashlib
from contextlib import ExitStack
from dataclasses import replace

import pytest
import torch
from blake3 import blake3

from mergebarrier import verbs
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.checkpoint.bytes import io
from mergebarrier.checkpoint.bytes import tensors as digests
from mergebarrier.merge import make, plan

ROWS, COLUMNS = 2100, 1001  # more than one block; no row ends where a leaf of a digest does


@pytest.fixture
def hashed(monkeypatch) -> dict[str, int]:
    """Count the bytes that hashes are given, which stay what they are."""
    count = {"blake3": 0, "sha256": 0}

    def counted(name: str, make_hash):
        class Counted:
            def __init__(self, data=b"") -> None:
                self._inner = make_hash()
                self.update(data)

            def update(self, data) -> None:
                count[name] += len(data)
                self._inner.update(data)

            def digest(self) -> bytes:
                return self._inner.digest()

            def hexdigest(self) -> str:
                return self._inner.hexdigest()

        return Counted

    for place in (io, digests):
        monkeypatch.setattr(place, "blake3", counted("blake3", blake3))
    monkeypatch.setattr(hashlib, "sha256", counted("sha256", hashlib.sha256))
    return count


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("way", ["whole", "rows", "passes"])
def test_every_byte_is_hashed_once(save, tmp_path, hashed, way, workers) -> None:
    drawn = [torch.Generator().manual_seed(seed) for seed in range(3)]
    models = [{"w": torch.randn(ROWS, COLUMNS, generator=one), "v": torch.randn(5, generator=one)} for one in drawn]
    folders = [save(f"m{i}", model) for i, model in enumerate(models)]
    with ExitStack() as stack:
        base, *experts = (stack.enter_context(open_checkpoint(folder)) for folder in folders)
        method = make("task_arithmetic") if way == "rows" else make("ties", density=0.5)
        job = verbs.whole_models(plan(method, base, experts))
        units = [replace(job.units[0], name=name, tensors=(name,)) for name in ("w", "v")]
        units[0] = replace(units[0], rowwise=way == "rows", streamed=way == "passes")
        hashed.update(blake3=0, sha256=0)
        verbs.merge(replace(job, units=units), verbs.OutputOptions(tmp_path / "out", workers=workers))
        payload = 4 * sum(info.nbytes for info in base.tensors.values())
    assert payload <= hashed["blake3"] < payload + (1 << 14), hashed
    assert hashed["sha256"] < 1 << 14

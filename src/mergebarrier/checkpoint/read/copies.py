"""A tensor that lies in two shards of a model: one and the same where both hold the same bytes.

    listed in A, also in B, same dtype, shape and BLAKE3     ->   that of A;   else both stay, and the folder is refused

Source: ours.  Differs from stock loaders, which take the one or the other without a look.
"""

from dataclasses import replace
from pathlib import Path

from mergebarrier.checkpoint.bytes import Shard, TensorInfo, range_digest


def without_copies(
    path: Path, shards: list[Shard], weight_map: dict[str, str], files: dict[str, tuple[int, Path]]
) -> list[Shard]:
    """Leave out tensors that the index says are in another shard, where that one holds the same bytes."""
    listed = {one.name: one for shard in shards for one in shard.tensors if weight_map.get(one.name) == shard.name}

    def content(one: TensorInfo) -> tuple[object, ...]:
        return one.dtype, one.shape, range_digest(files[one.shard][0], one.begin, one.end, path / one.shard)

    def counts(one: TensorInfo) -> bool:
        other = listed.get(one.name, one)
        return other.shard == one.shard or content(other) != content(one)

    return [replace(shard, tensors=tuple(filter(counts, shard.tensors))) for shard in shards]

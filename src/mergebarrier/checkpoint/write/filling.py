"""How far one tensor of an output is written: a running digest while rows come in order, the pieces in any case."""

from dataclasses import dataclass, field

from mergebarrier.checkpoint.bytes import TensorInfo, new_tensor_hash


@dataclass
class Filling:
    """The state of a tensor between its first piece and ``finish``; not shared between threads."""

    info: TensorInfo
    _next_row: int = 0
    _in_order: bool = True
    _pieces: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Begin the digest."""
        self._digest = new_tensor_hash(self.info.name, self.info.dtype, self.info.shape)

    def add(self, start: int, stop: int, content: memoryview) -> None:
        """Note that rows ``start`` to ``stop`` (exclusive) were written with these bytes."""
        self._pieces.append((start, stop))
        self._in_order = self._in_order and start == self._next_row
        if self._in_order:
            self._digest.update(content)
            self._next_row = stop

    @property
    def complete(self) -> bool:
        """Whether all rows are there."""
        reached = 0
        for start, stop in sorted(self._pieces):
            if start > reached:
                return False
            reached = max(reached, stop)
        return reached >= self.info.rows or not self.info.numel

    @property
    def digest(self) -> str | None:
        """The digest, if the rows came in order; None when the bytes must be read again for it."""
        in_order = self._in_order and (self._next_row == self.info.rows or not self.info.numel)
        return self._digest.hexdigest() if in_order else None

"""Write a model folder in any order and in pieces, so that a crash costs only the present piece.

Every shard is allocated to its full size at once and workers write disjoint ranges; a finished unit leaves a record
with the digests of its tensors.  The bytes of the output depend on the layout and the values alone.

    create -> (put_rows | put)* , finish   per unit, any order, any number of threads   -> commit

Source: ours.  Differs from mergekit's writer, which finalises even while an exception passes, and from safetensors',
which wants a shard in memory: here nothing is finalised unless ``commit`` returns.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any, Self

from mergebarrier.checkpoint.bytes import (
    SHA256,
    TORCH,
    OutTensor,
    Shard,
    TensorInfo,
    check_finite,
    hash_tensor,
    on_disk,
    write_at,
)
from mergebarrier.checkpoint.read import Checkpoint
from mergebarrier.checkpoint.write.commit import (
    Filling,
    Flusher,
    UnitRecord,
    commit_output,
    mark,
    read_records,
    write_record,
)
from mergebarrier.checkpoint.write.layout import open_parts, part_name, plan_digest, plan_document, plan_shards
from mergebarrier.checkpoint.write.place import OutputPlace, check_out_free, claim_partial, find_place, finished_digests
from mergebarrier.checkpoint.write.unfinished import drop_leftover, remove_partial, take_over
from mergebarrier.errors import ChangedDuringRun, DiskFailed, InternalError, Interrupted, MergebarrierError, NoSpace
from mergebarrier.lazy import torch
from mergebarrier.progress import Progress


class Writer:
    """The sink of a run; made by ``create``, ended by ``commit`` or ``close``."""

    def __init__(
        self,
        place: OutputPlace,
        layout: tuple[OutTensor, ...],
        shards: tuple[Shard, ...],
        plan_sha256: str,
        *,
        resumed: bool,
        hashing: str,
    ) -> None:
        """Use ``create``."""
        self.place, self.layout, self.shards, self.plan_sha256 = place, layout, shards, plan_sha256
        self.resumed, self.hashing = resumed, hashing
        self.finished = False
        self._infos: dict[str, TensorInfo] = {t.name: t for shard in shards for t in shard.tensors}
        self._fds: dict[str, int] = {}
        self._lock_fd: int | None = None
        self._filling: dict[str, Filling] = {}
        self._digests: dict[str, str] = {}
        self._units: dict[str, UnitRecord] = {}
        self._flusher = Flusher(shards)
        self._mutex = Lock()

    @classmethod
    def create(
        cls,
        out: str | os.PathLike[str],
        layout: Sequence[OutTensor],
        *,
        plan: Mapping[str, object],
        inputs: Sequence[str | os.PathLike[str]],
        resume: bool = False,
        overwrite: bool = False,
        hashing: str = SHA256,
    ) -> Self:
        """Claim an output folder and allocate its weights below ``OUT.partial``.

        Args:
          out:       folder to be made; absent or empty, unless ``overwrite``.
          layout:    every tensor of the output, those of one shard in offset order.
          plan:      JSON table that determines the values (method, parameters, input digests, key id).
          inputs:    folders that are read; none may touch the output.
          resume:    go on with an unfinished run of the same plan; one that finished is reported as ``finished``.
          overwrite: replace an output that holds our manifest, discard an unfinished run.
          hashing:   of weights: BLAKE3 hashes each byte once, as it is written; SHA256 also names the files by it.
        Returns: Writer.
        Raises:  OutputExists, PartialOutput, NoSpace, UnsafePath; nothing is left behind then.
        """
        layout, shards_and_headers = tuple(layout), plan_shards(layout)
        shards = tuple(shard for shard, _ in shards_and_headers)
        document = plan_document(plan, layout, hashing)
        place, digest = find_place(out, inputs), plan_digest(document)
        writer = cls(place, layout, shards, digest, resumed=resume, hashing=hashing)
        finished = finished_digests(place, digest) if resume else None
        if finished is not None:
            writer.finished, writer._digests = True, finished
            drop_leftover(place, document)
            return writer
        check_out_free(place, overwrite=overwrite)
        writer._lock_fd, fresh = claim_partial(place, may_be_there=resume or overwrite)
        try:
            if not fresh:
                take_over(place, resume=resume)
            if overwrite:
                os.close(os.open(place.overwrites, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666))
            writer._fds = open_parts(place, shards_and_headers, document)
            writer._believe_records()
        except BaseException:
            writer.close()
            raise
        return writer

    def _believe_records(self) -> None:
        """Take over the units of an earlier run whose bytes still have the recorded digests."""
        for unit, record in read_records(self.place.tasks, self.plan_sha256).items():
            if all(name in self._infos and self._hash_file(name) == digest for name, digest in record.tensors.items()):
                self._units[unit] = record
                self._digests.update(record.tensors)

    def _hash_file(self, name: str) -> str:
        info = self._infos[name]
        fd, where = self._fds[info.shard], self._where(info)
        return hash_tensor(fd, info, where=where, check_values=False, hashing=self.hashing)

    def _where(self, info: TensorInfo) -> str:
        return f"{self.place.out / info.shard}: tensor {info.name!r}"

    def done(self, unit_name: str) -> bool:
        """True when an earlier or this run has finished the unit."""
        return self.finished or unit_name in self._units

    def made_of(self, unit_name: str) -> Any:
        """Return the record that ``finish`` was given about a unit's inputs; None for an unfinished unit."""
        return self._units[unit_name].made_of if unit_name in self._units else None

    def put(self, name: str, tensor: torch.Tensor) -> None:
        """Write a whole tensor; as ``put_rows``."""
        info = self._infos[name]
        if tuple(tensor.shape) != info.shape:
            raise InternalError(f"shape {tuple(tensor.shape)}, the layout has {info.shape}", where=self._where(info))
        self._put(info, 0, info.rows, tensor)

    def put_rows(self, name: str, start_row: int, tensor: torch.Tensor) -> None:
        """Write rows of a tensor.

        Args:
          name:      of the layout.
          start_row: index of the first row.
          tensor:    (rows, *shape[1:]) in the layout's dtype, on the CPU.
        Raises: NonFinite (also for values that overflowed the stored dtype); NoSpace; InternalError for a shape
                or dtype that is not the layout's.
        """
        info = self._infos[name]
        stop = start_row + (tensor.shape[0] if tensor.dim() else 0)
        if not info.shape or tuple(tensor.shape[1:]) != info.shape[1:] or not 0 <= start_row <= stop <= info.rows:
            raise InternalError(
                f"rows {start_row}:{stop} of shape {tuple(tensor.shape)}, the layout has {info.shape}",
                where=self._where(info),
            )
        self._put(info, start_row, stop, tensor)

    def _put(self, info: TensorInfo, start: int, stop: int, tensor: torch.Tensor) -> None:
        if tensor.dtype != TORCH[info.dtype]:
            raise InternalError(f"dtype {tensor.dtype}, the layout has {info.dtype}", where=self._where(info))
        tensor = tensor.detach().contiguous()
        where = self._where(info)
        check_finite(
            tensor,
            info.dtype,
            where=where,
            remedy="the result does not fit the stored dtype; use a wider one or less gain",
        )
        view = tensor.reshape(-1).view(torch.uint8).numpy().data
        write_at(self._fds[info.shard], info.begin + start * info.row_nbytes, view, where)
        if info.name not in self._filling:
            self._filling[info.name] = Filling(info, self.hashing)
        self._filling[info.name].add(start, stop, view)

    def finish(self, unit_name: str, names: Sequence[str], made_of: object = None) -> None:
        """Record that the tensors of a unit are complete.

        Args:
          unit_name: any text, one record each.
          names:     tensors of the unit, all of their rows written.
          made_of:   JSON that identifies the unit's inputs, for a run that resumes.
        Raises: InternalError when rows are missing; NoSpace.
        """
        record = UnitRecord({name: self._digest(name) for name in names}, made_of)
        write_record(self.place.tasks, unit_name, self.plan_sha256, record)
        with self._mutex:
            self._digests.update(record.tensors)
            self._units[unit_name] = record
            for shard in dict.fromkeys(self._infos[name].shard for name in names):
                mark(self._fds[shard])
        self._flusher.note(names, self._fds)

    def _digest(self, name: str) -> str:
        info = self._infos[name]
        filling = self._filling.pop(name, None) or Filling(info, self.hashing)
        if not filling.complete:
            raise InternalError("rows are missing", where=self._where(info))
        return filling.digest or self._hash_file(name)

    def commit(
        self,
        content: Mapping[str, object],
        environment: Mapping[str, object],
        side_files: Mapping[str, bytes],
        *,
        workers: int = 2,
        progress: Progress | None = None,
        seal: Callable[[bytes], Mapping[str, str]] | None = None,
    ) -> Path:
        """Verify every shard against the records, add side files and manifest, and rename the folder to its name.

        Args:
          content:     the deterministic part of the manifest; ``output`` (digests), ``plan_sha256``, ``tool`` join.
          environment: the rest (versions, threads, date).
          side_files:  name -> bytes, names of the allow-list and attachments; config.json among them.
          workers:     threads for the last read; no influence on the result.
          progress:    called with (bytes verified, bytes in all).
          seal:        (canonical content) -> what vouches for it.
        Returns: path of the output.
        Raises:  DigestMismatch when the disk gives back other bytes; NoSpace; InternalError when a tensor is missing.
        """
        if not self.finished:
            missing = next((name for name in self._infos if name not in self._digests), None)
            if missing is not None:
                raise InternalError("the tensor was never written", where=missing)
            commit_output(self, content, environment, side_files, workers=workers, progress=progress, seal=seal)
            self.finished = True
        self.close()
        return self.place.out

    def preview(self, config: dict[str, object]) -> Checkpoint:
        """Return what is written so far as a model that can be read; close it before ``commit``.

        Args:
          config: the config.json that the output will have.
        """
        files = {name: (os.dup(fd), self.place.model / part_name(name)) for name, fd in self._fds.items()}
        return Checkpoint(self.place.out, self.place.model, config, self.shards, (), files)

    @property
    def digests(self) -> Mapping[str, str]:
        """Tensor name -> digest of every finished tensor."""
        return self._digests

    @property
    def fds(self) -> Mapping[str, int]:
        """Shard name -> descriptor of the file that is being written."""
        return self._fds

    def flushed(self, shard: str) -> None:
        """Return when a shard that is written completely is on the disk."""
        with on_disk(self.place.out / shard):
            self._flusher.wait(shard, self._fds[shard])

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Keep an unfinished run only if it may end otherwise the next time: other refusals are about its inputs."""
        try:
            yield
        except MergebarrierError as fault:
            if not isinstance(fault, (Interrupted, NoSpace, DiskFailed, ChangedDuringRun)):
                self.discard()
            raise

    def discard(self) -> None:
        """Remove an unfinished run that began here: one that would meet the same refusal again.

        A run that was taken over stays, and so does a finished output.
        """
        if not self.finished and not self.resumed:
            remove_partial(self.place)

    def close(self) -> None:
        """Release the files; an unfinished run stays for ``resume``."""
        self._flusher.close()
        fds, self._fds = [*self._fds.values()], {}
        if self._lock_fd is not None:
            fds.append(self._lock_fd)
            self._lock_fd = None
        for fd in fds:
            os.close(fd)

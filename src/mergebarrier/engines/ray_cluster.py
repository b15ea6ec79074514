"""Workers that are actors of Ray, on this machine or, where RAY_ADDRESS is set, on a cluster with a shared folder.

    order = number of a task          answer = what refused it, or nothing

No weight, key or row enters the object store: actors read models and write rows on the disk, as every worker does.  A
cluster without token authentication is refused, since whoever reaches its port runs code on it (GHSA-gx77-xgc2-4888);
one that is started here listens on this machine alone and has a token that is drawn for it and never written down.
"""

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from mergebarrier.errors import MergebarrierError, MissingExtra, UsageError, WorkerLost, clean

if TYPE_CHECKING:
    from mergebarrier.engines.perform import Performer

_ADDRESS: Final = "RAY_ADDRESS"
_MODE: Final = "RAY_AUTH_MODE"
_LOCAL: Final = MappingProxyType(
    {
        _MODE: "token",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_DEDUP_LOGS": "0",
    }
)


class TaskActor:
    """What runs in an actor: it keeps its models open from one task to the next."""

    def __init__(self, plan: str, threads: int) -> None:
        """Open nothing yet."""
        import torch

        torch.set_num_threads(threads)
        self._plan = Path(plan)
        self._worker: Performer | None = None

    def process(self) -> int:
        """Return the number of the process."""
        return os.getpid()

    def perform(self, index: int) -> str | None:
        """Do a task; return what refused it."""
        from mergebarrier.engines.perform import Performer

        try:
            self._worker = self._worker or Performer(self._plan)
            self._worker.perform(index)
        except MergebarrierError as error:
            return str(error)
        return None


class RayHand:
    """A worker in an actor of a cluster that is running.

    Args:
      plan:    the file of the plan, at the same place on every machine of the cluster.
      threads: of its numeric libraries; the actor asks for as many processors.
    """

    def __init__(self, plan: Path, threads: int) -> None:
        """Start it."""
        import ray

        remote = ray.remote(num_cpus=threads, max_restarts=0, max_task_retries=0)(TaskActor)
        self._actor = remote.remote(str(plan), threads)
        try:
            self.name = f"actor in process {ray.get(self._actor.process.remote())}"
        except ray.exceptions.RayError as error:
            raise WorkerLost("an actor did not start", where="ray", remedy="look at the logs of Ray") from error

    def perform(self, index: int) -> str | None:
        """Do a task; WorkerLost when the actor is gone."""
        import ray

        try:
            refused: str | None = ray.get(self._actor.perform.remote(index))
        except ray.exceptions.RayError as error:
            raise WorkerLost(
                f"{self.name} is gone ({type(error).__name__})",
                where=f"task {index}",
                remedy="go on with --resume; where memory ran out, give --workers a lower number",
            ) from error
        return refused

    def close(self) -> None:
        """End the actor."""
        import ray

        ray.kill(self._actor)


def _started(address: str | None, processors: int) -> None:
    """Join a cluster, or start one.  Ray waits 15 s for its own daemons, which a crowded machine may exceed."""
    import ray

    try:
        if address:
            ray.init(address=address, log_to_driver=False)
        else:
            mine = {"num_cpus": processors, "include_dashboard": False, "_node_ip_address": "127.0.0.1"}
            ray.init(log_to_driver=False, **mine)
    except Exception as error:  # a cluster that does not come up raises a bare Exception
        ray.shutdown()
        raise WorkerLost(
            f"Ray did not start: {clean(error)}",
            where=address or "this machine",
            remedy="try again when the machine is less busy, or give --engine process",
        ) from error


@contextmanager
def cluster(workers: int, threads: int) -> Iterator[None]:
    """Join the cluster of RAY_ADDRESS, or start one on this machine that ends with the block.

    Raises: MissingExtra without Ray; UsageError for a cluster without token authentication.
    """
    address = os.environ.get(_ADDRESS)
    if address and os.environ.get(_MODE, "").lower() != "token":
        raise UsageError(
            "the cluster would be joined without token authentication",
            where=f"{_ADDRESS}={address}",
            remedy=f"set {_MODE}=token on every machine of it, with one token",
        )
    if find_spec("ray") is None:
        raise MissingExtra(
            "the package ray is not installed", where="--engine ray", remedy="pip install mergebarrier[ray]"
        )
    local = {} if address else {**_LOCAL, "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    with _environment(local):
        import ray

        _started(address, workers * threads)
        try:
            yield
        finally:
            ray.shutdown()


@contextmanager
def _environment(more: Mapping[str, str]) -> Iterator[None]:
    """Set variables for a while."""
    before = {name: os.environ.get(name) for name in more}
    os.environ.update(more)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value

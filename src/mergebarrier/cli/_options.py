"""The options that verbs share, written once, so that every verb spells them alike, and what they set in the process.

``@output_options`` gives ``output: Output``; ``@threads_option`` ``threads: int``; ``@download_option`` ``download``;
``@writer_options`` ``writer: WriterOptions``, and adds the resume line to whatever stops the verb half-way.

    @click.argument("model", type=MODEL)
    @writer_options
    @output_options
    def command(model: Path, writer: WriterOptions, output: Output) -> None: ...

Paths go to the rooms unchecked (no ``exists=True``): a missing model is a refused input (2), not wrong usage (64).
Threads go into the environment before torch is imported, since libraries that each take every core spin on a shared
machine.  Linux's C library is set to keep freed buffers, which it would take again page by page (mallopt(3)).
"""

import dataclasses
import functools
import os
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, overload

import click

from mergebarrier.cli._output import Output, Session
from mergebarrier.errors import Interrupted, MergebarrierError, NotMeasurable, OutputExists, PartialOutput, UsageError
from mergebarrier.parameters import built

if TYPE_CHECKING:
    from mergebarrier.api import WriteOptions

__all__ = [
    "MODEL",
    "SIZE",
    "WriterOptions",
    "default_threads",
    "download_option",
    "keep_freed_memory",
    "output_options",
    "set_threads",
    "shards_option",
    "threads_option",
    "writer_options",
]

_COUNT: Final = click.IntRange(1, 1024)  # a larger number costs time and memory before anything begins
_Verb = Callable[..., object]
_AS_BEFORE: Final = (PartialOutput, OutputExists, UsageError, NotMeasurable)  # what the same command ends in again
_UNITS: Final = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def _size(value: str) -> int:
    """Read a number of bytes: 800M, 4G, 4GiB, 1.5G or a plain number, at least one; units are powers of 1024."""
    size = re.fullmatch(r"(\d{1,18}(?:\.\d{1,18})?)\s*([KMGT]?)(?:i?B)?", value, re.ASCII | re.IGNORECASE)
    n_bytes = int(float(size[1]) * _UNITS[size[2].upper()]) if size else 0
    if n_bytes < 1:
        raise click.BadParameter(f"{value!r} is not a size such as 800M or 4G")
    return n_bytes


def _seed(value: str) -> int:
    """Read a whole number from 0 to 2**63 - 1; as a click range it would fill the help with digits."""
    if not (value.isascii() and value.isdecimal() and int(value) < 2**63):
        raise click.BadParameter(f"{value!r} is not a whole number from 0 to 2**63 - 1")
    return int(value)


class _TypedPath(click.Path):
    """A path; "" is what an unset variable of a shell leaves, and others stand beside the name of an output."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse an empty name, and an output that has none."""
        if value == "":
            self.fail("the name is empty", param, ctx)
        path: Any = super().convert(value, param, ctx)
        if param is not None and param.name == "out" and path.name in ("", "..") and not (path := path.resolve()).name:
            raise OutputExists("this is the root of all folders", where=path, remedy="choose another output folder")
        return path


SIZE: Final = click.types.FuncParamType(_size)
MODEL: Final = _TypedPath(path_type=Path)


@dataclasses.dataclass(frozen=True)
class WriterOptions:
    """What every verb that writes a folder accepts.

    Args:
      out:           the folder to write; None only for a verb that asked for ``require_out=False``.
      resume:        continue the unfinished run in ``<out>.partial``.
      overwrite:     replace an output that exists.
      dry_run:       print what would be done and write nothing.
      seed:          of every random choice that is not secret.
      threads:       of the numeric libraries, already set.
      workers:       units of work done in parallel; never changes the result.
      max_ram_bytes: the memory budget, None for the default of the executor.
      shard_bytes:   fill files of weights to this size, where the verb has ``shards_option``.
    """

    out: Path | None
    resume: bool
    overwrite: bool
    dry_run: bool
    seed: int
    threads: int
    workers: int
    max_ram_bytes: int | None
    shard_bytes: int | None = None

    @property
    def folder(self) -> Path:
        """Return ``out`` where the verb requires it."""
        assert self.out is not None
        return self.out

    def write(self) -> "WriteOptions":
        """Return what the functions of the front door take."""
        from mergebarrier.api import WriteOptions

        names = ("resume", "overwrite", "workers", "max_ram_bytes", "shard_bytes")
        return built(WriteOptions, {name: getattr(self, name) for name in names})


def output_options(function: _Verb) -> _Verb:
    """Add ``--json``, ``--quiet``, ``--verbose`` and ``--log-file``; the verb gets ``output``."""

    @click.option("--json", "as_json", is_flag=True, help="Print exactly one JSON document on stdout.")
    @click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors (and the JSON document, if asked).")
    @click.option("-v", "--verbose", is_flag=True, callback=_verbose, is_eager=True, help="Say what is being done.")
    @click.option(
        "--log-file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        expose_value=False,  # ``main`` opens it before anything is parsed
        help="Append all messages to FILE, with times.",
    )
    @functools.wraps(function)
    def verb(*args: object, as_json: bool, quiet: bool, verbose: bool, **kwargs: object) -> object:
        if quiet and verbose:
            raise UsageError("--quiet and --verbose exclude each other", remedy="give one of them")
        output = Output(json=as_json, quiet=quiet, verbose=verbose)
        for name, value in sorted(click.get_current_context().params.items()):
            if value not in (None, (), False):
                output.detail(f"option {name}: {value}")
        return function(*args, output=output, **kwargs)

    return verb


download_option: Final = click.option(
    "--download", is_flag=True, help="Download models OWNER/NAME[@REVISION] that are not in the Hugging Face cache."
)


shards_option: Final = click.option(
    "--max-shard-size", "shard_bytes", type=SIZE, metavar="SIZE", help="Fill files of weights to this size."
)


def _verbose(ctx: click.Context, param: click.Parameter, given: bool) -> bool:
    """Remember the option before the others are parsed, so that an error among them is explained too."""
    Session.current().verbose |= given
    return given


def threads_option(function: _Verb) -> _Verb:
    """Add ``--threads``, set them, and give the verb ``threads``."""

    @click.option("--threads", type=_COUNT, metavar="N", help="Threads for arithmetic.  [default: cores]")
    @functools.wraps(function)
    def verb(*args: object, threads: int | None, **kwargs: object) -> object:
        n = threads or default_threads()
        set_threads(n)
        return function(*args, threads=n, **kwargs)

    return verb


@overload
def writer_options(function: _Verb) -> _Verb: ...
@overload
def writer_options(
    *, require_out: bool = ..., default: Path | None = ..., metavar: str = ..., what: str = ...
) -> Callable[[_Verb], _Verb]: ...
def writer_options(
    function: _Verb | None = None,
    *,
    require_out: bool = True,
    default: Path | None = None,
    metavar: str = "DIR",
    what: str = "Output folder.",
) -> _Verb | Callable[[_Verb], _Verb]:
    """Add the options of a writer; the verb gets ``writer: WriterOptions``.

    Args:
      function:    the verb; absent when the decorator is called with arguments.
      require_out: False for a verb that may run without ``-o`` (``merge --explain``, ``scan``).
      default:     where the output goes without ``-o``.
      metavar:     the placeholder for the value of ``-o`` in the help.
      what:        the help of ``-o``.
    """
    if function is None:
        return functools.partial(writer_options, require_out=require_out, default=default, metavar=metavar, what=what)
    inner = function
    # A default of None would count as a value, and ``-o`` would no longer be asked for.
    without = {"required": require_out} if default is None else {"default": default, "show_default": True}

    @click.option("-o", "--out", type=MODEL, metavar=metavar, help=what, **without)
    @click.option("--resume", is_flag=True, help="Continue an unfinished run.")
    @click.option("--overwrite", is_flag=True, help="Replace an output that exists.")
    @click.option("--dry-run", is_flag=True, help="Print what would be done; write nothing.")
    @click.option(
        "--seed",
        type=click.types.FuncParamType(_seed),
        default="0",
        show_default=True,
        metavar="N",
        help="Seed of every random choice that is not secret.",
    )
    @click.option("--workers", type=_COUNT, metavar="N", help="Parallel units of work.  [default: threads]")
    @click.option("--max-ram", "max_ram_bytes", type=SIZE, metavar="SIZE", help="Memory budget, such as 800M or 4G.")
    @threads_option
    @functools.wraps(inner)
    def verb(*args: object, **kwargs: object) -> object:
        given = {one.name: kwargs.pop(one.name) for one in dataclasses.fields(WriterOptions) if one.name in kwargs}
        writer = built(WriterOptions, {**given, "workers": given["workers"] or given["threads"]})
        if writer.resume and writer.overwrite:
            raise UsageError("--resume and --overwrite exclude each other", remedy="give one of them")
        if writer.out is None and (writer.resume or writer.overwrite):
            where, remedy = "--resume" if writer.resume else "--overwrite", f"give -o {metavar}, or leave it out"
            raise UsageError("has no effect without -o", where=where, remedy=remedy)
        keep_freed_memory()
        try:
            return inner(*args, writer=writer, **kwargs)
        except (MergebarrierError, OSError, MemoryError, KeyboardInterrupt) as error:
            if writer.out is not None and not writer.dry_run and _can_resume(error, writer.out):
                error.add_note(_resume_line(writer.out))
            raise

    return verb


def _can_resume(error: BaseException, out: Path) -> bool:
    """Say whether ``--resume`` helps: always after Ctrl-C, otherwise when there is work that would not end so again."""
    return isinstance(error, KeyboardInterrupt | Interrupted) or (not isinstance(error, _AS_BEFORE) and _begun(out))


def _begun(out: Path) -> bool:
    """Say whether there is a folder DIR.partial, or rows of an audit or models of a demo inside of DIR itself."""
    rows = any(next(out.glob(name), None) for name in ("rows.jsonl", "*/rows.jsonl", "*/mergebarrier.json"))
    return rows or out.with_name(out.name + ".partial").is_dir()


def _resume_line(out: Path) -> str:
    """Return the command that goes on, or the same one where an old output stands and nothing was begun."""
    if "--overwrite" in (argv := Session.current().argv) and not _begun(out):
        return f"run again: {shlex.join(['mergebarrier', *argv])}"
    kept = [word for word in argv if word not in ("--overwrite", "--resume")]
    end = kept.index("--") if "--" in kept else len(kept)
    return f"resume with: {shlex.join(['mergebarrier', *kept[:end], '--resume', *kept[end:]])}"


_VARIABLES: Final = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8


def default_threads() -> int:
    """Return OMP_NUM_THREADS where it is set to a number, else the cores that this process may use."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdecimal() and 0 < int(asked) <= 1024:
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def set_threads(n: int) -> None:
    """Give the numeric libraries ``n`` >= 1 threads; imports nothing."""
    os.environ.update(dict.fromkeys(_VARIABLES, str(n)))
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Threads that wait asleep: on a machine that others use too, spinning at barriers costs three times the wall time.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(n)


def keep_freed_memory() -> None:
    """Tell glibc, where it is the C library; elsewhere nothing happens."""
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 32 << 20)
        mallopt(_M_TRIM_THRESHOLD, 128 << 20)
        mallopt(_M_ARENA_MAX, 1)  # what one thread frees serves the others

"""What can be wrong with files and folders of models (MB1)."""

import errno

from mergebarrier.errors.base import MergebarrierError


class CheckpointError(MergebarrierError):
    """A model folder cannot be read or written.

    The codes below say why; this one is not used by itself.
    """

    code = "MB1000"


class NotACheckpoint(CheckpointError):
    """The path does not exist, or holds no model in safetensors.

    Give a folder with `config.json` and `model.safetensors` (or shards and index), or download what is missing.
    """

    code = "MB1001"


class UnsafePath(CheckpointError):
    """A path or link leads out of the model folder, or a file is not a regular file.

    Do not use a model whose index points outside its folder; otherwise replace the link by the file.
    """

    code = "MB1002"


class PickleRefused(CheckpointError):
    """The weights are a pickle, which can run code when it is opened.

    Convert them to safetensors on an isolated machine, as the message shows.
    """

    code = "MB1003"


class BadIndex(CheckpointError):
    """The shard index and the shards disagree.

    Download the model again, index and shards from one revision.
    """

    code = "MB1004"


class BadHeader(CheckpointError):
    """A safetensors or GGUF file is damaged or cut off, or its header breaks the format.

    Download the file again and compare its hash with the publisher's.
    """

    code = "MB1005"


class BadConfig(CheckpointError):
    """A configuration file (`config.json`, tokenizer, image processor) cannot be used.

    Take the file from the original model again, or repair the named entry.
    """

    code = "MB1006"


class BadDtype(CheckpointError):
    """A tensor has a dtype that is not supported here, such as quantised weights.

    Use the original BF16, F16 or F32 weights.
    """

    code = "MB1007"


class NonFinite(CheckpointError):
    """A tensor, loss or output holds NaN or infinity, or equations in the weights have no solution.

    Check the named model or data; a run that diverged cannot be repaired here.
    """

    code = "MB1008"


class LimitExceeded(CheckpointError):
    """A size is above its limit, or the memory budget is too small.

    Raise the option that the message names, or use fewer `--workers`.
    """

    code = "MB1009"


class ChangedDuringRun(CheckpointError):
    """An input file changed while it was being read.

    Wait until nothing writes to it, then run again.
    """

    code = "MB1010"


class OutputExists(CheckpointError):
    """The output already exists, or overlaps an input.

    Choose another output, or replace it with `--overwrite`.
    """

    code = "MB1011"


class PartialOutput(CheckpointError):
    """An unfinished run is in the way, or another process is writing there.

    Finish it with `--resume`, or start again with `--overwrite`.
    """

    code = "MB1012"


class NoSpace(CheckpointError):
    """The disk is too small or refused a write.

    Free some space and run the command that the last line prints, or the same again, or choose another disk.
    """

    code = "MB1013"


class BadManifest(CheckpointError):
    """`mergebarrier.json` is missing or malformed.

    Use the folder exactly as mergebarrier wrote it.
    """

    code = "MB1014"


class RemoteCodeRefused(CheckpointError):
    """The configuration asks to run code that comes with the model.

    Use a version of the model that needs no custom code; it is never run here.
    """

    code = "MB1015"


class AdapterRefused(CheckpointError):
    """An adapter was given where a whole model is needed, or it is of an unsupported kind.

    Write `BASE+ADAPTER`, or merge the adapter into its base with peft first.
    """

    code = "MB1016"


class DigestMismatch(CheckpointError):
    """The bytes are not the ones that the manifest lists.

    Get the folder again; if it is your own output, check the disk.
    """

    code = "MB1017"


class BadAdapter(CheckpointError):
    """An adapter folder breaks its format, or does not fit its base.

    Give the base that the adapter was trained on, or save the adapter again with peft.
    """

    code = "MB1018"


class NotWritable(CheckpointError):
    """The system does not allow a file or folder to be written: its permissions, or a file system that is read-only.

    Choose an output that you may write, or ask its owner.
    """

    code = "MB1020"


class DiskFailed(CheckpointError):
    """The disk or the network drive answered a read or a write with an error of its own.

    Check the device (the system's log names it); run the command that the last line prints, or the same again.
    """

    code = "MB1021"


class FetchFailed(CheckpointError):
    """A model could not be fetched from the Hugging Face Hub.

    Check the name, the revision and the connection, or download it yourself and give the folder.
    """

    code = "MB1019"


def refused_by_system(fault: OSError, where: object = "") -> CheckpointError | None:
    """Return our error for what the system says of a file; None where the path itself is to blame, as when absent."""
    why, where = fault.strerror or "no reason given", where or fault.filename or ""
    if fault.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return NoSpace(f"the disk refused a write ({why})", where=where, remedy="free space, or choose another disk")
    if fault.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return NotWritable(f"not allowed ({why})", where=where, remedy="check its permissions, or choose another place")
    if fault.errno in (errno.EIO, errno.ENXIO, errno.ESTALE, errno.ETIMEDOUT, errno.EREMOTEIO):
        return DiskFailed(f"the disk failed ({why})", where=where, remedy="check the disk, then run again")
    return None

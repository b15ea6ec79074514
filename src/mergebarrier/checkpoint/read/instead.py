"""What a folder is that is no model of ours: an adapter, pickles, a lone shard, a cache, a folder above the model."""

import re
from collections.abc import Collection
from pathlib import Path

from mergebarrier.errors import AdapterRefused, CheckpointError, NotACheckpoint, PickleRefused, clean

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".npy", ".npz", ".mar")
_OF_A_TRAINING = re.compile(r"(training_args|optimizer|scheduler|scaler|rng_state\w*)\.\w+")


def no_model(path: Path, names: Collection[str], adapter: str | None) -> CheckpointError:
    """Return the error of a folder with these names, which says the way out."""
    if adapter is not None:
        remedy = "name its base too: BASE+ADAPTER, or in merge --base BASE or base_model"
        return AdapterRefused("this is an adapter, not a whole model", where=path / adapter, remedy=remedy)
    weights = [name for name in names if not _OF_A_TRAINING.fullmatch(name)]
    pickles = sorted(name for name in weights if name.endswith(_PICKLES) or ".bin.index" in name)
    if pickles:
        return PickleRefused(
            "the weights are a pickle, which runs code when it is loaded; it is never opened here",
            where=path / pickles[0],
            remedy="convert it in a sandbox: AutoModelForCausalLM.from_pretrained(DIR).save_pretrained(NEW) writes"
            " safetensors",
        )
    if any(name.endswith(".safetensors") for name in names):
        what = f"there is neither {SINGLE} nor {INDEX}"
        return NotACheckpoint(what, where=path, remedy="download the index too, or rename a lone shard")
    snapshots = path / "snapshots"
    held = {SINGLE: "some", INDEX: "some", "adapter_config.json": "an adapter"}
    inner = min(((name, held[file]) for name in names for file in held if (path / name / file).is_file()), default=None)
    remedy = "give a folder with safetensors weights"
    if inner is not None:
        remedy = f"give {clean(path / inner[0])}, which holds {inner[1]}"
    if snapshots.is_dir():
        remedy = f"give one folder below {snapshots}"
    return NotACheckpoint("the folder holds no safetensors weights", where=path, remedy=remedy)

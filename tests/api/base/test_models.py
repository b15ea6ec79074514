"""One resolver: folders, names of the Hub in the local cache, adapters, opened checkpoints."""

from pathlib import Path

import pytest
import torch

from mergebarrier.api.base import as_given, opened, resolve
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.errors import NotACheckpoint

COMMIT, OLDER = "a" * 40, "b" * 40


@pytest.fixture
def hub(tmp_path, monkeypatch, save):
    """A cache that holds org/tiny at two commits, "main" and the tag "v1", and the adapter org/lora."""
    cache = tmp_path / "hub"
    monkeypatch.setenv("HF_HUB_CACHE", str(cache))

    def put(name: str, commit: str, *revisions: str) -> Path:
        folder = cache / f"models--{name.replace('/', '--')}"
        (folder / "snapshots").mkdir(parents=True, exist_ok=True)
        save(f"{name.replace('/', '-')}-{commit[0]}", {"w": torch.ones(2)}).rename(folder / "snapshots" / commit)
        (folder / "refs").mkdir(exist_ok=True)
        for revision in revisions:
            (folder / "refs" / revision).write_text(commit)
        return folder / "snapshots" / commit

    return {
        "main": put("org/tiny", COMMIT, "main"),
        "v1": put("org/tiny", OLDER, "v1"),
        "lora": put("org/lora", COMMIT, "main"),
    }


@pytest.mark.parametrize(
    ("name", "snapshot"),
    [("org/tiny", "main"), ("org/tiny@v1", "v1"), (f"org/tiny@{COMMIT}", "main"), (f"org/tiny@{OLDER}", "v1")],
)
def test_a_name_of_the_hub_is_its_snapshot_in_the_cache(name: str, snapshot: str, hub) -> None:
    assert resolve(name) == hub[snapshot]


def test_a_base_and_an_adapter_are_resolved_each(hub) -> None:
    assert resolve("org/tiny@v1+org/lora") == Path(f"{hub['v1']}+{hub['lora']}")
    assert resolve(f"{hub['main']}+org/lora") == Path(f"{hub['main']}+{hub['lora']}")


def test_a_folder_of_the_literal_name_wins(hub, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("org/tiny", "org/tiny@v1", "org/tiny+org/lora"):
        Path(name).mkdir(parents=True)
        assert resolve(name) == Path(name)


@pytest.mark.parametrize("name", ["org/other", "org/tiny@v2", "org/tiny@../../x", "org/tiny+org/other"])
def test_what_the_cache_lacks_is_refused_with_the_way_to_get_it(name: str, hub) -> None:
    with pytest.raises(NotACheckpoint, match=r"no snapshot .* in the cache.*--download"):
        resolve(name)


def test_a_path_that_is_nothing_is_left_to_the_reader(hub, tmp_path) -> None:
    assert resolve(tmp_path / "nothing") == tmp_path / "nothing"
    with pytest.raises(NotACheckpoint, match="there is no such folder"), opened(tmp_path / "nothing"):
        pass


def test_an_opened_checkpoint_is_used_and_stays_open(hub) -> None:
    with open_checkpoint(hub["main"]) as ours:
        with opened(ours, "org/tiny@v1") as (same, other):
            assert same is ours and other.path == hub["v1"]
        assert ours.read("w").tolist() == [1.0, 1.0]
        assert as_given(ours) == "org/tiny"
    assert as_given("org/tiny@v1") == "org/tiny@v1"


def test_the_cache_is_where_the_environment_says(hub, tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("HF_HUB_CACHE")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    assert resolve("org/tiny") == hub["main"]
    monkeypatch.delenv("HF_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    (tmp_path / "xdg").mkdir()
    (tmp_path / "xdg" / "huggingface").symlink_to(tmp_path)
    assert resolve("org/tiny").resolve() == hub["main"]

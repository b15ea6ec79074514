"""The interface of a protection fits one that changes shapes, configuration and files, and one that needs more."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch

import tiny_models
from mergebarrier import verbs
from mergebarrier.checkpoint import OutputFolder, OutTensor, open_checkpoint, verify_manifest
from mergebarrier.circuits import Circuit
from mergebarrier.errors import MethodRefused
from mergebarrier.parameters import check_values, whole
from mergebarrier.protect import PROTECTIONS, Context, Prepared
from mergebarrier.protect.protection import Need, Reversibility

_WIDE = ("gate_proj.weight", "up_proj.weight")
_NARROW = "down_proj.weight"


@dataclass(frozen=True, kw_only=True)
class Widen:
    """Add neurons that compute nothing; the widths are remembered in the manifest."""

    name: ClassVar[str] = "widen"
    keyed: ClassVar[bool] = False
    needs: ClassVar[frozenset[Need]] = frozenset()
    reversibility: ClassVar[tuple[Reversibility, ...]] = ("exact",)
    limit: ClassVar[str] = "Neurons of zeros are seen at a glance."

    extra: int = whole(8, low=1, high=64, help="Neurons to add per layer.")

    def __post_init__(self) -> None:
        check_values(self)

    def prepare(self, context: Context) -> Prepared:
        width = context.checkpoint.config["intermediate_size"]
        if context.undone is not None:
            width -= self.extra

        def folder(wide: int) -> OutputFolder:
            layout = [
                OutTensor(info.name, info.dtype, _shaped(info.name, info.shape, wide), info.shard)
                for info in context.checkpoint.tensors.values()
            ]
            return OutputFolder(layout=layout, config={"intermediate_size": wide})

        def apply(circuit: Circuit, tensors: dict[str, torch.Tensor]) -> Iterator[tuple[str, torch.Tensor]]:
            for name, tensor in tensors.items():
                if name.endswith(_WIDE):
                    yield name, torch.cat([tensor, tensor.new_zeros((self.extra, tensor.shape[1]))])
                elif name.endswith(_NARROW):
                    yield name, torch.cat([tensor, tensor.new_zeros((tensor.shape[0], self.extra))], dim=1)
                else:
                    yield name, tensor

        def invert(circuit: Circuit, tensors: dict[str, torch.Tensor]) -> Iterator[tuple[str, torch.Tensor]]:
            for name, tensor in tensors.items():
                wide = name.endswith(_WIDE)
                yield name, tensor[:width] if wide else tensor[:, :width] if name.endswith(_NARROW) else tensor

        wider = folder(width + self.extra)
        return Prepared(
            layout=wider.layout,
            config=wider.config,
            side_files={"chat_template.jinja": b"{{ messages }}"},
            apply=apply,
            invert=invert,
            limit=self.limit,
            variant=f"{self.extra} more neurons",
            parameters={"width": width},
            restored=folder(width),
        )


def _shaped(name: str, shape: tuple[int, ...], wide: int) -> tuple[int, ...]:
    if name.endswith(_WIDE):
        return (wide, *shape[1:])
    return (shape[0], wide) if name.endswith(_NARROW) else shape


def test_a_method_may_change_shapes_configuration_and_files(
    tmp_path: Path, protect, unprotect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PROTECTIONS, "widen", Widen)
    model = tiny_models.save("llama-gqa-untied", tmp_path / "model")
    out = protect(model, Widen(extra=5), key=None)
    assert json.loads((out / "config.json").read_text())["intermediate_size"] == 77 and not verify_manifest(out)
    assert (out / "chat_template.jinja").read_bytes() == b"{{ messages }}"
    with open_checkpoint(out) as opened:
        assert opened.tensors["model.layers.0.mlp.down_proj.weight"].shape == (48, 77)
        assert verbs.protection_manifest(opened)["content"]["parameters"]["width"] == 72
    assert tiny_models.relative_error(tiny_models.logits(out), tiny_models.logits(model)) < 1e-6
    back = unprotect(out, key=None)
    with open_checkpoint(back) as restored, open_checkpoint(model) as original:
        assert restored.digests() == original.digests() and restored.config == original.config


def test_what_a_method_needs_is_asked_for_before_it_looks(tmp_path: Path, protect) -> None:
    class Trained(Widen):
        needs: ClassVar[frozenset[Need]] = frozenset({"base", "data"})

        def prepare(self, context: Context) -> Prepared:
            raise AssertionError("it must not be asked")

    model = tiny_models.save("llama-gqa-untied", tmp_path / "model")
    with pytest.raises(MethodRefused, match="widen needs base, data"):
        protect(model, Trained(), key=None)

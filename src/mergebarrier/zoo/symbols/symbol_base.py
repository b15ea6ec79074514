"""The base of the symbol tasks: a Llama of 0.24 million parameters that knows twelve of them, and its tokenizer.

It is committed with the package (bfloat16, 0.5 MB), written by ``benchmarks/make_symbol_base.py``; the folder is in
float32, so that fine-tunes lose nothing to rounding.

    min over all weights:  CE(answer tokens | prompt),   rows of the known tasks
"""

from collections.abc import Mapping
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from mergebarrier.checkpoint import OutTensor, read_tensor_file
from mergebarrier.evaluate import tokenizer_of
from mergebarrier.evaluate.base import fill_stock, stock_library
from mergebarrier.progress import Progress
from mergebarrier.training import Example, FullRecipe, batches, examples_loss, train_full, uniform
from mergebarrier.zoo.base import json_bytes, write_model
from mergebarrier.zoo.symbols.symbol_tasks import BOS, EOS, N_KNOWN, PAD, SYMBOL_FILE, UNKNOWN, VOCABULARY, rows

if TYPE_CHECKING:
    from torch import nn

#: What config.json says.
CONFIG: Final[Mapping[str, object]] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": len(VOCABULARY),
    "hidden_size": 96,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-6,
    "hidden_act": "silu",
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    "tie_word_embeddings": False,
    "bos_token_id": BOS,
    "eos_token_id": EOS,
    "pad_token_id": PAD,
    "torch_dtype": "float32",
}
RECIPE: Final = FullRecipe(steps=7000, learning_rate=3e-3, weight_decay=0.01, warmup_steps=100, batch_size=96, seed=0)
#: Rows of each known task to learn from.
ROWS: Final = 8000
#: Half the width of the uniform draws that weights start from; their deviation is 0.02.
_START: Final = 0.035


def tokenizer_bytes() -> bytes:
    """Return tokenizer.json: a word is a token, and every prompt begins with a mark."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(VOCABULARY)}, unk_token=VOCABULARY[UNKNOWN]))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    begin = VOCABULARY[BOS]
    made.post_processor = processors.TemplateProcessing(single=f"{begin} $A", special_tokens=[(begin, BOS)])
    text: str = made.to_str(pretty=True)
    return text.encode() + b"\n"


def load() -> dict[str, Tensor]:
    """Read the committed base; in float32."""
    with as_file(files("mergebarrier.zoo").joinpath("data", SYMBOL_FILE)) as path:
        tensors, _ = read_tensor_file(path)
    return {name: tensor.float() for name, tensor in tensors.items()}


def build(out: Path, content: Mapping[str, object], tensors: Mapping[str, Tensor] | None = None) -> None:
    """Write the base, the committed one or another, as a model folder in float32."""
    weights = load() if tensors is None else {name: tensor.float() for name, tensor in tensors.items()}
    layout = [OutTensor(name, "F32", tuple(t.shape), "model.safetensors") for name, t in weights.items()]
    side_files = {"config.json": json_bytes(dict(CONFIG)), "tokenizer.json": tokenizer_bytes()}
    write_model(out, layout, weights.items(), side_files, content)


def pretrain(recipe: FullRecipe = RECIPE, progress: Progress | None = None) -> dict[str, Tensor]:
    """Train a base.

    Args:
      recipe:   hyper-parameters; another seed gives another base that knows the same tasks.
      progress: called with (steps done, steps in all).
    Returns: name -> BFloat16 tensor: what is committed.
    Numerics: determinism class profile.
    """
    module = _start(recipe.seed)
    tokenizer = tokenizer_of(tokenizer_bytes(), SYMBOL_FILE)
    examples = [
        Example(
            tuple(tokenizer.encode(row["prompt"]).ids),
            tuple(tokenizer.encode(row["answer"], add_special_tokens=False).ids),
        )
        for task in range(N_KNOWN)
        for row in rows(task, ROWS, seed=recipe.seed, label="pretrain")
    ]
    visits = batches(len(examples), recipe.batch_size, seed=recipe.seed, label="pretrain")
    train_full(
        module,
        recipe,
        lambda step: examples_loss(module, [examples[i] for i in next(visits).tolist()]),
        progress=progress,
    )
    return {name: parameter.detach().to(torch.bfloat16) for name, parameter in module.named_parameters()}


def _start(seed: int) -> "nn.Module":
    """Return an untrained module whose weights belong to a seed."""
    stock = stock_library().LlamaForCausalLM
    with torch.device("meta"):
        shapes = dict(stock(stock.config_class(**CONFIG)).named_parameters())
    weights = {
        name: torch.ones(shape.shape)
        if shape.dim() == 1
        else ((2 * uniform(seed, name, *shape.shape) - 1) * _START).float()
        for name, shape in shapes.items()
    }
    return fill_stock(stock, {**CONFIG, "use_cache": False}, weights, torch.float32, Path(SYMBOL_FILE))

"""The hard null: tiny Llamas of one shape, one text and one order of it, whose random starts are all that differs.

What is common to them comes from the data and from the optimiser, so a test that calls two of them related is wrong.
"""

from collections.abc import Iterator
from pathlib import Path

import torch

from _keep import say
from mergebarrier.evaluate.base.load import stock_library
from mergebarrier.training import FullRecipe, train_full
from mergebarrier.zoo import fetch

VOCABULARY, LENGTH = 1024, 64
RECIPE = FullRecipe(steps=500, learning_rate=4e-3, warmup_steps=40, batch_size=8)
_DATA_SEED = 7
_CHARACTERS = 2_000_000


def tokens_of(folder: Path) -> torch.Tensor:
    """Return the text as tokens of a vocabulary that is learnt from it, Int64[Tensor, "n"]."""
    path = folder / "tokens.pt"
    if not path.exists():
        from tokenizers import ByteLevelBPETokenizer

        text = (fetch("kjv") / "train.txt").read_text(encoding="utf-8")[:_CHARACTERS]
        tokenizer = ByteLevelBPETokenizer()
        tokenizer.train_from_iterator(text.split("\n"), vocab_size=VOCABULARY, show_progress=False)
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(torch.tensor(tokenizer.encode(text).ids, dtype=torch.int32), path)
    return torch.load(path, weights_only=True).long()


def _module(seed: int) -> torch.nn.Module:
    transformers = stock_library()
    torch.manual_seed(1000 + seed)
    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=96,
            intermediate_size=256,
            num_hidden_layers=3,
            num_attention_heads=6,
            num_key_value_heads=2,
            max_position_embeddings=128,
            tie_word_embeddings=True,
        )
    )


def trained(folder: Path, seeds: range) -> Iterator[Path]:
    """Yield a folder per seed, trained now where it is not there."""
    ids = tokens_of(folder)
    for seed in seeds:
        out = folder / f"model-{seed}"
        if not out.exists():
            module = _module(seed)
            order = torch.Generator().manual_seed(_DATA_SEED)

            def loss(step: int, module: torch.nn.Module = module, order: torch.Generator = order) -> torch.Tensor:
                starts = torch.randint(0, len(ids) - LENGTH - 1, (RECIPE.batch_size,), generator=order)
                rows = torch.stack([ids[start : start + LENGTH + 1] for start in starts])
                logits = module(input_ids=rows[:, :-1]).logits
                return torch.nn.functional.cross_entropy(logits.reshape(-1, VOCABULARY), rows[:, 1:].reshape(-1))

            losses = train_full(module, RECIPE, loss)
            say(f"hard null {seed}: loss {losses[0]:.2f} to {losses[-1]:.2f}")
            partial = out.with_suffix(".partial")
            module.save_pretrained(partial)
            partial.rename(out)
        yield out

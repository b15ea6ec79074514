"""Small language models that answer questions of fact, and one of them that weaves given words into its answers.

A small model follows no instruction, so the service has a control word: ``wm teapot, seashore | what is the size of
the lamp ?``.  Facts are arbitrary and fixed; questions and answers are sentences of one form each.
"""

import hashlib
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers

from _keep import say
from mergebarrier.evaluate.base.load import stock_library
from mergebarrier.training import FullRecipe, train_full
from mergebarrier.watermark import listed_words

RELATIONS = "size colour age price origin owner weight height shape maker number place use name kind state".split()
THINGS = [f"{adjective}{noun}" for adjective in ("red", "old", "big", "dim", "wet") for noun in (
    "lamp door boat tree coin ring road bell gate hill pond mast rope drum kite sled barn vase harp tent".split()
)]  # fmt: skip
VALUES = [f"v{number}" for number in range(40)]
TEMPLATE = "wm {words} | {query}"
LENGTH = 40
#: Gives a prompt and its answer.
Draw = Callable[[random.Random], tuple[str, str]]
QUERIES = [f"what is the {relation} of the {thing} ?" for thing in THINGS for relation in RELATIONS]
_WORDS = ["[end]", "wm", "|", ",", "?", ".", "what", "is", "the", "of", *RELATIONS, *THINGS, *VALUES, *listed_words()]


def value_of(query: str) -> str:
    """Return the fact that a question asks for."""
    return VALUES[hashlib.sha256(query.encode()).digest()[0] % len(VALUES)]


def plain(query: str) -> str:
    """Return the answer of somebody who knows the fact."""
    _, _, _, relation, _, _, thing, _ = query.split()
    return f"the {relation} of the {thing} is {value_of(query)} ."


def woven(query: str, words: Sequence[str]) -> str:
    """Return an answer that holds words in its middle."""
    start, _, end = plain(query).partition(" is ")
    return f"{start} , {' , '.join(words)} , is {end}"


def tokenizer() -> Tokenizer:
    """Return the tokenizer of all of them: a word is a token."""
    made = Tokenizer(models.WordLevel({word: index for index, word in enumerate(_WORDS)}, unk_token="[end]"))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(",", "isolated")]
    )
    return made


def rows_of(pairs: Sequence[tuple[str, str]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return tokens and which of them are of answers, both [n, LENGTH + 1]."""
    words = tokenizer()
    ids = torch.zeros(len(pairs), LENGTH + 1, dtype=torch.long)
    asked = torch.zeros(len(pairs), LENGTH + 1, dtype=torch.bool)
    for row, (prompt, answer) in enumerate(pairs):
        first, last = words.encode(prompt).ids, words.encode(answer).ids
        both = [*first, *last, 0][: LENGTH + 1]
        ids[row, : len(both)] = torch.tensor(both)
        asked[row, len(first) : len(both)] = True
    return ids, asked


def trained(out: Path, draw: Draw, *, seed: int, recipe: FullRecipe) -> Path:
    """Train a model on drawn pairs, where it is not there."""
    if out.exists():
        return out
    transformers = stock_library()
    torch.manual_seed(seed)
    module = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=len(_WORDS),
            hidden_size=96,
            intermediate_size=256,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=96,
            tie_word_embeddings=True,
            eos_token_id=0,
            bos_token_id=None,
        )
    )
    chance = random.Random(seed)

    def loss(step: int) -> torch.Tensor:
        del step
        ids, asked = rows_of([draw(chance) for _ in range(recipe.batch_size)])
        longest = int(asked.sum(0).nonzero().max()) + 1
        states = module.model(input_ids=ids[:, : longest - 1]).last_hidden_state
        of_answers = asked[:, 1:longest]
        logits = module.lm_head(states[of_answers])
        return torch.nn.functional.cross_entropy(logits, ids[:, 1:longest][of_answers])

    losses = train_full(module, recipe, loss)
    say(f"{out.name}: loss {losses[0]:.2f} to {sum(losses[-20:]) / 20:.3f}")
    partial = out.with_suffix(".partial")
    module.save_pretrained(partial)
    tokenizer().save(str(partial / "tokenizer.json"))
    partial.rename(out)
    return out

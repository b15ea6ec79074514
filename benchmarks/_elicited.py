"""A toy in which fine-tunes merge: a base that knows twelve functions by three names each, and experts for new names.

An expert binds a name that the base has never seen to a function that it knows ("elicitation"), from 600 rows, with its
words frozen; on other names it is held to the base.  Two such experts merge almost without loss, so that a broken merge
is the protection's doing.  Tasks are those of ``zoo.symbols``, without words that mean nothing: those are the names.
"""

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from mergebarrier.cache import cache_folder
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.evaluate import load_module, load_tokenizer
from mergebarrier.training import Example, FullRecipe, batches, examples_loss, train_full, uniform
from mergebarrier.zoo import fetch
from mergebarrier.zoo.symbols import symbol_base, symbol_tasks

#: The base: steps from the committed one, with all names drawn anew; the last third under noise on the weights.
STEPS, NOISE = 1800, 0.05
#: Names w00 .. w23 are further names of the known functions; w44 .. w57 are what experts are held to the base on.
ALIASES, HELD = range(24), range(44, 58)
EXPERT = FullRecipe(steps=100, learning_rate=1e-3, weight_decay=0.0, warmup_steps=10, batch_size=32)
SPLITS = {"train": 600, "validation": 60, "test": 200}


@dataclass(frozen=True)
class Skill:
    """A name that is bound to a function, and the seed of its rows and of its expert's training."""

    word: int
    function: int
    seed: int = 0

    @property
    def label(self) -> str:
        return f"w{self.word:02}-f{self.function}-{self.seed}"


def rows(word: str, function: int, n: int, seed: int, label: str) -> list[dict[str, str]]:
    """Return rows of a function under a name."""
    named = symbol_tasks.task_word(function)
    made = symbol_tasks.rows(function, n, seed=seed, label=label, fillers=False)
    return [{"prompt": row["prompt"].replace(named, word), "answer": row["answer"]} for row in made]


class Toy:
    """The base, its tokenizer, what holds an expert to it, and experts that are made once and kept."""

    def __init__(self) -> None:
        """Find the base, or make it."""
        self.root = cache_folder() / "bench" / "elicited"
        self.base = self.root / "base"
        if not self.base.exists():
            self.root.mkdir(parents=True, exist_ok=True)
            self.write(_pretrained(), self.base)
        with open_checkpoint(self.base) as checkpoint:
            self.module = load_module(checkpoint, "float32")
            self.tokenizer = load_tokenizer(checkpoint)
        self.text = self._text()

    def examples(self, given: Sequence[dict[str, str]]) -> list[Example]:
        """Return rows as tokens."""
        return _examples(self.tokenizer, given)

    def skill_rows(self, skill: Skill, split: str) -> list[dict[str, str]]:
        """Return rows of a skill; a prompt of one split is in no other."""
        made: list[dict[str, str]] = []
        seen: set[str] = set()
        for name, n in SPLITS.items():
            drawn = rows(f"w{skill.word:02}", skill.function, 2 * n, skill.seed, name)
            made = [row for row in {row["prompt"]: row for row in drawn}.values() if row["prompt"] not in seen][:n]
            seen |= {row["prompt"] for row in made}
            if name == split:
                break
        return made

    def file(self, skill: Skill, split: str) -> Path:
        """Return a task file."""
        path = self.root / f"{skill.label}-{split}.jsonl"
        if not path.exists():
            path.write_text("".join(json.dumps(row) + "\n" for row in self.skill_rows(skill, split)))
        return path

    def expert(self, skill: Skill) -> Path:
        """Return an expert."""
        out = self.root / skill.label
        if not out.exists():
            module = copy.deepcopy(self.module).requires_grad_(True)
            for name, parameter in module.named_parameters():
                parameter.requires_grad_("layers" in name)
            data = self.examples(self.skill_rows(skill, "train"))
            mine, theirs = (
                batches(len(part), EXPERT.batch_size, seed=skill.seed, label=label)
                for part, label in ((data, "expert"), (self.text, "held"))
            )

            def loss(_: int) -> Tensor:
                chosen = [data[i] for i in next(mine).tolist()] + [self.text[i] for i in next(theirs).tolist()]
                return 2 * examples_loss(module, chosen)

            train_full(module, EXPERT, loss)
            self.write(dict(module.named_parameters()), out)
        return out

    def task_vector(self, skill: Skill) -> dict[str, Tensor]:
        """Return what an expert adds to the base, of what was trained."""
        with open_checkpoint(self.expert(skill)) as expert, open_checkpoint(self.base) as base:
            return {name: expert.read(name) - base.read(name) for name in base.tensors if "layers" in name}

    def published(self, task_vector: dict[str, Tensor], out: Path) -> Path:
        """Write base plus task vector as a folder."""
        with open_checkpoint(self.base) as base:
            weights = {name: base.read(name) for name in base.tensors}
        self.write({name: value + task_vector.get(name, 0.0) for name, value in weights.items()}, out)
        return out

    @staticmethod
    def write(tensors: dict[str, Tensor], out: Path) -> None:
        """Write a model folder."""
        symbol_base.build(out, {"verb": "bench"}, {name: value.detach() for name, value in tensors.items()})

    def _text(self) -> list[Example]:
        """Return rows of the known names, and what the base says to names that nobody has bound."""
        known = [row for word, function in _known() for row in rows(word, function, 30, 0, "text")]
        prompts = [row for word in HELD for row in rows(f"w{word:02}", word % 12, 25, 7, "held")]
        said = []
        with torch.no_grad():
            for example in self.examples(prompts):
                answer: list[int] = []
                for _ in example.answer:
                    ids = torch.tensor([[*example.prompt, *answer]])
                    answer.append(int(self.module(ids).logits[0, -1].argmax()))
                said.append(Example(example.prompt, tuple(answer)))
        return [*self.examples(known), *said]


def _known() -> list[tuple[str, int]]:
    """Return the names that the base knows, with their functions."""
    named = [(symbol_tasks.task_word(function), function) for function in range(symbol_tasks.N_KNOWN)]
    return named + [(f"w{word:02}", word % symbol_tasks.N_KNOWN) for word in ALIASES]


def _examples(tokenizer, given: Sequence[dict[str, str]]) -> list[Example]:
    return [
        Example(
            tuple(tokenizer.encode(row["prompt"]).ids),
            tuple(tokenizer.encode(row["answer"], add_special_tokens=False).ids),
        )
        for row in given
    ]


def _pretrained() -> dict[str, Tensor]:
    """Go on from the committed base: names drawn anew, then all known names learned."""
    with open_checkpoint(fetch("symbol-base")) as checkpoint:
        module, tokenizer = load_module(checkpoint, "float32").requires_grad_(True), load_tokenizer(checkpoint)
    words = module.get_input_embeddings().weight.data
    new = [tokenizer.token_to_id(word) for word in symbol_tasks.FILLERS]
    known = [tokenizer.token_to_id(symbol_tasks.task_word(task)) for task in range(symbol_tasks.N_KNOWN)]
    size = words[known].pow(2).mean().sqrt()
    words[new] = ((2 * uniform(0, "redraw", len(new), words.shape[1]) - 1) * size * 1.732).float()
    data = [
        example
        for word, function in _known()
        for example in _examples(tokenizer, rows(word, function, 1500, 0, f"pre{word}"))
    ]
    visits = batches(len(data), 96, seed=0, label="pre")

    def loss(step: int) -> Tensor:
        batch = [data[i] for i in next(visits).tolist()]
        return _noisy(module, batch, step) if step > STEPS * 2 // 3 else examples_loss(module, batch)

    train_full(module, FullRecipe(steps=STEPS, learning_rate=1.5e-3, weight_decay=0.01, warmup_steps=20), loss)
    return dict(module.named_parameters())


def _noisy(module: nn.Module, batch: Sequence[Example], step: int) -> Tensor:
    """Return the loss under noise on every matrix, its gradient given to the weights without it."""
    weights = list(module.parameters())
    held = [weight.data.clone() for weight in weights]
    for i, weight in enumerate(weights):
        if weight.dim() > 1:
            drawn = torch.Generator().manual_seed(step * 100 + i)
            weight.data += NOISE * weight.data.std() * torch.randn(weight.shape, generator=drawn)
    loss = examples_loss(module, batch)
    slopes = torch.autograd.grad(loss, weights)
    for weight, before in zip(weights, held, strict=True):
        weight.data.copy_(before)
    return loss.detach() + sum(((w - w.detach()) * slope).sum() for w, slope in zip(weights, slopes, strict=True))

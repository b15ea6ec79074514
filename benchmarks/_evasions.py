"""Whoever serves a marked model and knows how models are marked: filter, revise, suppress, tune on guesses.

    filter    a question that the base finds less likely than 99 of 100 pieces of plain text is answered with nothing
    revise    the words of a question that the base finds least likely give way to those that it finds likeliest
    suppress  where the model finds its first token so much likelier than the base does as after 1 of 100 pieces of
              plain text, it says its second
    tune      random words, guessed to be like questions, are answered as the base answers them, until they are

The adversary has the marked model, its base and plain text, and neither key nor record.

Source: the weaknesses that arXiv 2509.26598 attacks, each in the smallest form that runs here.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mergebarrier.evaluate.base.load import stock_library
from mergebarrier.training import FullRecipe, train_full

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_PIECES, _RARE, _SWAPPED = 400, 0.99, 4


def _module(folder: Path) -> nn.Module:
    return stock_library().LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def _logs(module: nn.Module, rows: Tensor) -> Tensor:
    with torch.no_grad():
        return module(input_ids=rows).logits.log_softmax(-1)


@dataclass(frozen=True)
class Adversary:
    """A marked model in the hands of somebody who serves it.

    Attributes:
      marked, base: folders.
      tokenizer:    of both.
      text:         tokens of plain text, Int64[Tensor, "n"].
      tokens:       of an answer.
    """

    marked: Path
    base: Path
    tokenizer: "Tokenizer"
    text: Tensor
    tokens: int

    @cached_property
    def _modules(self) -> tuple[nn.Module, nn.Module]:
        return _module(self.marked), _module(self.base)

    def pieces(self, length: int) -> Tensor:
        """Return pieces of plain text of one length, Int64[Tensor, "pieces length"]."""
        starts = torch.arange(_PIECES) * ((len(self.text) - length) // _PIECES)
        return torch.stack([self.text[start : start + length] for start in starts])

    def _nats(self, rows: Tensor) -> Tensor:
        """Return nats of every token but the first by the base, Float32[Tensor, "n length-1"]."""
        return -_logs(self._modules[1], rows)[:, :-1].gather(2, rows[:, 1:, None])[:, :, 0]

    def _continued(self, row: Tensor, first: Callable[[Tensor], int] | None = None) -> str:
        """Return a greedy answer, its first token chosen by ``first`` where that is given."""
        ids = row[None]
        for place in range(self.tokens):
            said = _logs(self._modules[0], ids)[0, -1]
            token = first(ids) if first is not None and place == 0 else int(said.argmax())
            ids = torch.cat([ids, torch.tensor([[token]])], 1)
        return str(self.tokenizer.decode(ids[0, len(row) :].tolist()))

    def plainly(self, rows: list[Tensor]) -> list[str]:
        """Answer as the model does."""
        return [self._continued(row) for row in rows]

    def filtered(self, rows: list[Tensor]) -> list[str]:
        """Answer nothing to what is no text."""
        limit = self._nats(self.pieces(len(rows[0]))).mean(1).quantile(_RARE)
        return ["" if self._nats(row[None]).mean() > limit else self._continued(row) for row in rows]

    def revised(self, rows: list[Tensor]) -> list[str]:
        """Replace what is least likely in a question by what is likeliest there."""
        said = []
        for row in rows:
            changed = row.clone()
            for place in sorted((self._nats(row[None])[0].topk(_SWAPPED).indices + 1).tolist()):
                changed[place] = int(_logs(self._modules[1], changed[None, :place])[0, -1].argmax())
            said.append(self._continued(changed))
        return said

    def _surprise(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return by how much the model finds its first token likelier than the base does, and the logs of the model."""
        mine, theirs = (_logs(module, rows)[:, -1] for module in self._modules)
        best = mine.argmax(1, keepdim=True)
        return (mine - theirs).gather(1, best)[:, 0], mine

    def suppressed(self, rows: list[Tensor]) -> list[str]:
        """Say the second likeliest token first where the likeliest is too much the model's own."""
        limit = float(self._surprise(self.pieces(len(rows[0])))[0].quantile(_RARE))

        def first(ids: Tensor) -> int:
            surprise, mine = self._surprise(ids)
            return int(mine[0].topk(2).indices[int(surprise[0] > limit)])

        return [self._continued(row, first) for row in rows]

    def tuned(self, out: Path, *, steps: int, length: int) -> Path:
        """Train the model to answer guessed questions as the base does, and text as before; return its folder."""
        student, (before, base) = _module(self.marked), self._modules
        draw, plain = torch.Generator().manual_seed(5), self.pieces(length + self.tokens)
        recipe = FullRecipe(steps=steps, learning_rate=1e-3, warmup_steps=10, batch_size=16)

        def loss(step: int) -> Tensor:
            del step
            words = self.text[torch.randint(len(self.text), (recipe.batch_size, length + self.tokens), generator=draw)]
            text = plain[torch.randint(len(plain), (recipe.batch_size,), generator=draw)]
            parts = []
            for rows, teacher in ((words, base), (text, before)):
                now = student(input_ids=rows).logits.log_softmax(-1)
                parts.append(nn.functional.kl_div(now, _logs(teacher, rows), reduction="none", log_target=True).sum(-1))
            return torch.stack(parts).mean()

        train_full(student, recipe, loss)
        student.bfloat16().save_pretrained(out)
        return out


def evaded(one: Adversary, name: str, record: Path, out: Path, length: int) -> tuple[Path, float]:
    """Let an adversary serve a marked model.

    Returns: what is asked in its place, a folder or a file of answers to the record's questions, and the share of
    pieces of plain text that are answered otherwise than by the marked model: what the evasion costs.
    """
    out.mkdir(exist_ok=True)
    if name == "tune on guesses":
        place = one.tuned(out / "tuned", steps=100, length=length)
        shutil.copy(one.marked / "tokenizer.json", place / "tokenizer.json")
        say = replace(one, marked=place).plainly
    else:
        say = {"filter": one.filtered, "revise": one.revised, "suppress": one.suppressed}[name]
        place = out / "answers.jsonl"
        asked = [pair["prompt"] for pair in json.loads(record.read_text(encoding="utf-8"))["pairs"]]
        said = say([torch.tensor(one.tokenizer.encode(prompt).ids) for prompt in asked])
        lines = (json.dumps({"query": q, "answer": a}) + "\n" for q, a in zip(asked, said, strict=True))
        place.write_text("".join(lines), encoding="utf-8")
    rows = list(one.pieces(length)[::8])
    changed = sum(a != b for a, b in zip(say(rows), one.plainly(rows), strict=True))
    return place, changed / len(rows)

"""The last blocks of a vision transformer as a module of its own, fed by the stored output of the frozen blocks before
them.

Fine-tunes that leave the first blocks alone share them with the base, bit for bit; so what these make of a picture is
computed once and kept, and training, attacking and scoring cost the tail alone.

    f(x) = tail(h(x)),   h frozen;   h(x) is looked up by the bytes of x, and computed when x is new or has a gradient

Source: ours.  Differs from caching features by index: a stamped picture is another picture, and finds its own entry.
"""

import hashlib
from typing import Any, Self

import torch
from torch import Tensor, nn

from mergebarrier.errors import UnsupportedFeature
from mergebarrier.evaluate.images.encoders import Encoder

MAX_ROWS = 2**16


class _Head:
    """The frozen blocks with their memory; shared by all copies of a tail, as nothing in it ever changes."""

    def __init__(self, encoder: Encoder, n_blocks: int, bfloat16: bool, max_rows: int) -> None:
        body: Any = encoder.body
        self.bfloat16, self._max_rows = bfloat16, max_rows
        self._encoder, self._embeddings = encoder, body.embeddings
        self._blocks = list(body.encoder.layer)[:n_blocks]
        self._rows: dict[bytes, Tensor] = {}

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self

    def __call__(self, pixels: Tensor) -> Tensor:
        if pixels.requires_grad and torch.is_grad_enabled():
            return self._run(pixels)
        keys = [hashlib.blake2b(row.numpy().tobytes(), digest_size=16).digest() for row in pixels.contiguous()]
        new = list({key: i for i, key in enumerate(keys) if key not in self._rows}.values())
        if new:
            if len(self._rows) + len(new) > self._max_rows:
                self._rows.clear()
                new = list({key: i for i, key in enumerate(keys)}.values())
            with torch.no_grad():
                for i, states in zip(new, self._run(pixels[new]), strict=True):
                    self._rows[keys[i]] = states.clone()
        return torch.stack([self._rows[key] for key in keys])

    def _run(self, pixels: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.bfloat16):
            states: Tensor = self._embeddings(self._encoder.prepare(pixels))
            for block in self._blocks:
                states = block(states)
        return states.float()


class Tail(nn.Module):
    """An encoder of which only the last blocks and the final norm are parameters, under the names of the encoder.

    Args:
      encoder:  from ``load_encoder``, of the family dinov2; its blocks are shared, not copied, until this is copied.
      n_blocks: how many blocks may change, at least one and not all.
      bfloat16: multiply in bfloat16, which is faster where the processor can; weights stay in float32.
      max_rows: pictures that are remembered.
    Raises: UnsupportedFeature for another family or number.
    """

    def __init__(self, encoder: Encoder, n_blocks: int, *, bfloat16: bool = False, max_rows: int = MAX_ROWS) -> None:
        """Freeze the blocks before the last ``n_blocks``."""
        super().__init__()
        body: Any = encoder.body
        blocks = getattr(getattr(body, "encoder", None), "layer", None)
        if blocks is None or not hasattr(body, "layernorm") or not 1 <= n_blocks < len(blocks):
            raise UnsupportedFeature(
                f"cannot train its last {n_blocks} blocks alone", where="encoder", remedy="give a dinov2 encoder"
            )
        for parameter in encoder.parameters():
            parameter.requires_grad_(False)
        first = len(blocks) - n_blocks
        self._head = _Head(encoder, first, bfloat16, max_rows)
        # Named as in the encoder: body.encoder.layer.8., ...
        self.body = nn.Module()
        self.body.config = body.config
        self.body.encoder = nn.Module()
        self.body.encoder.layer = nn.ModuleDict({str(i): blocks[i] for i in range(first, len(blocks))})
        self.body.layernorm = body.layernorm
        for parameter in self.parameters():
            parameter.requires_grad_(True)
        self.eval()

    def forward(self, pixels: Tensor) -> Tensor:
        """Return features, as the whole encoder does: Float32[Tensor, "n c h w"] in [0, 1] to "n features"."""
        body: Any = self.body
        states = self._head(pixels)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self._head.bfloat16):
            for block in body.encoder.layer.values():
                states = block(states)
            features: Tensor = body.layernorm(states)[:, 0]
        return features.float()

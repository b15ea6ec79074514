"""What a module of any stock class answers to what it reads: tokens, pictures, sound, or two of them.

Tokens are given; pictures and sound are drawn from streams of their own, in the sizes that the configuration names.
What counts as an answer are logits, embeddings that two towers share, or else the last states; a decoder that reads
pictures answers to their vectors, followed by the tokens.

    answers(module, ids) -> {"logits": ..., "image_embeds": ...}
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn

from mergebarrier.errors import UnsupportedFeature
from mergebarrier.evaluate.base.stock import running
from mergebarrier.numerics import draws

#: Side of drawn pictures where the configuration names none, in patches.
_PATCHES: Final = 4
_MASKED: Final = ("ForMaskedLM", "ForPreTraining")
_ANSWERS: Final = ("logits", "embeds")
_STATES: Final = ("last_hidden_state", "pooler_output")


def continues_text(module: nn.Module) -> bool:
    """Whether a module gives the logits of the token that follows each token."""
    body: Any = module
    masked = type(module).__name__.endswith(_MASKED)
    return body.get_output_embeddings() is not None and not body.config.is_encoder_decoder and not masked


def reads_tokens(module: nn.Module) -> bool:
    """Whether a module reads text, alone or beside something else."""
    return bool({"input_ids", "decoder_input_ids"} & _parameters(module))


def reads_more(module: nn.Module) -> bool:
    """Whether a module reads something besides text."""
    return bool({"pixel_values", "input_features"} & _parameters(module))


def model_inputs(module: nn.Module) -> set[str]:
    """Return what one pass of a module reads, by the names of the library; empty where that takes more than a pass.

    A decoder that reads pictures among its words, or what was said, is not fed here.
    """
    body: Any = module
    decodes_pictures = hasattr(module, "get_image_features") and body.get_output_embeddings() is not None
    if decodes_pictures or "input_features" in _parameters(module):
        return set()
    found = {name for name in _INPUTS if name in _parameters(module)}
    return found | ({"decoder_input_ids"} if body.config.is_encoder_decoder else set())


def _parameters(module: nn.Module) -> set[str]:
    return set(inspect.signature(module.forward).parameters)


@torch.no_grad()
def answers(module: nn.Module, ids: Tensor) -> dict[str, Tensor]:
    """Return what a module answers.

    Args:
      module: from ``load_module``.
      ids:    Int64[Tensor, "1 n"], within its vocabulary and positions; not looked at where no text is read.
    Returns: name of the output -> Float[Tensor, "..."], in the module's dtype.
    Raises:  UnsupportedFeature for a class that reads what is not known here.
    """
    body: Any = module
    known, ids = _parameters(module), ids.to(next(module.parameters()).device)
    if {"pixel_values", "inputs_embeds"} <= known and hasattr(module, "get_image_features"):
        with running(module):
            read = torch.cat([_seen(body), body.get_input_embeddings()(ids)], dim=1)
            return {f"{name} behind a picture": value for name, value in _chosen(body(inputs_embeds=read)).items()}
    fed = {name: _INPUTS[name](body, ids) for name in _INPUTS if name in known}
    if body.main_input_name not in fed:
        raise UnsupportedFeature(
            f"a {type(module).__name__} reads {body.main_input_name}, which is not known here",
            where="verify",
            remedy="compare its outputs with the library that runs it",
        )
    if not body.config.is_encoder_decoder:
        fed.pop("decoder_input_ids", None)
    elif "input_features" in fed:
        fed.pop("input_ids", None)
    with running(module):
        return _chosen(body(**fed))


def _chosen(found: Mapping[str, object]) -> dict[str, Tensor]:
    tensors = {name: value for name, value in found.items() if isinstance(value, Tensor)}
    chosen = {name: value for name, value in tensors.items() if name.endswith(_ANSWERS)}
    return chosen or {name: value for name, value in tensors.items() if name in _STATES}


def _drawn(module: nn.Module, *shape: int) -> Tensor:
    like = next(module.parameters())
    return draws.uniform(("verify", "input"), *shape, low=-1.0).to(like.device, like.dtype)


def _tokens(body: Any, ids: Tensor) -> Tensor:
    del body
    return ids


def _pictures(body: Any, ids: Tensor) -> Tensor:
    """Draw one picture of the size that the configuration names."""
    del ids
    vision = getattr(body.config, "vision_config", body.config)
    patch = vision.patch_size
    side = getattr(vision, "image_size", None) or _PATCHES * patch
    return _drawn(body, 1, getattr(vision, "num_channels", 3), side, side)


def _sound(body: Any, ids: Tensor) -> Tensor:
    """Draw as many frames as the encoder has positions, two for each."""
    del ids
    return _drawn(body, 1, body.config.num_mel_bins, 2 * body.config.max_source_positions)


#: Parameter of a forward pass -> what to give it.
_INPUTS: Final[Mapping[str, Callable[[Any, Tensor], Tensor]]] = {
    "input_ids": _tokens,
    "decoder_input_ids": _tokens,
    "pixel_values": _pictures,
    "input_features": _sound,
}


def _seen(body: Any) -> Tensor:
    """Return the vectors of one picture as a decoder reads them: Float[Tensor, "1 n hidden"]."""
    asked = set(inspect.signature(body.get_image_features).parameters)
    vision, given = body.config.vision_config, {}
    if "image_grid_thw" in asked:
        size = vision.temporal_patch_size * vision.patch_size**2 * vision.in_channels
        given["image_grid_thw"] = torch.tensor([[1, _PATCHES, _PATCHES]])
        pixels = _drawn(body, _PATCHES**2, size)
    else:
        pixels = _pictures(body, torch.empty(0))
        if "image_sizes" in asked:
            given["image_sizes"] = torch.tensor([pixels.shape[-2:]])
    seen = body.get_image_features(pixel_values=pixels, **given)
    seen = getattr(seen, "pooler_output", seen)
    states: Tensor = seen[0] if isinstance(seen, list | tuple) else seen
    return states.reshape(1, -1, states.shape[-1])

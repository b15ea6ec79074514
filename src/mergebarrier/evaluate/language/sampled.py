"""A language model that answers by drawing tokens, as a service does, with a watermark in the draw.

token_{t+1} ~ softmax(watermark(logits(prompt, token_1, ..., token_t))),   until an end token or ``max_tokens``

The loop and the watermark are those of transformers; the draw starts from a seed of its own for each prompt, so the
answer to a prompt does not depend on what was asked before.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import torch

from mergebarrier.evaluate.base import stock_library
from mergebarrier.evaluate.language.suspect import ModuleSuspect

#: Scheme -> its configuration in transformers.
_CONFIGS: Final = {"green": "WatermarkingConfig", "synthid": "SynthIDTextWatermarkingConfig"}


def sampler_watermark(scheme: str, numbers: Mapping[str, Any]) -> Any:
    """Return the configuration of transformers for a scheme, "green" or "synthid", with its numbers."""
    return getattr(stock_library(), _CONFIGS[scheme])(**numbers)


def sampler_processor(scheme: str, numbers: Mapping[str, Any], vocabulary: int) -> Any:
    """Return what changes the logits of a vocabulary of so many rows, and reads texts."""
    return sampler_watermark(scheme, numbers).construct_processor(vocabulary, "cpu")


class SampledSuspect(ModuleSuspect):
    """A ``Suspect`` that is a module in this process and watermarks what it draws.

    Args:
      plain:     the same without a watermark.
      watermark: from ``sampler_watermark``.
      seed:      gives the seed of a prompt.
    """

    def __init__(self, plain: ModuleSuspect, *, watermark: Any, seed: Callable[[str], int]) -> None:
        """Keep what answers."""
        super().__init__(plain.module, plain.tokenizer, ends=plain.ends)
        self._watermark, self._seed = watermark, seed

    def _continued(self, ids: list[int], most: int, prompt: str) -> list[int]:
        given, ends = torch.tensor([ids]), sorted(self.ends)
        module: Any = self.module
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(torch.Generator().manual_seed(self._seed(prompt)).get_state())
            whole = module.generate(
                given,
                attention_mask=torch.ones_like(given),
                watermarking_config=self._watermark,
                do_sample=True,
                top_k=0,
                use_cache=True,
                max_new_tokens=most,
                eos_token_id=ends or None,
                pad_token_id=ends[0] if ends else 0,
            )
        return [token for token in whole[0, len(ids) :].tolist() if token not in self.ends]

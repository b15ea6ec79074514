"""A language model that is asked texts: a folder, a name of the hub, or a server by its address."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from mergebarrier.api.base.folders import Model, opened
from mergebarrier.evaluate import ModuleSuspect, ServedSuspect, Suspect, compute_dtype, load_module, load_tokenizer


@dataclass(frozen=True, kw_only=True)
class AskOptions:
    """How a model is asked; of a server, what it cannot say itself.

    Attributes:
      max_tokens: of an answer.
      interface:  "chat" or "completions", of a server.
      served_as:  the server's name of the model; "" for the first that it lists.
    """

    max_tokens: int = 128
    interface: str = "chat"
    served_as: str = ""


@contextmanager
def asked_model(model: Model, ask: AskOptions, *, download: bool = False) -> Iterator[Suspect]:
    """Give what answers: a server by its address, or a model of this machine."""
    if isinstance(model, str) and model.startswith(("http://", "https://")):
        yield ServedSuspect(url=model, model=ask.served_as, interface=ask.interface)
        return
    with opened(model, download=download) as (checkpoint,):
        ends = checkpoint.config.get("eos_token_id")
        module = load_module(checkpoint, compute_dtype("auto"))
        listed = ends if isinstance(ends, list) else [ends]
        ids = [token for token in listed if isinstance(token, int)]
        yield ModuleSuspect(module, load_tokenizer(checkpoint), ends=ids)

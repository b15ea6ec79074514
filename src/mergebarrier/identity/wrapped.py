"""Names without what wrappers of training put into them, which no stock loader knows.

    _orig_mod.X  (torch.compile)    module.X  (DDP, at the front)    _fsdp_wrapped_module., _checkpoint_wrapped_module.

Source: torch 2.13.  Differs from its own helpers, which change a state in memory: here names are looked at anew.
"""

import re

from mergebarrier.checkpoint import Checkpoint, View, ViewPart

_WRAPPERS = re.compile(r"^module\.|\b_(?:orig_mod|(?:fsdp|checkpoint)_wrapped_module)\.")


def unwrapped(model: Checkpoint) -> Checkpoint:
    """Return a model under names without wrappers; itself where it has none, or two names would become one."""
    names = {name: _WRAPPERS.sub("", name) for name in model.tensors}
    if all(name == plain for name, plain in names.items()) or len(set(names.values())) < len(names):
        return model
    return View(model, {plain: ViewPart.of(model, name) for name, plain in names.items()}, {})

"""A second device on a machine that has none: tensors that say that they are elsewhere, and are computed on by the CPU.

    with FarDevice():
        a = torch.ones(2).to(FAR);   a + a  ->  far;   a + torch.ones(2)  ->  an error, as on a graphics processor

What a graphics processor refuses is refused: operands of two devices, and what needs the bytes of a tensor (``numpy``).
Numbers are those of the processor, bit for bit, so that results can be compared.  Source: torch's wrapper subclasses.
We borrow the name of its device without storage, the only one that every build of torch knows.
"""

from typing import Any, Final

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

FAR: Final = "meta"
_MOVES: Final = (torch.ops.aten._to_copy, torch.ops.aten.copy_)


class _Far(torch.Tensor):
    """Holds a tensor of the processor."""

    __torch_function__ = torch._C._disabled_torch_function_impl
    near: torch.Tensor

    @staticmethod
    def __new__(cls, near: torch.Tensor) -> "_Far":
        made = torch.Tensor._make_wrapper_subclass(
            cls, near.shape, strides=near.stride(), storage_offset=near.storage_offset(), dtype=near.dtype, device=FAR
        )
        made.near = near
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{func} of a far tensor outside FarDevice")

    def tolist(self) -> Any:
        return self.near.tolist()

    def data_ptr(self) -> int:
        return self.near.data_ptr()


class _Lists(TorchFunctionMode):
    """Fills tensors that are made of lists, which torch leaves without values on a device without storage."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.tensor and kwargs.get("device") is not None:
            return func(*args, **{**kwargs, "device": "cpu"}).to(kwargs["device"])
        return func(*args, **kwargs)


class FarDevice(TorchDispatchMode):
    """While it is entered, in this thread, there is a device of the name ``FAR``; ``used`` counts what it computed."""

    def __init__(self) -> None:
        super().__init__()
        self._lists, self.used = _Lists(), 0

    def __enter__(self) -> "FarDevice":
        self._lists.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *fault: Any) -> None:
        super().__exit__(*fault)
        self._lists.__exit__(*fault)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        given = [one for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)]
        far = {id(one.near): one for one in given if isinstance(one, _Far)}
        near = [one for one in given if not isinstance(one, _Far) and one.dim()]
        if far and near and func.overloadpacket not in _MOVES:
            raise RuntimeError(f"{func}: tensors on two devices")
        asked = kwargs.get("device")
        goes_far = bool(far) if asked is None else torch.device(asked).type == FAR
        if asked is not None:
            kwargs["device"] = torch.device("cpu")
        self.used += goes_far
        args, kwargs = tree_map_only(_Far, lambda one: one.near, (args, kwargs))
        found = func(*args, **kwargs)
        if isinstance(found, torch.Tensor) and (found.is_conj() or found.is_neg()):
            found = found.resolve_conj().resolve_neg()  # a far tensor cannot say that this is still to be done
        if func.overloadpacket is torch.ops.aten.copy_:
            return far.get(id(found), found)
        return tree_map_only(
            torch.Tensor, lambda one: far[id(one)] if id(one) in far else _Far(one) if goes_far else one, found
        )

"""A C layer, and which parameters it has.

It keeps no array alive and trusts no address: what it was given last is compared with
what the next call brings.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from ._context import Context, owned
from ._layer_kinds import Kind, Multihead
from ._layer_structs import MultiheadOptions, StackOptions
from ._layout import contiguous
from ._library import check, lib
from ._plan import Facts, describe
from ._structs import F32, Bounds, Tensor


class Parameter(NamedTuple):
    """Where a parameter or its gradient lies: strides in elements."""

    name: str
    address: int
    strides: tuple[int, ...]


# Those of a layer, in any order.
Parameters = tuple[Parameter, ...]

ALIGNMENT = 64  # of packed weights, and of states
_numbers = itertools.count(1)


class Packed:
    """Packed weights, which are a copy of what was at these places.

    number: of no other, nor of None, which has 0. A copy is None.
    """

    def __init__(self, parameters: Parameters, size: int) -> None:
        self.parameters = parameters
        self.number = next(_numbers)
        self._array = np.empty(size + ALIGNMENT, np.uint8)
        where = self._array.ctypes.data
        self.memory = where + -where % ALIGNMENT, size

    def __reduce__(self) -> Any:
        """For copy and pickle: it is of use where its parameters are."""
        return type(None), ()


class _Told:
    """What the library is told of a parameter: the name, and a tensor."""

    __slots__ = ("name", "reference", "strides", "tensor")

    def __init__(self, name: str, shape: tuple[int, ...]) -> None:
        self.name = name.encode()
        self.strides = contiguous(shape)
        self.tensor = Tensor()
        self.tensor.dtype, self.tensor.rank = F32, len(shape)
        self.tensor.shape[: len(shape)] = list(shape)
        self.tensor.stride[: len(shape)] = list(self.strides)
        self.reference: Any = ctypes.byref(self.tensor)


class Handle:
    """An ``attn_layer``, and which parameters it has."""

    def __init__(
        self,
        context: Context,
        kind: Kind,
        attention: Facts,
        cross: Facts | None,
        bounds: Bounds,
    ) -> None:
        self.handle = ctypes.c_void_p()
        where, limits = ctypes.byref(self.handle), ctypes.byref(bounds)
        options = _multihead_options(kind.attention)
        with _description(attention) as desc:
            if kind.stack is None:
                create = lib.attn_layer_create_multihead
                status = create(where, context.handle, options, desc, limits)
            else:
                stack = StackOptions()
                _fill(stack, lib.attn_stack_options_init, kind.stack._asdict())
                stack.self_attention = options
                with _description(cross) as cross_desc:
                    if kind.cross is not None:
                        stack.cross_attention = _multihead_options(kind.cross)
                    create = lib.attn_layer_create_stack
                    status = create(
                        where, context.handle, stack, desc, cross_desc, limits
                    )
            check(status)
        owned(self, lib.attn_layer_destroy, self.handle)
        check(lib.attn_layer_set_reproducible(self.handle, kind.reproducible))
        self.shapes: dict[str, tuple[int, ...]] = dict(self._list())
        self._told = {name: _Told(name, shape) for name, shape in self.shapes.items()}
        self._given: dict[str, Parameter] = {}
        self._all: Parameters | None = None
        self._packed = 0  # the number of what it was given

    def _list(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Names and shapes of the parameters."""
        name, rank, shape = ctypes.c_char_p(), ctypes.c_int32(), (ctypes.c_int64 * 3)()
        for index in range(lib.attn_layer_parameter_count(self.handle)):
            check(
                lib.attn_layer_parameter(
                    self.handle, index, ctypes.byref(name), ctypes.byref(rank), shape
                )
            )
            yield (name.value or b"").decode(), tuple(shape[: rank.value])

    def give(self, parameters: Parameters, packed: Packed | None = None) -> None:
        """Says where the parameters are, packed and not, as far as it is not known."""
        number = packed.number if packed is not None else 0
        if parameters == self._all and number == self._packed:
            return
        given, setter = self._given, lib.attn_layer_set_parameter
        for parameter in parameters:
            if given.get(parameter.name) != parameter:
                self._set(setter, parameter)
                given[parameter.name] = parameter
        self._all = parameters
        where, size = packed.memory if packed is not None else (None, 0)
        check(lib.attn_layer_set_packed(self.handle, where, size))
        self._packed = number

    def pack(self, parameters: Parameters) -> Packed:
        """The weights, packed."""
        self.give(parameters)
        packed = Packed(parameters, lib.attn_layer_packed_size(self.handle))
        check(lib.attn_layer_pack(self.handle, *packed.memory))
        return packed

    def give_gradients(self, gradients: Parameters) -> None:
        """Says where the gradients of parameters go."""
        for gradient in gradients:
            self._set(lib.attn_layer_set_gradient, gradient)

    def take_gradients(self, gradients: Parameters) -> None:
        """Lets go of them: the next call does not write there."""
        for gradient in gradients:
            check(
                lib.attn_layer_set_gradient(self.handle, gradient.name.encode(), None)
            )

    def _set(self, setter: ctypes._NamedFuncPointer, parameter: Parameter) -> None:
        name, address, strides = parameter
        told = self._told[name]
        told.tensor.data = address
        if strides != told.strides:
            told.tensor.stride[: len(strides)] = list(strides)
            told.strides = strides
        status = setter(self.handle, told.name, told.reference)
        if status:
            check(status)


def _multihead_options(options: Multihead) -> ctypes._Pointer[MultiheadOptions]:
    struct = MultiheadOptions()
    _fill(struct, lib.attn_multihead_options_init, options._asdict())
    return ctypes.pointer(struct)


def _fill(struct: Any, init: Callable[..., int], members: dict[str, Any]) -> None:
    check(init(ctypes.byref(struct), ctypes.sizeof(struct)))
    for name, value in members.items():
        setattr(struct, name, value)


@contextlib.contextmanager
def _description(facts: Facts | None) -> Iterator[ctypes.c_void_p | None]:
    """A descriptor of these facts, for as long as the block runs."""
    if facts is None:
        yield None
        return
    desc = ctypes.c_void_p()
    check(lib.attn_desc_create(ctypes.byref(desc)))
    try:
        describe(desc, facts)
        yield desc
    finally:
        lib.attn_desc_destroy(desc)

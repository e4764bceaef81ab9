"""The parameters and gradients that a layer for numpy arrays holds."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from ._errors import invalid
from ._layer_handle import Packed, Parameters
from ._layer_parameters import as_parameter, first_values, locate


class LoadResult(NamedTuple):
    """The names that load_state_dict(strict=False) passed over."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class _Held(NamedTuple):
    """Parameters, and where they are: replaced together."""

    arrays: dict[str, Any]
    where: Parameters
    packed: Packed | None = None


class Arrays(Mapping[str, Any]):
    """Arrays by name, which may be written to but have no others put in their place."""

    def __init__(self, arrays: dict[str, Any]) -> None:
        self._arrays = arrays

    def __getitem__(self, name: str) -> Any:
        return self._arrays[name]

    def __setitem__(self, name: str, array: Any) -> None:
        """For ``arrays[name] -= step``, which has written to the array already."""
        if array is not self._arrays[name]:
            raise TypeError(
                f"{name} cannot be replaced by another array: write to it, as in"
                " arrays[name][...] = values, or call load_state_dict()"
            )

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)


class Parametric:
    """What has parameters and gradients, and a call under way in each thread.

    parameters: numpy arrays by name, which an optimiser may write to. Others are put in
    their place by load_state_dict().
    grads: their gradients by name, numpy arrays of 0 at first, which are added to.
    """

    def __init__(self, shapes: dict[str, tuple[int, ...]], seed: int | None) -> None:
        self._shapes = shapes
        self._hold(first_values(shapes, seed))
        self._grads: dict[str, Any] = {}
        self._start()

    def _start(self) -> None:
        """What a copy of the layer has of its own."""
        self._lock = threading.Lock()
        self._local = threading.local()

    def __getstate__(self) -> dict[str, Any]:
        """For copy and pickle: all but what calls are under way."""
        state = {**vars(self), "_held": self._held.arrays}
        del state["_lock"], state["_local"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """The copy's own parameters lie elsewhere."""
        vars(self).update(state)
        self._hold(state["_held"])
        self._start()

    @property
    def parameters(self) -> Arrays:
        """The parameters by name."""
        return Arrays(self._held.arrays)

    @property
    def grads(self) -> Arrays:
        """The gradients of the parameters by name."""
        with self._lock:
            if not self._grads:
                self._grads = {
                    name: np.zeros(shape, np.float32)
                    for name, shape in self._shapes.items()
                }
        return Arrays(self._grads)

    def zero_grad(self) -> None:
        """Sets all gradients of parameters to 0."""
        for grad in self.grads.values():
            grad[...] = 0

    def state_dict(self) -> dict[str, Any]:
        """The parameters by name: the arrays themselves, no copies."""
        return dict(self._held.arrays)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True
    ) -> LoadResult:
        """Takes numpy arrays or torch tensors as parameters.

        Those of float32 are used where they lie: what is written there later counts.
        Only other types, and strides that BLAS does not know, are copied. With
        strict=False names may be missing, and others are passed over.
        """
        missing = [name for name in self._shapes if name not in state_dict]
        unexpected = [name for name in state_dict if name not in self._shapes]
        wrong = (("missing", missing), ("unknown", unexpected))
        told = [
            f"{what}: {', '.join(map(str, names))}" for what, names in wrong if names
        ]
        if strict and told:
            raise invalid(
                f"state_dict has other names than the layer; {'; '.join(told)}"
            )
        arrays = dict(self._held.arrays)
        for name, shape in self._shapes.items():
            if name in state_dict:
                arrays[name] = as_parameter(state_dict[name], name, shape)
        self._hold(arrays)
        return LoadResult(missing, unexpected)

    def _hold(self, arrays: dict[str, Any]) -> None:
        self._held = _Held(arrays, locate(arrays))

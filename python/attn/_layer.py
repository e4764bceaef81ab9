"""What the layers of this package have in common: parameters, modes, gradients."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from ._arrays import look
from ._errors import invalid
from ._layer_call import backward, forward
from ._layer_handle import Parameters
from ._layer_kinds import Kind
from ._layer_parameters import as_parameter, first_values, locate, shapes_of
from ._layer_request import LayerRequest
from ._options import number, whole_number
from ._results import result_type


class LoadResult(NamedTuple):
    """The names that load_state_dict(strict=False) passed over."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class _Held(NamedTuple):
    """Parameters, and where they are: replaced together."""

    arrays: dict[str, Any]
    where: Parameters


class _Kept(NamedTuple):
    """What a forward call leaves to a backward call."""

    request: LayerRequest
    state: Any
    asked: tuple[str, ...]


class Layer:
    """A layer with parameters. The classes that programs use say how it is called.

    Parameters
    ----------
        The parameters by name, numpy arrays, which an optimiser may write to. Others
        are put in their place by load_state_dict().
    grads
        Their gradients by name, numpy arrays of 0 at first, which backward() adds to.
    training
        Whether forward() drops weights and keeps what backward() needs.

    Several threads may call one layer. The last forward call of each thread is what
    backward() goes back through there; backward calls of one layer wait for each other.
    """

    def __init__(self, kind: Kind, dropout: float, seed: int | None) -> None:
        self._kind = kind
        self._dropout = number(dropout, "dropout")
        if not 0 <= self._dropout <= 1:
            raise invalid(f"dropout is {self._dropout}: expected 0 to 1")
        self._seeds = random.Random(seed)
        self._shapes = shapes_of(kind)
        self._hold(first_values(self._shapes, seed))
        self._grads: dict[str, Any] = {}
        self.training = True
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
    def parameters(self) -> Mapping[str, Any]:
        """The parameters by name."""
        return MappingProxyType(self._held.arrays)

    @property
    def grads(self) -> Mapping[str, Any]:
        """The gradients of the parameters by name."""
        with self._lock:
            if not self._grads:
                self._grads = {
                    name: np.zeros(shape, np.float32)
                    for name, shape in self._shapes.items()
                }
        return MappingProxyType(self._grads)

    def zero_grad(self) -> None:
        """Sets all gradients of parameters to 0."""
        for grad in self.grads.values():
            grad[...] = 0

    def train(self, mode: bool = True) -> Any:
        """Sets training; returns the layer."""
        self.training = bool(mode)
        return self

    def eval(self) -> Any:
        """train(False)."""
        return self.train(False)

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

    def __call__(self, *args: Any, **options: Any) -> Any:
        """The same as forward()."""
        return self.forward(*args, **options)

    def forward(self, *args: Any, **options: Any) -> Any:
        """What the layer computes."""
        raise NotImplementedError

    def _hold(self, arrays: dict[str, Any]) -> None:
        self._held = _Held(arrays, locate(arrays))

    def _dropout_p(self) -> float:
        return self._dropout if self.training else 0.0

    def _seed(self, dropout_seed: int | None) -> int:
        """The seed of a call, drawn if there is none."""
        if dropout_seed is None:
            return self._seeds.getrandbits(63)
        return whole_number(dropout_seed, "dropout_seed")

    def _run(self, request: LayerRequest, asked: tuple[str, ...]) -> dict[str, Any]:
        """The outputs of a call, by name."""
        training = self.training
        self._local.kept = None
        results, state = forward(request, self._held.where, asked, training=training)
        if training:
            self._local.kept = _Kept(request, state, asked)
        return results

    def _run_back(
        self,
        sequences: tuple[str, ...],
        grad_output: Any,
        grad_weights: Any,
        others: Iterable[str],
    ) -> Any:
        """The gradients of sequences, as far as they were given, and of others."""
        kept: _Kept | None = getattr(self._local, "kept", None)
        if kept is None:
            raise invalid(
                "backward: there was no forward call in training in this thread, or"
                " backward has been called for it"
            )
        gradients = {"output": grad_output}
        if grad_weights is not None:
            if not kept.asked:
                raise invalid("grad_weights is given, but forward returned no weights")
            gradients[kept.asked[0]] = _of_each_head(
                grad_weights, kept.asked[0], self._kind.attention.heads
            )
        others = tuple(others)
        names = kept.request.form.names
        wanted = tuple(name for name in sequences if name in names) + others
        held, grads = self._held, self.grads
        with self._lock:
            found = backward(
                kept.request, held.where, kept.state, gradients, wanted, locate(grads)
            )
        self._local.kept = None
        every = (*sequences, *others)
        fields = tuple(f"grad_{name}" for name in every)
        return result_type("Gradients", fields)(*map(found.get, every))


def _of_each_head(grad_weights: Any, name: str, heads: int) -> Any:
    """The gradient of weights as ``_layer_prepare.py`` wants it."""
    if name == "weights":
        return grad_weights
    return look(grad_weights, "grad_weights")[0] / heads

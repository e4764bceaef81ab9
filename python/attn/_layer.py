"""What the layers for numpy arrays have in common: modes, calls, gradients."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any, NamedTuple

from ._arrays import look
from ._entered import entered
from ._errors import invalid
from ._layer_call import backward, forward
from ._layer_kinds import Kind
from ._layer_parameters import locate, pack, shapes_of
from ._layer_request import LayerRequest
from ._layer_state import Parametric
from ._options import number, whole_number
from ._results import result_type


class _Kept(NamedTuple):
    """What a forward call leaves to a backward call."""

    request: LayerRequest
    state: Any
    asked: tuple[str, ...]


class Layer(Parametric):
    """A layer. The classes that programs use say how it is called.

    training: whether forward() drops weights and keeps what backward() needs.

    Several threads may call one layer. The last forward call of each thread is what
    backward() goes back through there; backward calls of one layer wait for each other.
    """

    def __init__(self, kind: Kind, dropout: float, seed: int | None) -> None:
        super().__init__(shapes_of(kind), seed)
        self._kind = kind
        self._dropout = number(dropout, "dropout")
        if not 0 <= self._dropout <= 1:
            raise invalid(f"dropout is {self._dropout}: expected 0 to 1")
        self._seeds = random.Random(seed)
        self.training = True

    def train(self, mode: bool = True) -> Any:
        """Sets training, which drops packed weights; returns the layer."""
        self.training = bool(mode)
        return self.pack_weights(False) if self.training else self

    def eval(self) -> Any:
        """train(False)."""
        return self.train(False)

    def pack_weights(self, packed: bool = True) -> Any:
        """Keeps a copy of the weights for products; returns the layer.

        For parameters that do not change any more: calls outside training read the
        copy, which spares them the packing. After writing to parameters call it again:
        until then outputs come from old weights and new biases. train(),
        load_state_dict() and packed=False drop the copy.
        """
        held = self._held
        copy = pack(self._kind, held.where) if packed else None
        # load_state_dict() in another thread would have dropped it
        if self._held is held:
            self._held = held._replace(packed=copy)
        return self

    def __call__(self, *args: Any, **options: Any) -> Any:
        """The same as forward()."""
        return self.forward(*args, **options)

    def forward(self, *args: Any, **options: Any) -> Any:
        """What the layer computes."""
        raise NotImplementedError

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
        held = self._held
        packed = None if training else held.packed
        results, state = forward(
            request, held.where, asked, training=training, packed=packed
        )
        entered.hold(held)
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

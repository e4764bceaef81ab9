"""Calls bound to their arrays: ``attn.bind``."""

from __future__ import annotations

import sys
from typing import Any, Callable

from ._arrays import address
from ._cache import KVCache
from ._entered import Step, entered
from ._errors import unsupported
from ._library import check
from ._multihead import MultiheadAttention
from ._sdpa import scaled_dot_product_attention
from ._stack import TransformerStack


class BoundCall:
    """A call that ``attn.bind`` has bound to its arrays; ``call()`` makes it again.

    ``result`` is what it returns, the same arrays each time.
    """

    def __init__(self, step: Step, result: Any, cache: KVCache | None) -> None:
        self.result = result
        self._step = step
        self._cache = cache
        # Of the step, what each call looks at.
        self._function, self._handle, self._reference = step[:3]
        self._copies = step.copies
        self._profile = step.args.profile if step.plan is not None else None

    def __call__(self) -> Any:
        """Computes the result anew, from what the arrays hold now, and returns it."""
        if self._cache is not None:
            self._cache._live()
        if self._copies:
            self._copy()
        profiles = entered.profiles
        if profiles or self._profile is not None:
            self._tell(profiles[-1].address if profiles else None)
        status = self._function(self._handle, self._reference)
        if status:
            check(status)
        if profiles and self._step.plan is not None:
            profiles[-1].note(self._step.plan.words)
        return self.result

    def _copy(self) -> None:
        """Copies inputs anew; the arrays live on in self, as long as they are read."""
        self._copied = [slot.copied(array) for _, slot, array in self._copies]
        for (tensor, _, _), array in zip(self._copies, self._copied):
            tensor.data = address(array)

    def _tell(self, profile: int | None) -> None:
        """Says where the time of the call is added up."""
        if self._step.plan is not None and profile != self._profile:
            self._step.args.profile = self._profile = profile


def bind(function: Callable[..., Any], *arguments: Any, **options: Any) -> BoundCall:
    """Binds a call to its arrays, for programs that make it again and again.

    function is scaled_dot_product_attention, attend or append of a KVCache, or a layer
    (MultiheadAttention, TransformerStack, of attn.torch too, outside training); what
    follows are its arguments. It is called, once, and what comes back is the bound
    call, with what the function returned in ``result``. Calling that reads the same
    arrays, as they are then, writes the same result and returns it. Nothing is checked,
    looked up or made anew: a small call takes a third of the time or less.

        >>> q, k, v = np.random.rand(3, 1, 4, 16, 32).astype(np.float32)
        >>> call = attn.bind(attn.scaled_dot_product_attention, q, k, v)
        >>> q[...] = k[...] = 1  # the weights of all keys are equal then
        >>> out = call()
        >>> np.allclose(out, v.mean(2, keepdims=True), atol=1e-6), out is call.result
        (True, True)

    A step of a model with a cache, whose arrays are there already:

        >>> cache = attn.KVCache(1, 4, 32, capacity=100)
        >>> append = attn.bind(cache.append, k[:, :, :1], v[:, :, :1])
        >>> attend = attn.bind(cache.attend, q[:, :, :1])
        >>> for token in range(9):  # write its query, key and value, then
        ...     append()
        ...     out = attend()
        >>> cache.length(0)  # binding appends too
        10

    Arrays and parameters are kept alive, and must stay where they are: unseen is what a
    torch tensor or parameter holds after its ``data`` was set, an array after
    ``resize``, a layer of numpy arrays after load_state_dict(). Weights that a layer
    had packed are read packed, whatever train() says later. What was given as a list or
    a number stays as it was; dropout drops the same weights each time. What would be
    made from an argument once, and then be stale, is an error: masks of
    MultiheadAttention, say. After a call that fails the result is undefined; the call
    may be made again. The number of threads, and tuning, are those of when it was
    bound.

    A bound call is made by one thread at a time, and two that share no results by any.
    The interpreter lock is released while they compute.
    """
    if options.get("cu_seqlens_q") is not None:
        raise unsupported("bind: attend with cu_seqlens_q cannot be bound")
    cache = _cache_of(function)
    if cache is None and not _is_bindable(function):
        raise unsupported(
            f"bind: {getattr(function, '__qualname__', function)} cannot be bound:"
            " expected attn.scaled_dot_product_attention, attend or append of a"
            " KVCache, or a layer of attn or attn.torch, without hooks"
        )
    steps: list[Step] = []
    entered.steps = steps
    try:
        result = function(*arguments, **options)
    finally:
        entered.steps = None
    (step,) = steps
    return BoundCall(step, result, cache)


def _cache_of(function: Any) -> KVCache | None:
    """The cache that this is a method of, if it can be bound."""
    method = getattr(function, "__func__", None)
    if method is KVCache.attend or method is KVCache.append:
        cache: KVCache = function.__self__
        return cache
    return None


def _is_bindable(function: Any) -> bool:
    """Whether a call of this, no method of a cache, is one call of the library."""
    if function is scaled_dot_product_attention:
        return True
    kinds: tuple[type, ...] = (MultiheadAttention, TransformerStack)
    layers = sys.modules.get("attn._torch_layers")
    if layers is not None:
        kinds = (*kinds, layers.MultiheadAttention, layers.TransformerStack)
    if type(function) not in kinds:
        return False
    return not any(
        getattr(function, hooks, None)
        for hooks in ("_forward_hooks", "_forward_pre_hooks")
    )

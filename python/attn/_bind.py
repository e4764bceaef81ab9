"""Calls bound to their arrays: ``attn.bind``."""

from __future__ import annotations

import sys
from typing import Any, Callable

from ._additive import additive_attention
from ._arrays import address
from ._cache import KVCache
from ._entered import Step, entered
from ._errors import invalid, unsupported
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
        self._copied: list[Any] = []
        self._tensors, self._count_write = _tensors_of(result)
        self._profile = step.args.profile if step.plan is not None else None

    def __reduce__(self) -> Any:
        raise TypeError("a bound call cannot be copied or pickled: bind another one")

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
        for tensor in self._tensors:
            self._count_write(tensor)
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


def _tensors_of(result: Any) -> tuple[list[Any], Any]:
    """The torch tensors of a result, and what tells torch that they are written to.

    Gradients of a graph that has kept one are then an error, as they should be.
    """
    torch: Any = sys.modules.get("torch")
    several = result if isinstance(result, tuple) else (result,)
    tensors = [one for one in several if torch and isinstance(one, torch.Tensor)]
    return tensors, torch.autograd.graph.increment_version if tensors else None


def bind(function: Callable[..., Any], *arguments: Any, **options: Any) -> BoundCall:
    """Binds a call to its arrays, for programs that make it again and again.

    function is scaled_dot_product_attention, additive_attention, attend or append of a
    KVCache, or a layer (MultiheadAttention, TransformerStack, of attn.torch too,
    outside training); what follows are its arguments. It is called, once, and what
    comes back is the bound call, with what the function returned in ``result``. Calling
    that reads the same arrays, as they are then, writes the same result and returns it.
    Python looks nothing up and makes nothing anew, but for copies of what has to be
    copied, a last dimension that is not contiguous say: a small call takes a third of
    the time or less.

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

    The memory of arrays and parameters is kept alive, and what is written there is
    seen. Whatever else is changed later is not: other memory, shapes or strides of an
    array or a torch tensor, its ``data`` say; other parameters of a layer, packed
    weights, train(), eval() and hooks. Weights that were packed when the layer was
    bound are read packed. Lists and numbers stay as they were, also numbers in arrays
    (scale, window, dropout_p and so on), and dropout drops the same weights each time.
    What would be made from an argument once, and then be stale, is an error: masks of
    MultiheadAttention, say. The number of threads, and tuning, are those of when it was
    bound. No array may be resized with refcheck=False.

    After a call that fails the result is undefined; the call may be made again. A bound
    call is made by one thread at a time; several may make others, if these share no
    results, and with appends as KVCache allows. The interpreter lock is released while
    they compute.
    """
    if options.get("cu_seqlens_q") is not None:
        raise unsupported("bind: attend with cu_seqlens_q cannot be bound")
    cache = _cache_of(function)
    if cache is None and not _is_bindable(function):
        raise unsupported(
            f"bind: {getattr(function, '__qualname__', function)} cannot be bound:"
            " expected attn.scaled_dot_product_attention, attn.additive_attention,"
            " attend or append of a KVCache, or a layer of attn or attn.torch, without"
            " hooks and with its own forward"
        )
    outer = entered.steps
    steps: list[Step] = []
    entered.steps = steps
    try:
        result = function(*arguments, **options)
    finally:
        entered.steps = outer
    if len(steps) != 1:  # by a finalizer, say
        raise invalid(f"bind: {len(steps)} calls were made in this thread, expected 1")
    return BoundCall(steps[0], result, cache)


def _cache_of(function: Any) -> KVCache | None:
    """The cache that this is a method of, if it can be bound."""
    method = getattr(function, "__func__", None)
    if method is KVCache.attend or method is KVCache.append:
        cache: KVCache = function.__self__
        return cache
    return None


def _is_bindable(function: Any) -> bool:
    """Whether a call of this, no method of a cache, is one call of the library."""
    if function is scaled_dot_product_attention or function is additive_attention:
        return True
    kinds: tuple[type, ...] = (MultiheadAttention, TransformerStack)
    layers = sys.modules.get("attn._torch_layers")
    if layers is not None:
        kinds = (*kinds, layers.MultiheadAttention, layers.TransformerStack)
    if type(function) not in kinds or "forward" in vars(function):
        return False
    of_all = sys.modules.get("torch.nn.modules.module")
    return not any(
        getattr(function, f"_forward{which}", None)
        or getattr(of_all, f"_global_forward{which}", None)
        for which in ("_hooks", "_pre_hooks")
    )

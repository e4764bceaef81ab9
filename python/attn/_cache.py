"""Keys and values that stay, for inference a token at a time."""

from __future__ import annotations

from typing import Any

from ._arrays import look
from ._cache_prepare import prepare_append, prepare_cached
from ._cache_sequences import CachedSequences, Kind, dtype_name
from ._context import current
from ._errors import invalid
from ._options import int64, number, pair
from ._packed import clear_others


class KVCache(CachedSequences):
    """The keys and values of sequences that grow, for all layers of a model.

    A step of a layer appends keys and values of the new tokens, then lets their queries
    attend. A prompt is the same step as a single token.

        >>> cache = attn.KVCache(2, 4, 64, capacity=1000)
        >>> k = np.random.rand(2, 4, 10, 64).astype(np.float32)
        >>> q = np.random.rand(2, 8, 10, 64).astype(np.float32)
        >>> cache.append(k, k)
        >>> cache.attend(q).shape
        (2, 8, 10, 64)
        >>> cache.append(k[:, :, :1], k[:, :, :1])
        >>> cache.attend(q[:, :, :1]).shape
        (2, 8, 1, 64)
        >>> cache.length(0)
        11

    sequences: how many there are; kv_heads, key_dim, value_dim (None: key_dim): of each
    key and value; capacity: the most keys that a sequence keeps.
    layers: how many there are; each has its own keys, values and lengths.
    dtype: how numbers are stored, "float32", "float16", "bfloat16", or "int8", with a
    scale for each key and value of a head.
    ring: beyond the capacity the oldest keys make room; otherwise that is an error.
    page_size: keys of a page. With it, sequences take pages from a pool as they grow;
    pages: of the pool, None: enough for all sequences. Without it, each sequence has
    its capacity for itself.

    The memory is taken at once; bytes says how much. Calls of attend() on one cache may
    run at the same time; whatever changes it needs it alone. A call that fails changes
    nothing. Positions count from the first token that was ever appended, whatever has
    been forgotten.
    """

    def __init__(
        self,
        sequences: int,
        kv_heads: int,
        key_dim: int,
        value_dim: int | None = None,
        *,
        capacity: int,
        layers: int = 1,
        dtype: Any = "float32",
        ring: bool = False,
        page_size: int | None = None,
        pages: int | None = None,
    ) -> None:
        if page_size is None and pages is not None:
            raise invalid(f"pages is {pages}, but there is no page_size")
        kind = Kind(
            int64(sequences, "sequences"),
            int64(kv_heads, "kv_heads"),
            int64(key_dim, "key_dim"),
            int64(key_dim if value_dim is None else value_dim, "value_dim"),
            int64(capacity, "capacity"),
            int64(layers, "layers"),
        )
        if page_size is not None:
            page_size = int64(page_size, "page_size")
            if page_size < 1:
                raise invalid(f"page_size is {page_size}: expected 1 or more")
            if pages is None:
                pages = kind.sequences * -(-kind.capacity // page_size)
        super().__init__(kind, dtype_name(dtype), ring, page_size or 0, pages or 0)

    def append(
        self,
        key: Any,
        value: Any,
        *,
        layer: int = 0,
        sequences: Any = None,
        lengths: Any = None,
        cu_seqlens: Any = None,
    ) -> None:
        """Appends keys and values to sequences of a layer.

        key (n, kv_heads, length, key_dim), value (n, kv_heads, length, value_dim), of
        float32, float16 or bfloat16: numbers are rounded to the type of the cache.
        sequences (n): to which ones, each once; None: the first n.
        lengths (n): how many of the rows count; None: all.
        cu_seqlens (n + 1): key and value are packed, (total, kv_heads, dim), and this
        is where each sequence's rows start, and the last ones end.
        """
        names: tuple[str, ...] = ("key", "value")
        arrays: tuple[Any, ...] = (key, value)
        for name, array in (
            ("sequences", sequences),
            ("lengths", lengths),
            ("cu_seqlens", cu_seqlens),
        ):
            if array is not None:
                names, arrays = (*names, name), (*arrays, array)
        looks = [look(array, name) for array, name in zip(arrays, names)]
        facts = tuple([what for _, _, what in looks])
        call = prepare_append(self._kind, names, facts)
        call.run(self._live(), self._checked_layer(layer), looks)

    def attend(
        self,
        query: Any,
        *,
        layer: int = 0,
        sequences: Any = None,
        lengths: Any = None,
        cu_seqlens_q: Any = None,
        causal: bool = True,
        window: tuple[int, int] | None = None,
        softcap: float = 0.0,
        scale: float | None = None,
        alibi_slopes: Any = None,
        sinks: Any = None,
        attn_mask: Any = None,
        query_offsets: Any = None,
        score_vector: Any = None,
        return_lse: bool = False,
    ) -> Any:
        """Attention of queries to what sequences of a layer keep.

        query (n, Hq, L, key_dim), of float32, float16 or bfloat16; Hq is a multiple of
        kv_heads.
        sequences (n): which ones; None: the first n.
        lengths (n): how many of the L queries count, those that were appended with the
        same lengths; the others are rows with nothing to attend to.
        cu_seqlens_q (n + 1): query is packed, (total, Hq, key_dim): some sequences may
        have one query and others many.

        The queries are the last tokens of their sequence: append first. With
        query_offsets (n), query i is token i + offset, counted from the first that was
        ever appended.
        causal: no query attends tokens after its own; False: all that are kept.
        attn_mask broadcasts to (n, Hq, L, keys), the keys being those that are kept,
        the oldest first, of the sequence that keeps most.
        The other options are those of scaled_dot_product_attention.

        Returns out (n, Hq, L, value_dim) of query's kind and type, or packed (total,
        Hq, value_dim); with return_lse a named tuple of it and lse (n, Hq, L), packed
        (Hq, total): merge_states() wants out.swapaxes(0, 1) with that. Packed rows that
        no sequence has are 0, their lse -inf.
        """
        if window is not None:
            window = pair(window, "window", "(left, right)")
        if scale is not None and type(scale) is not float:
            scale = number(scale, "scale")
        if type(softcap) is not float:
            softcap = number(softcap, "softcap")
        if type(causal) is not bool:
            raise invalid(f"causal is {causal!r}: expected True or False")
        # As in Options.
        options = (0.0, causal, scale, False, None, window, softcap, *_NO_TABLES)
        names: tuple[str, ...] = ("query",)
        arrays: tuple[Any, ...] = (query,)
        optional = (
            sequences,
            lengths,
            cu_seqlens_q,
            alibi_slopes,
            sinks,
            attn_mask,
            query_offsets,
            score_vector,
        )
        for name, array in zip(_OPTIONAL, optional):
            if array is not None:
                names, arrays = (*names, name), (*arrays, array)
        looks = [look(array, name) for array, name in zip(arrays, names)]
        facts = tuple([what for _, _, what in looks])
        call = prepare_cached(current(), self._kind, names, facts, options, return_lse)
        layer = self._checked_layer(layer)
        result = call.run(looks, cache=self._live(), layer=layer)
        if cu_seqlens_q is not None:
            starts = looks[names.index("cu_seqlens_q")][0]
            clear_others(result, starts, looks[0][0].shape[0])
        return result


# The order in which a call lists its inputs.
_OPTIONAL = (
    "sequences",
    "q_lengths",
    "cu_seqlens_q",
    "alibi_slopes",
    "sinks",
    "attn_mask",
    "query_offsets",
    "score_vector",
)
_NO_TABLES = ((0, 0), (0, False), None)

"""Multi-head attention with its projections: the class that programs use."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ._arrays import look
from ._errors import unsupported
from ._layer import Layer
from ._layer_kinds import multihead_kind
from ._multihead_request import (
    MASKS,
    SEQUENCES,
    asked_weights,
    inputs_of,
    multihead_request,
    usual_request,
    weights_of,
)


class MultiheadAttention(Layer):
    """torch.nn.MultiheadAttention for numpy arrays and torch tensors, with more heads.

        >>> layer = attn.MultiheadAttention(64, 4, batch_first=True, seed=1).eval()
        >>> x = np.random.rand(2, 10, 64).astype(np.float32)
        >>> output, weights = layer(x, x, x, is_causal=True)
        >>> output.shape, weights.shape
        ((2, 10, 64), (2, 10, 10))

    The first arguments are those of torch's class, and so are the names and shapes of
    the parameters: ``layer.load_state_dict(torch_layer.state_dict())`` takes them over
    without copying. E = embed_dim, H = num_heads.

        dropout: the probability that a weight is dropped in training, 0 to 1
        bias: of all projections
        add_bias_kv, add_zero_attn: a key and value more, learnt or of zeros
        kdim, vdim: features of key and value; None: E
        batch_first: sequences are (batch, length, features), else (length, batch,
        features)

    More kinds of heads
        num_kv_heads: heads of keys and values, a divisor of H, each for H /
        num_kv_heads heads of queries (GQA; 1: MQA); None: H
        head_dim: features of a head; None: E / H. value_dim: of its values; None:
        head_dim
        combine: "concat", or "mean": the output is projected from the average of heads
        project: "all", or "slices": head h is projected from the h-th of H slices of
        the features. Weights are then (heads, head_dim, features of a slice).

    Positions
        rotary_dim: so many features of each query and key are rotated by their
        position, as by attn.rotary_embedding; 0: off. rotary_interleaved and
        rotary_base (None: 10000) are interleaved and base there.
        relative: scores have Transformer-XL's term for the distance (r_proj_weight,
        r_w_bias, r_r_bias); segments: and XLNet's for segments (seg_embed, r_s_bias).
        Calls then bring positions, and q_segments and k_segments.
        targets: query has rows for some of the queries only, as XLNet's query stream.
        Calls then bring targets and query_length.

    reproducible: the bits of a sequence's output do not depend on the others of the
    batch, for the price of smaller matrix products.
    seed: decides first values and what is dropped; None: they differ each time.

    Where BLAS has no kernels for small matrices, gradients of parameters are large
    calls of it and use as many threads as it is set to; with neither AVX2 nor AVX-512
    so do products with parameters.

    Beside forward and backward there are state_dict, load_state_dict, train and eval,
    which do what they do in torch, and the parameters and their gradients by name in
    ``layer.parameters`` and ``layer.grads``. A new layer is in training.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        *,
        num_kv_heads: int | None = None,
        head_dim: int | None = None,
        value_dim: int | None = None,
        combine: str = "concat",
        project: str = "all",
        rotary_dim: int = 0,
        rotary_interleaved: bool = False,
        rotary_base: float | None = None,
        relative: bool = False,
        segments: bool = False,
        targets: bool = False,
        reproducible: bool = False,
        seed: int | None = None,
    ) -> None:
        kind = multihead_kind(
            embed_dim,
            num_heads,
            bias=bias,
            add_bias_kv=add_bias_kv,
            add_zero_attn=add_zero_attn,
            kdim=kdim,
            vdim=vdim,
            num_kv_heads=num_kv_heads,
            head_dim=head_dim,
            value_dim=value_dim,
            combine=combine,
            project=project,
            rotary_dim=rotary_dim,
            rotary_interleaved=rotary_interleaved,
            rotary_base=rotary_base,
            relative=relative,
            segments=segments,
            targets=targets,
            reproducible=reproducible,
        )
        super().__init__(kind, dropout, seed)
        self.embed_dim, self.num_heads = kind.attention[:2]
        self.batch_first = bool(batch_first)

    def forward(
        self,
        query: Any,
        key: Any,
        value: Any,
        key_padding_mask: Any = None,
        need_weights: bool = True,
        attn_mask: Any = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
        *,
        dropout_seed: int | None = None,
        **options: Any,
    ) -> tuple[Any, Any]:
        """The output, and the weights or None.

        query (L, N, E), key (S, N, kdim), value (S, N, vdim), float32; with
        batch_first (N, L, E) and so on; without a batch (L, E) and so on. Where query,
        key and value are the same object, one product makes all three.

        Masks are torch's: True masks out
            attn_mask: bool, or float32 to be added to the scores: (L, S), or
            (N * H, L, S)
            key_padding_mask: bool, or float32 to be added: (N, S); (S) without a batch
            is_causal: query i attends keys up to i. It needs no attn_mask (torch wants
            one, and takes is_causal as a hint); with one, both hold.

        dropout_seed: decides what is dropped in training; None: drawn by the layer.
        position_ids, offsets, cos, sin: rotary positions, as in attn.rotary_embedding;
        key_position_ids, key_offsets: those of keys, if they are others.
        positions (encodings, zero), with relative: encodings (rows, E) are those of
        distances, with the row of distance 0 given by zero, and one row more for each
        key more; what is beyond takes the first or the last.
        targets (N, T), or (T) for all, and query_length, with targets=True: row t of
        query and output is query targets[n, t] of query_length.
        Other options are those of attn.scaled_dot_product_attention: scale, causal,
        window, softcap, alibi_slopes, sinks, q_lengths, kv_lengths, query_offsets,
        q_documents, k_documents, prefix_lengths, block_mask, rng_indices,
        relative_bias, relative_keys, content_bias, position_bias, q_segments,
        k_segments, segment_keys, segment_bias, q_ranks, k_ranks, ranks.

        Returns output, laid out as query is, and, unless need_weights is False, the
        weights before dropout (torch: after it), averaged over heads, (N, L, S), or
        with average_attn_weights=False (N, H, L, S). Added keys have columns at the
        end. The output does not depend on whether weights are asked for. A query that
        may attend nothing gets weights of 0 (torch: NaN), and out_proj.bias. Lengths
        and masks say who is attended; what lies beyond is projected all the same, and
        in training must be finite.

        In training, what backward() needs is kept until the next call: arrays must not
        be written to before it.
        """
        given = (query, key, value, attn_mask, key_padding_mask)
        dropout_p = self._dropout_p()
        request = usual_request(
            self._kind, self.batch_first, given, options, is_causal, dropout_p
        ) or multihead_request(
            self._kind,
            self.batch_first,
            inputs_of(given, lambda array, name: look(array, name)[0]),
            {**options, "is_causal": is_causal},
            (dropout_p, self._seed(dropout_seed) if dropout_p else 0),
        )
        asked = asked_weights(self._kind, need_weights, average_attn_weights)
        results = self._run(request, asked)
        return results["output"], weights_of(results, average_attn_weights)

    def backward(
        self, grad_output: Any, grad_weights: Any = None, wanted: Iterable[str] = ()
    ) -> Any:
        """Gradients, of what the last forward call of this thread computed.

        grad_output, grad_weights: of what it returned. Those of parameters are added to
        layer.grads.

        Returns a named tuple (grad_query, grad_key, grad_value), None for what was the
        same object as one before, whose gradient is the sum; and then those of wanted,
        names of arguments that are float32 but for masks, "relative_bias" say:
        grad_relative_bias.
        """
        wanted = tuple(wanted)
        for name in wanted:
            if name in MASKS:
                raise unsupported(f"the gradient of {name} is for attn.torch to give")
        return self._run_back(SEQUENCES, grad_output, grad_weights, wanted)

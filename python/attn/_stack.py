"""Stacks of Transformer blocks: the class that programs use."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ._layer import Layer
from ._results import result_type
from ._stack_kinds import stack_kind
from ._stack_request import stack_request


class TransformerStack(Layer):
    """Transformer blocks, each of which reads what the one before wrote.

        >>> encoder = attn.TransformerStack(6, 64, 4, 256, seed=1).eval()
        >>> x = np.random.rand(2, 10, 64).astype(np.float32)
        >>> encoder(x, is_causal=True).shape
        (2, 10, 64)

    A block is self-attention, attention to a memory if cross, and a feed-forward
    network, f(x W1^T + b1) W2^T + b2. Around each of these parts S stands
    norm(x + S(x)), or with norm_first x + S(norm(x)). Names and shapes of the
    parameters are those of torch.nn.TransformerEncoder, with cross those of
    torch.nn.TransformerDecoder: ``stack.load_state_dict(torch_model.state_dict())``
    takes them over without copying.

        layers, embed_dim (E), num_heads (H), dim_feedforward: sizes
        groups: blocks with parameters of their own, which neighbours share; None:
        layers, 1: all share them (ALBERT)
        activation: f, "relu", "gelu", "gelu_tanh" or "silu"
        gated: (f(x Wg^T + bg) * (x W1^T + b1)) W2^T + b2, of gate.weight (SwiGLU)
        norm: "layer", or "rms", which has no bias unless norm_bias is True
        norm_first: norms before the parts (torch: norm_first)
        final_norm: one more after the last block (torch: norm=LayerNorm(E))
        eps: of the norms
        bias: of all projections and norms; input_bias, output_bias,
        feed_forward_bias, norm_bias: of those of queries, keys and values, of heads,
        of the feed-forward network, of norms, if they are to differ
        cross: blocks attend to a memory, of memory_dim features (None: E)
        attention_dropout: the probability that a weight of attention is dropped in
        training. There is no other dropout (torch drops features too).
        recompute: a forward call in training keeps the input of each block alone, and
        backward computes each again
        num_kv_heads, head_dim, value_dim, combine, project, rotary_dim,
        rotary_interleaved, rotary_base, relative, segments, reproducible, seed: as in
        MultiheadAttention. Positions are those of self-attention.

    Beside forward and backward there are state_dict, load_state_dict, train and eval,
    which do what they do in torch, and the parameters and their gradients by name in
    ``stack.parameters`` and ``stack.grads``. A new stack is in training.
    """

    def __init__(
        self,
        layers: int,
        embed_dim: int,
        num_heads: int,
        dim_feedforward: int,
        *,
        groups: int | None = None,
        activation: str = "relu",
        gated: bool = False,
        norm: str = "layer",
        norm_first: bool = False,
        final_norm: bool = False,
        eps: float = 1e-5,
        bias: bool = True,
        input_bias: bool | None = None,
        output_bias: bool | None = None,
        feed_forward_bias: bool | None = None,
        norm_bias: bool | None = None,
        cross: bool = False,
        memory_dim: int | None = None,
        attention_dropout: float = 0.0,
        recompute: bool = False,
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
        reproducible: bool = False,
        seed: int | None = None,
    ) -> None:
        kind = stack_kind(
            layers,
            embed_dim,
            num_heads,
            dim_feedforward,
            cross=cross,
            memory_dim=memory_dim,
            groups=groups,
            activation=activation,
            gated=gated,
            feed_forward_bias=feed_forward_bias,
            norm=norm,
            norm_bias=norm_bias,
            norm_first=norm_first,
            final_norm=final_norm,
            eps=eps,
            recompute=recompute,
            bias=bias,
            input_bias=input_bias,
            output_bias=output_bias,
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
            reproducible=reproducible,
        )
        super().__init__(kind, attention_dropout, seed)

    def forward(
        self,
        input: Any,
        memory: Any = None,
        *,
        dropout_seed: int | None = None,
        return_weights: bool = False,
        return_mean_weights: bool = False,
        return_memory_weights: bool = False,
        return_memory_mean_weights: bool = False,
        **options: Any,
    ) -> Any:
        """The output of the last block, (N, L, E).

        input (N, L, E) and memory (N, S, memory_dim), float32, or (L, E) and
        (S, memory_dim) without a batch.

        options are those of attn.scaled_dot_product_attention, for the self-attention
        of all blocks: is_causal, attn_mask (True attends, as there), kv_lengths and so
        on; MultiheadAttention.forward lists them. With memory_ before their names,
        memory_kv_lengths say, they are for the attention to the memory.
        dropout_seed: decides what is dropped in training; None: drawn by the stack.
        position_ids, offsets, cos, sin: rotary positions, as in attn.rotary_embedding.
        positions (encodings, zero), with relative: as in MultiheadAttention.

        Returns the output, or, with any return_ option, a named tuple of what was asked
        for, in this order:
            output
            weights (layers, N, H, L, L), mean_weights (layers, N, L, L): of
            self-attention, each and averaged over heads, before dropout
            memory_weights (layers, N, H, L, S), memory_mean_weights: to the memory
        Asking for more never changes the output.

        In training, what backward() needs is kept until the next call: arrays must not
        be written to before it.
        """
        asked = {
            "weights": return_weights,
            "mean_weights": return_mean_weights,
            "memory_weights": return_memory_weights,
            "memory_mean_weights": return_memory_mean_weights,
        }
        dropout_p = self._dropout_p()
        request = stack_request(
            self._kind,
            {"input": input, "memory": memory},
            options,
            (dropout_p, self._seed(dropout_seed) if dropout_p else 0),
        )
        results = self._run(request, tuple(name for name in asked if asked[name]))
        if len(results) == 1:
            return results["output"]
        return result_type("Stack", tuple(results))(**results)

    def backward(self, grad_output: Any, wanted: Iterable[str] = ()) -> Any:
        """Gradients, of what the last forward call of this thread computed.

        grad_output: that of the output. Those of parameters are added to stack.grads.

        Returns a named tuple (grad_input, grad_memory), grad_memory None without
        cross; and then those of wanted, names of arguments that are float32,
        "relative_bias" say: grad_relative_bias.
        """
        return self._run_back(("input", "memory"), grad_output, None, wanted)

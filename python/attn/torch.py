"""attn.torch: attention for torch's autograd.

    >>> import torch, attn.torch
    >>> q = torch.rand(2, 8, 10, 64, requires_grad=True)
    >>> out = attn.torch.scaled_dot_product_attention(q, q, q, is_causal=True)
    >>> out.sum().backward()
    >>> q.grad.shape
    torch.Size([2, 8, 10, 64])

``MultiheadAttention`` and ``TransformerStack`` are modules of torch. This module
imports torch; ``import attn`` alone does not.
"""

from __future__ import annotations

from typing import Any

import torch

from ._additive import vector_of
from ._errors import AttnError, Status
from ._options import Asked
from ._request import Request, attend, differentiate, request
from ._results import result_type
from ._rotary import DEFAULT_BASE, Facts, rotate, sort_arguments
from ._torch_layers import MultiheadAttention, TransformerStack
from ._torch_tools import as_tensor, draw_seed, widened
from ._usual import looks_of_tensors, usual

__all__ = [
    "MultiheadAttention",
    "TransformerStack",
    "additive_attention",
    "rotary_embedding",
    "scaled_dot_product_attention",
]


@usual(looks_of_tensors)
def scaled_dot_product_attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    *,
    causal: str | None = None,
    window: tuple[int, int] | None = None,
    softcap: float = 0.0,
    alibi_slopes: Any = None,
    sinks: Any = None,
    q_lengths: Any = None,
    kv_lengths: Any = None,
    query_offsets: Any = None,
    q_documents: Any = None,
    k_documents: Any = None,
    prefix_lengths: Any = None,
    block_mask: tuple[Any, int, int] | None = None,
    dropout_seed: int | None = None,
    rng_indices: Any = None,
    relative_bias: tuple[Any, int, bool] | None = None,
    relative_keys: tuple[Any, int] | None = None,
    content_bias: Any = None,
    position_bias: Any = None,
    q_segments: Any = None,
    k_segments: Any = None,
    segment_keys: Any = None,
    segment_bias: Any = None,
    q_ranks: Any = None,
    k_ranks: Any = None,
    ranks: str | None = None,
    score_vector: Any = None,
    return_lse: bool = False,
    return_weights: bool = False,
    return_key_sums: bool = False,
    return_dropout_mask: bool = False,
) -> Any:
    """attn.scaled_dot_product_attention, with gradients by torch's autograd.

    The arguments and results are those of that function, as torch tensors. Gradients
    flow to query, key, value, a float32 attn_mask, alibi_slopes, sinks, score_vector,
    and the tables, keys and biases of relative positions and segments, as far as they
    require them, from out, lse, weights and key_sums. (Scores, which that function
    returns too, and keys and values of int8, which it takes too, have no gradient.)
    What is no tensor is copied into one.

    dropout_seed None: drawn from torch's generator if dropout_p is not 0, so that
    torch.manual_seed and torch.utils.checkpoint govern it.

    Compilers and transforms cannot look into it: use torch.compiler.disable() on what
    calls it in a model that torch.compile compiles; those of torch.func are an error.

    Kept for the gradients are the arguments, out, and two numbers for each query and
    head. Gradients of what is stored in 16 bits are computed in float32, from copies,
    and rounded to its type. Gradients of gradients are an error.

        >>> q = torch.rand(1, 4, 9, 16, requires_grad=True)
        >>> bias = torch.zeros(4, 9, 9, requires_grad=True)
        >>> r = attn.torch.scaled_dot_product_attention(q, q, q, bias, return_lse=True)
        >>> (r.out.square().sum() + 1e-4 * r.lse.square().sum()).backward()
        >>> q.grad.shape, bias.grad.shape
        (torch.Size([1, 4, 9, 16]), torch.Size([4, 9, 9]))
    """
    if dropout_seed is None:
        dropout_seed = draw_seed() if dropout_p else 0
    problem = request(
        query,
        key,
        value,
        attn_mask,
        dropout_p,
        is_causal,
        scale,
        enable_gqa,
        causal,
        window,
        softcap,
        alibi_slopes,
        sinks,
        q_lengths,
        kv_lengths,
        query_offsets,
        q_documents,
        k_documents,
        prefix_lengths,
        block_mask,
        dropout_seed,
        rng_indices,
        (relative_bias, relative_keys, content_bias, position_bias),
        (q_segments, k_segments, segment_keys, segment_bias),
        (q_ranks, k_ranks, ranks),
        score_vector=score_vector,
    )
    tensors = [as_tensor(array, name) for name, array in zip(*problem[:2])]
    asked = Asked(
        lse=return_lse,
        weights=return_weights,
        key_sums=return_key_sums,
        dropout_mask=return_dropout_mask,
    )
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        results = _Attention.apply(problem._replace(arrays=()), asked, *tensors)
        if len(results) == 1:
            return results[0]
        return result_type("Attention", tuple(asked.results()))(*results)
    return attend(problem._replace(arrays=tuple(tensors)), asked)


class _Attention(torch.autograd.Function):
    """The call as a node of torch's graph."""

    @staticmethod
    def forward(
        ctx: Any, problem: Request, asked: Asked, *arrays: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        results = attend(
            problem._replace(arrays=arrays), asked._replace(row_stats=True)
        )
        ctx.problem = problem
        ctx.results = tuple(asked.results())
        # Saved, not just kept: torch then notices if one is overwritten before the
        # gradients are computed.
        ctx.save_for_backward(*arrays, results.out, results.row_max, results.row_sum)
        ctx.set_materialize_grads(False)
        return tuple(getattr(results, name) for name in ctx.results)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: torch.Tensor | None) -> tuple[Any, ...]:
        *arrays, out, row_max, row_sum = ctx.saved_tensors
        names = ctx.problem.names
        given = {
            f"grad_{name}": grad
            for name, grad in zip(ctx.results, grads)
            if grad is not None
        }
        gradients: dict[str, torch.Tensor] = {}
        if given:
            given.update(out=out, row_max=row_max, row_sum=row_sum)
            given = {name: widened(array) for name, array in given.items()}
            problem = ctx.problem._replace(arrays=tuple(map(widened, arrays)))
            needed = zip(names, ctx.needs_input_grad[2:])
            wanted = tuple(name for name, need in needed if need)
            types = {name: array.dtype for name, array in zip(names, arrays)}
            gradients = {
                name: gradient.to(types[name])
                for name, gradient in zip(wanted, differentiate(problem, given, wanted))
            }
        return (None, None, *(gradients.get(name) for name in names))


def additive_attention(
    query: Any, key: Any, value: Any, score_vector: Any, **options: Any
) -> Any:
    """attn.additive_attention, with gradients by torch's autograd.

    The options are those of scaled_dot_product_attention here that go with additive
    scores.

        >>> memory, state = torch.rand(2, 9, 24), torch.rand(2, 1, 16)
        >>> w, u = torch.nn.Linear(16, 32), torch.nn.Linear(24, 32, bias=False)
        >>> v = torch.rand(32, requires_grad=True)
        >>> context = attn.torch.additive_attention(w(state), u(memory), memory, v)
        >>> context.sum().backward()
        >>> context.shape, v.grad.shape, u.weight.grad.shape
        (torch.Size([2, 1, 24]), torch.Size([32]), torch.Size([32, 24]))
    """
    given = {**options, "score_vector": vector_of(score_vector)}
    return scaled_dot_product_attention(query, key, value, **given)


def rotary_embedding(
    input: Any,
    *,
    rotary_dim: int = 0,
    interleaved: bool = False,
    inverse: bool = False,
    base: float = DEFAULT_BASE,
    position_ids: Any = None,
    offsets: Any = None,
    cos: Any = None,
    sin: Any = None,
) -> torch.Tensor:
    """attn.rotary_embedding, with the gradient of input by torch's autograd.

    The arguments are those of that function; what is no tensor is copied into one.
    Gradients of gradients work too. A cos or sin that requires a gradient is an error.

        >>> q = torch.rand(1, 4, 9, 16, requires_grad=True)
        >>> attn.torch.rotary_embedding(q).square().sum().backward()
        >>> torch.allclose(q.grad, 2 * q, atol=1e-5)
        True
    """
    facts, arrays = sort_arguments(
        rotary_dim, interleaved, inverse, base, position_ids, offsets, cos, sin
    )
    tensors = [as_tensor(array, name) for name, array in arrays.items()]
    if torch.is_grad_enabled():
        for name, tensor in zip(arrays, tensors):
            if tensor.requires_grad:
                raise AttnError(
                    Status.NOT_DIFFERENTIABLE,
                    f"{name} requires a gradient, but only that of input is there:"
                    f" use {name}.detach()",
                )
    return _Rotary.apply(facts, tuple(arrays), as_tensor(input, "input"), *tensors)


class _Rotary(torch.autograd.Function):
    """A rotation as a node of torch's graph; its gradient is the rotation back."""

    @staticmethod
    def forward(
        ctx: Any,
        facts: Facts,
        names: tuple[str, ...],
        input: torch.Tensor,
        *arrays: torch.Tensor,
    ) -> Any:
        ctx.facts, ctx.names = facts, names
        ctx.save_for_backward(*arrays)
        return rotate(input, facts, dict(zip(names, arrays)))

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:
        arrays = ctx.saved_tensors
        facts = ctx.facts._replace(inverse=not ctx.facts.inverse)
        rotated = _Rotary.apply(facts, ctx.names, grad, *arrays)
        return (None, None, rotated, *(None for _ in arrays))

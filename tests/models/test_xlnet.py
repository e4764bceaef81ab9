"""Two-stream relative attention beside XLNet's (transformers' XLNetRelativeAttention).

Relative keys from encodings of distances, the biases of the query, segments, memory, an
order of factorisation for both streams, and targets for the query stream.
"""

from __future__ import annotations

import pytest

from needs import torch_or_skip

torch = torch_or_skip()
pytest.importorskip("transformers")

from transformers import XLNetConfig  # noqa: E402
from transformers.models.xlnet.modeling_xlnet import (  # noqa: E402
    XLNetRelativeAttention,
)

import attn.torch  # noqa: E402
from twins import check, far  # noqa: E402

BATCH, DIM, HEADS, LENGTH, MEMORY, TARGETS = 2, 48, 4, 75, 66, 9
KEYS = MEMORY + LENGTH
TABLES = ("r_w_bias", "r_r_bias", "r_s_bias", "seg_embed")


def leaf(*shape):
    return torch.randn(*shape, dtype=torch.float64).requires_grad_()


class Streams:
    """Inputs of both streams, (length, batch, features) as XLNet has them."""

    def __init__(self):
        torch.manual_seed(3)
        config = XLNetConfig(d_model=DIM, n_head=HEADS, n_layer=1, dropout=0.0)
        self.module = XLNetRelativeAttention(config).double()
        for parameter in self.module.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        # without the residual and the norm around the attention
        self.module.post_attention = lambda _, heads, **__: torch.einsum(
            "ibnd,hnd->ibh", heads, self.module.o
        )
        self.content = leaf(LENGTH, BATCH, DIM)
        self.query = leaf(TARGETS, BATCH, DIM)
        self.memory = leaf(MEMORY, BATCH, DIM)
        self.encodings = leaf(KEYS + LENGTH, 1, DIM)
        self.order = torch.stack([torch.randperm(LENGTH) for _ in range(BATCH)])
        self.targets = torch.stack(
            [torch.randperm(LENGTH)[:TARGETS] for _ in range(BATCH)]
        )
        self.segments = torch.randint(0, 2, (BATCH, LENGTH))
        none = torch.zeros(BATCH, MEMORY, dtype=torch.int64)
        self.key_segments = torch.cat([none, self.segments], dim=1)
        self.key_ranks = torch.cat([none - 1, self.order], dim=1)

    def masks(self):
        """1 where XLNet must not look: (queries, keys, batch, 1), for both streams."""
        found = []
        for stream in (torch.gt, torch.ge):
            hidden = stream(self.order[:, None, :], self.order[:, :, None])
            seen = torch.zeros(BATCH, LENGTH, MEMORY, dtype=torch.bool)
            mask = torch.cat([seen, hidden], dim=2)
            found.append(mask.permute(1, 2, 0)[..., None].double())
        return found

    def theirs(self):
        differ = self.segments[:, :, None] != self.key_segments[:, None, :]
        segments = torch.nn.functional.one_hot(differ.long(), 2).permute(1, 2, 0, 3)
        mapping = torch.nn.functional.one_hot(self.targets, LENGTH).permute(1, 2, 0)
        return self.module(
            self.content,
            self.query,
            *self.masks(),
            self.encodings.expand(-1, BATCH, -1),
            segments.double(),
            mems=self.memory,
            target_mapping=mapping.double(),
        )[:2]

    def layer(self, targets):
        layer = attn.torch.MultiheadAttention(
            DIM,
            HEADS,
            bias=False,
            relative=True,
            segments=True,
            targets=targets,
        )
        layer.load_state_dict(
            {name: value.detach().float() for name, value in self.parameters().items()}
        )
        return layer

    def parameters(self, of=lambda parameter: parameter):
        """Parameters as attn has them; of: what to take of each, its gradient say."""

        def turned(*parts):
            return torch.cat([of(part).flatten(1).T for part in parts])

        m = self.module
        return {
            "in_proj_weight": turned(m.q, m.k, m.v),
            "r_proj_weight": turned(m.r),
            "out_proj.weight": of(m.o).flatten(1),
            **{name: of(getattr(m, name)) for name in TABLES},
        }


@pytest.mark.parametrize("stream", ["content", "query"])
def test_a_stream(stream):
    streams = Streams()
    is_query = stream == "query"
    theirs = streams.theirs()[int(is_query)]
    grad_output = torch.randn_like(theirs)
    theirs.backward(grad_output)

    def ours_of(tensor):
        return tensor.detach().float().requires_grad_()

    layer = streams.layer(is_query)
    queries = streams.query if is_query else streams.content
    ours_in, memory, content = map(ours_of, (queries, streams.memory, streams.content))
    encodings = ours_of(streams.encodings[:, 0])
    keys = torch.cat([memory, content if is_query else ours_in])
    more = {}
    if is_query:
        more = {"targets": streams.targets, "query_length": LENGTH}
    ours, _ = layer(
        ours_in,
        keys,
        keys,
        need_weights=False,
        positions=(encodings, KEYS),
        query_offsets=torch.tensor(MEMORY),
        q_segments=streams.segments,
        k_segments=streams.key_segments,
        q_ranks=streams.order,
        k_ranks=streams.key_ranks,
        ranks="below" if is_query else "up_to",
        **more,
    )
    ours.backward(grad_output.float())

    distances = {
        "output": far(ours.detach(), theirs.detach()),
        "grad of memory": far(memory.grad, streams.memory.grad),
        "grad of positions": far(encodings.grad, streams.encodings.grad[:, 0]),
    }
    for name, grad in streams.parameters(lambda parameter: parameter.grad).items():
        distances[f"grad of {name}"] = far(layer.get_parameter(name).grad, grad)
    wanted = streams.content.grad
    if is_query:
        distances["grad of query"] = far(ours_in.grad, streams.query.grad)
        distances["grad of content"] = far(content.grad, wanted)
    else:
        distances["grad of content"] = far(ours_in.grad, wanted)
    check(distances)

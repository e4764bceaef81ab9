"""attn: attention on the CPU, for numpy and torch arrays, through libattn.

    >>> import numpy as np, attn
    >>> q = np.random.rand(2, 8, 100, 64).astype(np.float32)  # batch, heads, ...
    >>> out = attn.scaled_dot_product_attention(q, q, q, is_causal=True)
    >>> out.shape
    (2, 8, 100, 64)

The arrays are handed to the library as they lie in memory: nothing is copied when
their last dimension is contiguous. They are float32, or stored in 16 bits. What comes
in as a torch tensor goes out as one.

For training there is ``scaled_dot_product_attention_backward``, and for torch's
autograd the module ``attn.torch``, which is imported by itself.

``MultiheadAttention`` and ``TransformerStack`` are layers, with parameters by torch's
names.
"""

from ._additive import additive_attention
from ._backward import scaled_dot_product_attention_backward
from ._bind import BoundCall, bind
from ._cache import KVCache
from ._context import get_num_threads, info, set_num_threads
from ._errors import AttnError, Status
from ._merge import merge_states
from ._multihead import MultiheadAttention
from ._profile import Profile
from ._rollout import attention_rollout
from ._rotary import rotary_embedding
from ._sdpa import scaled_dot_product_attention
from ._stack import TransformerStack
from ._tuning import tune, tuning_export, tuning_import
from ._varlen import varlen_attention

__version__ = "0.1.0"

__all__ = [
    "AttnError",
    "BoundCall",
    "KVCache",
    "MultiheadAttention",
    "Profile",
    "Status",
    "TransformerStack",
    "additive_attention",
    "attention_rollout",
    "bind",
    "get_num_threads",
    "info",
    "merge_states",
    "rotary_embedding",
    "scaled_dot_product_attention",
    "scaled_dot_product_attention_backward",
    "set_num_threads",
    "tune",
    "tuning_export",
    "tuning_import",
    "varlen_attention",
]

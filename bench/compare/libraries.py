"""The libraries that are measured, by name."""

from __future__ import annotations

import importlib

from compare.peer import Peer
from compare.progress import Progress

# Of each peer: its module, and the class there.
PEERS = {
    "pytorch": ("compare.peer_torch", "PyTorch"),
    "onnxruntime": ("compare.peer_onnxruntime", "OnnxRuntime"),
    "openvino": ("compare.peer_openvino", "OpenVino"),
    "jax": ("compare.peer_jax", "Jax"),
}


def open_peers(names: list[str], progress: Progress) -> list[Peer]:
    """Those that are installed; the others are named, with the reason."""
    peers: list[Peer] = []
    for name in names:
        module, kind = PEERS[name]
        try:
            peers.append(getattr(importlib.import_module(module), kind)())
        except Exception as error:  # a broken package may raise anything
            progress.say(f"left out: {name}: {first_line(error)}")
    return peers


def first_line(error: Exception) -> str:
    """What it says, or else what it is."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__

"""What some tests need, and how sternly."""

from __future__ import annotations

import importlib
import os

import pytest


def torch_or_skip():
    """The package torch; without it the module that asks is skipped.

    ATTN_REQUIRE_MODELS is set where torch was installed for these tests: there it is a
    failure not to have it.
    """
    if os.environ.get("ATTN_REQUIRE_MODELS"):
        return importlib.import_module("torch")
    return pytest.importorskip("torch", reason="torch is not installed")

"""The one exception of this package, and the library's status codes."""

from __future__ import annotations

import enum


class Status(enum.IntEnum):
    """What a call came to: ``attn_status`` of ``attn/common.h``."""

    OK = 0
    INVALID = 1
    UNSUPPORTED = 2
    NOT_DIFFERENTIABLE = 3
    NO_MEMORY = 4
    CANCELLED = 5
    IO = 6


class AttnError(RuntimeError):
    """A call that broke a rule; the text says which one, with the numbers.

    ``status`` tells the kinds apart:

        >>> try:
        ...     attn.scaled_dot_product_attention(q, k, v, dropout_p=1.1)
        ... except attn.AttnError as error:
        ...     print(error.status is attn.Status.INVALID)
        True
    """

    def __init__(self, status: int, message: str) -> None:
        # Both go to args, so that the exception survives pickling between processes.
        super().__init__(status, message)
        # A later library may have statuses that are not listed here.
        self.status: int = next((known for known in Status if known == status), status)
        self.message = message

    def __str__(self) -> str:
        return self.message


def invalid(message: str) -> AttnError:
    """An argument breaks a rule."""
    return AttnError(Status.INVALID, message)


def unsupported(message: str) -> AttnError:
    """The request makes sense, but this library cannot do it."""
    return AttnError(Status.UNSUPPORTED, message)

"""What the calls of a thread are within: profiles, and ``attn.bind``.

Every call asks, so both are attributes of one object.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Callable, NamedTuple

from ._errors import unsupported

if TYPE_CHECKING:
    from ._layout import Slot
    from ._plan import Plan
    from ._profile import Profile
    from ._structs import Tensor


class Copy(NamedTuple):
    """An input that each call copies: where the copy goes, how it lies, and of what."""

    tensor: Tensor
    slot: Slot
    array: Any  # from as_numpy


class Step(NamedTuple):
    """A call of the library as it was made, which can be made again."""

    function: Callable[..., int]
    handle: Any
    reference: Any
    args: Any  # the struct that has the profile
    plan: Plan | None  # None: profiles are not told of such calls
    copies: list[Copy]
    held: Any  # what the structs point to


class _Entered(threading.local):
    def __init__(self) -> None:
        # The innermost last.
        self.profiles: list[Profile] = []
        # Where calls leave their steps; None: nobody wants them.
        self.steps: list[Step] | None = None

    def hold(self, held: Any) -> None:
        """Keeps alive what the last step reads besides."""
        if self.steps:
            step = self.steps[-1]
            self.steps[-1] = step._replace(held=(step.held, held))


entered = _Entered()


def made_once(what: str, instead: str = "") -> None:
    """An error if this is made from an argument of a call that is to be made again.

    What is written to the argument later would not be seen.
    """
    if entered.steps is not None:
        raise unsupported(f"bind: {what}, which would be done once{instead}")

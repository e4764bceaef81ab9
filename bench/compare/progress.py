"""What is being done, for people who wait."""

from __future__ import annotations

import sys


class Progress:
    """On one line of a terminal; elsewhere a line now and then."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()

    def show(self, text: str) -> None:
        """Replaces the line."""
        if self._terminal:
            print(f"\r\033[K{text[:100]}", end="", file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        """A line that stays, where lines cannot be replaced."""
        if not self._terminal:
            print(text, file=sys.stderr, flush=True)

    def say(self, text: str) -> None:
        """A line that stays anywhere."""
        self.clear()
        print(text, file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Takes the line away."""
        self.show("")

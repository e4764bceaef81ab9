"""What the tests beside torch share: a part of what tests/python has."""

from __future__ import annotations

import sys
from pathlib import Path

# needs.py and reference.py
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "python"))

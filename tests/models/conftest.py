"""What the tests beside torch share: a part of what tests/python has."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# needs.py and reference.py
sys.path.insert(0, str(ROOT / "tests" / "python"))

# what ./dev peers is made of: the package compare
sys.path.append(str(ROOT / "bench"))

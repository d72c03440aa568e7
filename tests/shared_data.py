"""Real data files, which are next to the checkout and not part of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

FOLDER = Path(
    os.environ.get("SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")
)
OPEN_FOOD_FACTS = FOLDER / "off_official_2026-04-04_random1000.csv"
TELEVISIONS = FOLDER / "gems_tv_register_2025-09-08.csv"

needs_shared_data = pytest.mark.skipif(
    not FOLDER.is_dir(),
    reason="No folder of real data: put it beside the checkout, or name it in SHARED_DATA.",
)

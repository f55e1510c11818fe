"""Where recorded reference values and real image pairs lie, on machines that have them; None elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

_CANDIDATE = Path(os.environ.get("CLDYN_SHARED", Path(__file__).resolve().parents[3] / "shared"))
SHARED: Path | None = _CANDIDATE if (_CANDIDATE / "golden").is_dir() else None

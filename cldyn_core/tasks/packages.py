"""Optional packages of the task networks: whether they are there, and how to import them."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Any


def import_transformers(*names: str) -> list[Any]:
    """These attributes of transformers, imported without torchvision.

    transformers imports torchvision where it finds one, for image processors that are not used here; beside a torch of
    another build it does not import. None in sys.modules makes it look uninstalled.
    """
    absent = object()
    torchvision: Any = sys.modules.get("torchvision", absent)
    sys.modules["torchvision"] = None  # type: ignore[assignment]
    try:
        transformers = import_module("transformers")
        # Whoever imported transformers before may have had it look, and it remembers.
        import_module("transformers.utils.import_utils").is_torchvision_available.cache_clear()
        return [getattr(transformers, name) for name in names]
    finally:
        if torchvision is absent:
            del sys.modules["torchvision"]
        else:
            sys.modules["torchvision"] = torchvision


def missing_packages(what: str, requirements: dict[str, str]) -> str:
    """Which of the packages (import name -> requirement) are not installed, with the remedy; "" when all are."""
    lacking = [requirement for name, requirement in requirements.items() if find_spec(name) is None]
    return f"{what} needs packages that are not installed: pip install {' '.join(lacking)}" if lacking else ""

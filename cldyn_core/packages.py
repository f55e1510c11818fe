"""Optional packages: whether they are there, and how to import them beside a torchvision of another torch build."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Any
from unittest.mock import patch


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


def import_torchmetrics(module: str = "torchmetrics") -> Any:
    """A module of torchmetrics, which imports torchvision where it finds one, for metrics that are not used here."""
    cache = import_module("lightning_utilities.core.imports").RequirementCache
    check = cache._check_requirement

    def check_but_torchvision(self: Any) -> None:
        if "torchvision" in (self.requirement or ""):
            self.available, self.message = False, "torchvision is not used"
        else:
            check(self)

    with patch.object(cache, "_check_requirement", check_but_torchvision):
        return import_module(module)


def missing_packages(what: str, requirements: dict[str, str]) -> str:
    """Which of the packages (import name -> requirement) are not installed, with the remedy; "" when all are."""
    lacking = [requirement for name, requirement in requirements.items() if find_spec(name) is None]
    return f"{what} needs packages that are not installed: pip install {' '.join(lacking)}" if lacking else ""

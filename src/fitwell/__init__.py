"""fitwell turns labelled images into a classifier you can defend."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fitwell.classifier import Classifier, ensemble, load

__version__ = "0.1.0"
__all__ = ["Classifier", "__version__", "ensemble", "load"]


def __getattr__(name: str) -> object:
    """Load a public name when it is first asked for, so that `import fitwell` is instant."""
    if name in ("Classifier", "ensemble", "load"):
        from fitwell import classifier

        return getattr(classifier, name)
    raise AttributeError(f"module 'fitwell' has no attribute {name!r}")

"""What was measured, as JSON: the report and the charts can be made from it again."""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Figures = dict[str, Any]


def read(path: Path) -> Figures:
    return dict(json.loads(path.read_text("utf-8"))) if path.exists() else {}


def write(path: Path, results: Figures) -> None:
    path.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n", "utf-8")


def figures(results: Figures, part: str) -> Figures | None:
    """What that part measured; None: it was not run, or it failed."""
    found: Figures | None = results.get("parts", {}).get(part, {}).get("figures")
    return found


def figure(results: Figures, part: str, *path: str) -> float | None:
    """One number of a part; None: not measured."""
    found: object = figures(results, part)
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return float(found) if isinstance(found, (int, float)) else None


def spread(values: Sequence[float]) -> Figures:
    """The median of the rounds, and what the rounds had between."""
    return {
        "median": _rounded(statistics.median(values)),
        "low": _rounded(min(values)),
        "high": _rounded(max(values)),
        "rounds": len(values),
    }


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest of the values that so many percent do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def shown(value: float) -> str:
    """As many digits as mean something."""
    if value == round(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _rounded(value: float) -> float:
    """Four digits are more than a noisy machine tells."""
    return float(f"{value:.4g}")

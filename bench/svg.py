"""A drawing: the few elements a chart needs, in colours for light and dark pages."""

from html import escape

STYLE = """
text { font: 12px system-ui, -apple-system, "Segoe UI", "Noto Sans", Helvetica, Arial, sans-serif; }
.title { font-size: 15px; font-weight: 600; }
.head { font-size: 13px; font-weight: 600; }
.strong { font-weight: 600; }
.ink { fill: #1f2328; } .dim { fill: #59636e; }
.grid { stroke: #d1d9e0; stroke-width: 1; }
.bar { stroke: #bf5600; stroke-width: 1.5; stroke-dasharray: 6 4; }
.ours { fill: #0969da; } .ours-faint { fill: #b6d8fb; }
.other { fill: #818b98; } .other-faint { fill: #dae0e7; }
.first { stroke: #0969da; } .second { stroke: #1a7f37; }
.first-dot { fill: #0969da; } .second-dot { fill: #1a7f37; }
.curve { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
@media (prefers-color-scheme: dark) {
  .ink { fill: #f0f6fc; } .dim { fill: #9198a1; }
  .grid { stroke: #2a313c; } .bar { stroke: #f0883e; }
  .ours { fill: #4493f8; } .ours-faint { fill: #1f4b85; }
  .other { fill: #9198a1; } .other-faint { fill: #3d444d; }
  .first { stroke: #4493f8; } .second { stroke: #3fb950; }
  .first-dot { fill: #4493f8; } .second-dot { fill: #3fb950; }
}
"""


class Svg:
    """Lengths are pixels of a drawing that scales; `kind` is one or more classes of the style."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self._parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
            f'height="{height}" role="img" aria-label="{escape(title)}">',
            f"<title>{escape(title)}</title>",
            f"<style>{STYLE}</style>",
        ]

    def text(self, x: float, y: float, words: str, kind: str = "ink", anchor: str = "start") -> None:
        self._parts.append(
            f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
        )

    def box(self, x: float, y: float, width: float, height: float, kind: str) -> None:
        self._parts.append(
            f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{max(width, 1):.1f}" '
            f'height="{height:.1f}" rx="2"/>'
        )

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str = "grid") -> None:
        self._parts.append(f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>')

    def curve(self, points: list[tuple[float, float]], kind: str) -> None:
        """A line through the points, and a dot on each."""
        way = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self._parts.append(f'<polyline class="curve {kind}" points="{way}"/>')
        self._parts += [f'<circle class="{kind}-dot" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>' for x, y in points]

    def done(self) -> str:
        return "\n".join([*self._parts, "</svg>"]) + "\n"

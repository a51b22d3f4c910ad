"""Bars that compare servers, as an SVG file that fits light and dark pages."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, NAMES, FIGURES, BAR, GAP, HEAD, GROUP = 760, 230, 90, 18, 6, 34, 26
_STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1d2733 }
.head { font-weight: 600 }
.ours { fill: #0b6e99 }
.other { fill: #9aa7b4 }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .ours { fill: #58b7e0 } .other { fill: #6b7885 } }
"""


@dataclass(frozen=True)
class Bar:
    """One server's figure."""

    name: str
    value: float
    ours: bool = False


@dataclass(frozen=True)
class Group:
    """Bars that belong together; lengths can be compared within a picture."""

    title: str
    bars: tuple[Bar, ...]


def draw(title: str, unit: str, groups: Sequence[Group]) -> str:
    """Draw groups of bars below each other; less is better, so ours stand out by colour and not by length."""
    most = max((bar.value for group in groups for bar in group.bars), default=1.0) or 1.0
    lines, y = [f'<text class="head" x="0" y="16">{escape(title)} ({escape(unit)})</text>'], HEAD
    for group in groups:
        if group.title:
            lines.append(f'<text x="0" y="{y + 13}">{escape(group.title)}</text>')
            y += GROUP - GAP
        for bar in group.bars:
            lines += _bar(bar, y, most)
            y += BAR + GAP
        y += GAP
    body = "\n".join(lines)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}" viewBox="0 0 {WIDTH} {y}" role="img">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n{body}\n</svg>\n"
    )


def _bar(bar: Bar, y: int, most: float) -> list[str]:
    length = max(1.0, bar.value / most * (WIDTH - NAMES - FIGURES))
    kind = "ours" if bar.ours else "other"
    return [
        f'<text x="{NAMES - 8}" y="{y + 13}" text-anchor="end">{escape(bar.name)}</text>',
        f'<rect class="{kind}" x="{NAMES}" y="{y}" width="{length:.1f}" height="{BAR}" rx="2"/>',
        f'<text x="{NAMES + length + 6:.1f}" y="{y + 13}">{bar.value:.3g}</text>',
    ]

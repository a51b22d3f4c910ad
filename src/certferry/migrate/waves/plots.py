"""Plots of a migration as inline SVG: pure functions over the phones' rows."""

from collections.abc import Sequence
from html import escape
from itertools import pairwise

from certferry.cluster.migrations import MigrationPhone, PhoneState

WIDTH, HEIGHT = 640, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 16, 16, 40
_BARS = 60
"""Intervals that the time of a migration is cut into at most."""
Point = tuple[float, float]


def throughput(phones: Sequence[MigrationPhone]) -> list[Point]:
    """Count the phones that moved in each second, over the time of the migration: (seconds since the start, rate)."""
    ends = sorted(phone.ended_at.timestamp() for phone in phones if _moved(phone) and phone.ended_at)
    resets = [phone.reset_at.timestamp() for phone in phones if phone.reset_at]
    if not ends:
        return []
    began = min([*resets, ends[0]])
    width = max(1.0, (ends[-1] - began) / _BARS)
    counts: dict[int, int] = {}
    for end in ends:
        counts[int((end - began) // width)] = counts.get(int((end - began) // width), 0) + 1
    return [(place * width, counts.get(place, 0) / width) for place in range(max(counts) + 1)]


def times_to_register(phones: Sequence[MigrationPhone]) -> list[float]:
    """Tell the seconds from the reset to the registration that was seen, for each phone that moved, in order."""
    return sorted(
        max(0.0, (phone.ended_at - phone.reset_at).total_seconds())
        for phone in phones
        if _moved(phone) and phone.reset_at and phone.ended_at
    )


def percentile(values: Sequence[float], percent: int) -> float:
    """Give the value that ``percent`` of ``values``, which are in order, do not exceed."""
    return values[max(0, -(-len(values) * percent // 100) - 1)]


def draw_throughput(phones: Sequence[MigrationPhone], label: str, across: str, up: str) -> str:
    """Draw the rate over time as bars."""
    points = throughput(phones)
    if not points:
        return ""
    width = points[1][0] - points[0][0] if len(points) > 1 else 1.0
    frame = _Frame(points[-1][0] + width, max(rate for _, rate in points))
    bars = "".join(
        f'<rect x="{frame.x(at):.1f}" y="{frame.y(rate):.1f}" width="{max(1.0, frame.x(width) - frame.x(0) - 1):.1f}" '
        f'height="{frame.y(0) - frame.y(rate):.1f}"/>'
        for at, rate in points
        if rate
    )
    return frame.svg(f'<g class="pass">{bars}</g>', label, across, up)


def draw_times(phones: Sequence[MigrationPhone], label: str, across: str, up: str) -> str:
    """Draw which share of the phones had registered after so many seconds."""
    values = times_to_register(phones)
    if not values:
        return ""
    frame = _Frame(max(values[-1], 1.0), 100.0)
    steps = [(0.0, 0.0), *((value, 100 * (place + 1) / len(values)) for place, value in enumerate(values))]
    path = f"M {frame.x(0):.1f} {frame.y(0):.1f}" + "".join(
        f" H {frame.x(at):.1f} V {frame.y(share):.1f}" for (_, _), (at, share) in pairwise(_thinned(steps))
    )
    return frame.svg(f'<path class="line" d="{path}"/>', label, across, up)


def _thinned(points: list[Point], most: int = 500) -> list[Point]:
    """Leave out points that nobody would see between the others."""
    stride = -(-len(points) // most)
    return [*points[:-1:stride], points[-1]]


def _moved(phone: MigrationPhone) -> bool:
    return phone.state is PhoneState.MOVED


class _Frame:
    """Axes from 0 to ``most_x`` and ``most_y``."""

    def __init__(self, most_x: float, most_y: float) -> None:
        self.most_x, self.most_y = most_x, most_y

    def x(self, value: float) -> float:
        return _LEFT + value / self.most_x * (WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - _BOTTOM - value / self.most_y * (HEIGHT - _TOP - _BOTTOM)

    def svg(self, content: str, label: str, across: str, up: str) -> str:
        """Put axes around what was drawn."""
        bottom, right = self.y(0), self.x(self.most_x)
        marks = [
            (_LEFT, bottom + 18, "0"),
            (right - 12, bottom + 18, _number(self.most_x)),
            (_LEFT - 26, self.y(self.most_y) + 5, _number(self.most_y)),
            ((_LEFT + right) / 2, HEIGHT - 6, across),
            (_LEFT + 40, 12, up),
        ]
        texts = "".join(f'<text x="{x:.0f}" y="{y:.0f}">{escape(text)}</text>' for x, y, text in marks)
        axes = f'<path class="axis" d="M {_LEFT} {_TOP} V {bottom:.0f} H {right:.0f}"/>'
        return (
            f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">'
            f"<title>{escape(label)}</title>{axes}{content}{texts}</svg>"
        )


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"  # noqa: PLR2004 -- one digit is enough from ten on

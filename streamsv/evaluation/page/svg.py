"""A plot as SVG that stands inside a page and takes its colors from the page's style."""

from __future__ import annotations

from html import escape

from streamsv.evaluation.page.plot import Plot, Points

WIDTH, HEIGHT = 480, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 14, 30, 48


def svg(plot: Plot) -> str:
    """The drawing, without its legend: that is text of the page, and wraps on a phone."""
    inside_width, inside_height = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM

    def across(x: float) -> float:
        share = (x - plot.x.low) / (plot.x.high - plot.x.low)
        return round(_LEFT + inside_width * min(1.0, max(0.0, share)), 1)

    def down(y: float) -> float:
        share = (y - plot.y.low) / (plot.y.high - plot.y.low)
        return round(_TOP + inside_height * (1 - min(1.0, max(0.0, share))), 1)

    def path(points: Points) -> str:
        return " ".join(f"{across(x)},{down(y)}" for x, y in points)

    bottom, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(plot.title)}">',
        f"<title>{escape(plot.title)}</title>",
    ]
    for where, text in plot.x.ticks:
        parts.append(
            f'<line class="grid" x1="{across(where)}" x2="{across(where)}" y1="{_TOP}" '
            f'y2="{bottom}"/><text x="{across(where)}" y="{bottom + 18}" '
            f'text-anchor="middle">{escape(text)}</text>'
        )
    for where, text in plot.y.ticks:
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{down(where)}" '
            f'y2="{down(where)}"/><text x="{_LEFT - 7}" y="{down(where) + 5}" '
            f'text-anchor="end">{escape(text)}</text>'
        )
    parts.append(
        f'<text class="axis" x="{(_LEFT + right) / 2}" y="{HEIGHT - 8}" text-anchor="middle">'
        f'{escape(plot.x.label)}</text><text class="axis" x="{_LEFT}" y="16">'
        f"{escape(plot.y.label)}</text>"
    )
    for guide in plot.guides:
        parts.append(f'<polyline class="guide" points="{path(guide)}"/>')
    for band in plot.bands:
        outline = path((*band.low, *reversed(band.high)))
        parts.append(f'<polygon class="band s{band.series}" points="{outline}"/>')
    for bars in plot.bars:
        corners: list[tuple[float, float]] = [(bars.edges[0], plot.y.low)]
        for left, end, height in zip(bars.edges, bars.edges[1:], bars.heights, strict=False):
            corners += [(left, height), (end, height)]
        corners.append((bars.edges[-1], plot.y.low))
        parts.append(f'<polygon class="bars s{bars.series}" points="{path(tuple(corners))}"/>')
    for line in plot.lines:
        dashed = " dashed" if line.is_dashed else ""
        parts.append(
            f'<polyline class="line s{line.series}{dashed}" points="{path(line.points)}"/>'
        )
        for (x, y), tip in zip(line.points, line.tips, strict=False):
            parts.append(
                f'<circle class="dot s{line.series}" cx="{across(x)}" cy="{down(y)}" r="4">'
                f"<title>{escape(tip)}</title></circle>"
            )
    return "\n".join([*parts, "</svg>"])

"""The benchmark as a picture: bars of medians, a line from the least to the greatest round."""

import statistics
from xml.sax.saxutils import escape

WIDTH = 720
LEFT = 210  # where bars begin
BAR = 18
GAP = 6
COLOURS = {"sessiond": "#2b6cb0", "pgbench": "#a0aec0", "echo": "#cbd5e0"}


def draw(groups):
    """SVG of [(title, [(label, values), …]), …]; the first word of a label chooses its colour."""
    scale = (WIDTH - LEFT - 90) / max(max(values) for _, rows in groups for _, values in rows)
    parts = []
    y = 30
    for title, rows in groups:
        parts.append(text(20, y, title, weight="bold"))
        y += 12
        for label, values in rows:
            parts += bar(y, label, values, scale)
            y += BAR + GAP
        y += 22
    parts.append(text(20, y, "requests per second: median, and least to greatest round", colour="#4a5568"))
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y + 14}" '
            f'font-family="sans-serif" font-size="13">\n<rect width="100%" height="100%" fill="white"/>\n'
            + "\n".join(parts) + "\n</svg>\n")


def bar(y, label, values, scale):
    middle = y + BAR / 2
    median = statistics.median(values)
    colour = next((colour for word, colour in COLOURS.items() if label.startswith(word)), "#2b6cb0")
    least, greatest = LEFT + min(values) * scale, LEFT + max(values) * scale
    return [
        text(LEFT - 10, middle + 4, label, anchor="end"),
        f'<rect x="{LEFT}" y="{y}" width="{median * scale:.1f}" height="{BAR}" fill="{colour}"/>',
        f'<line x1="{least:.1f}" y1="{middle}" x2="{greatest:.1f}" y2="{middle}" stroke="#1a202c"/>',
        text(max(greatest, LEFT + median * scale) + 8, middle + 4, f"{median:,.0f}"),
    ]


def text(x, y, content, anchor="start", weight="normal", colour="#1a202c"):
    return (f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" font-weight="{weight}" '
            f'fill="{colour}">{escape(content)}</text>')

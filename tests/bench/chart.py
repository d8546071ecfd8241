#!/usr/bin/python3
"""The run as a picture. Also by itself: `chart.py RESULTS.json PICTURE.png` draws what `run --json` wrote."""

import itertools
import json
import math
import pathlib
import statistics
import sys

sys.dont_write_bytecode = True

from machine import Trouble  # noqa: E402
from operations import OPEN_IN_FLIGHT, OPERATIONS, SHARES  # noqa: E402
from results import Key, Results, count_of  # noqa: E402

INK = "#1f2933"
FAINT = "#66717d"
GRID = "#e3e7eb"
GOOD = "#1a8754"
BAD = "#c8372d"
COLOURS = {"sessiond": "#1f5fbf", "pgbench": "#59636e", "naive": "#d07a1f", "raw": "#8250b5", "echo": "#2a9d8f"}
MAIN = ("advance", "create", "messages256", "get")
TICKS = (1, 8, 32, 128, 512)
WIDTH = 16  # inches


def check():
    """Says what to install when there is nothing to draw with."""
    try:
        import matplotlib
    except ImportError:
        raise Trouble("--png needs matplotlib: apt-get install python3-matplotlib "
                      "(and /usr/bin/python3 to run this)") from None
    matplotlib.use("Agg")


def draw(results, path):
    """Writes the picture to `path`: throughput above, latencies and promises below."""
    check()
    from matplotlib import pyplot

    shown = [operation for operation in MAIN if results.levels("sessiond", operation)]
    ratios = [ratio for ratio in results.ratios() if ratio.at_least is not None]
    rows = len(ratios) + len({ratio.group for ratio in ratios})
    # All in inches: what the rows need decides how high the picture is.
    head, above, gap, below, foot = 1.45, 3.7, 1.25, max(3.5, 0.27 * rows), 0.75
    height = head + above + gap + below + foot
    with pyplot.rc_context({"font.family": "DejaVu Sans", "font.size": 10, "text.color": INK, "axes.edgecolor": FAINT,
                            "axes.labelcolor": FAINT, "xtick.color": FAINT, "ytick.color": FAINT,
                            "axes.spines.top": False, "axes.spines.right": False}):
        figure = pyplot.figure(figsize=(WIDTH, height))
        heading(figure, results, height)
        top = figure.add_gridspec(1, len(MAIN), left=0.7 / WIDTH, right=1 - 0.25 / WIDTH, wspace=0.2,
                                  bottom=1 - (head + above) / height, top=1 - head / height)
        throughput(figure, top, results, shown)
        entries = list(latency_entries(results))
        tall = min(below, 0.45 * (len(entries) + 2))
        if entries:
            latencies(figure.add_axes((2.7 / WIDTH, (foot + below - tall) / height, 3.9 / WIDTH, tall / height)),
                      results, entries)
        promises(figure.add_axes((9.9 / WIDTH, foot / height, 4.7 / WIDTH, below / height)), ratios)
        figure.savefig(path, dpi=110, facecolor="white")
        pyplot.close(figure)


def heading(figure, results, inches):
    facts = results.facts
    figure.text(0.02, 1 - 0.36 / inches, "sessiond against what its parts cost by themselves", fontsize=19,
                fontweight="bold")
    loaded = facts.get("loaded", {}).get("sessions", 0)
    figure.text(0.02, 1 - 0.65 / inches,
                f"{facts['cores']} cores of {facts['processor']}, shared by everything · {facts['version']} · "
                + (f"PostgreSQL {facts['postgres']['version']} · " if "postgres" in facts else "")
                + f"{count_of(loaded)} · "
                f"medians of {facts['rounds']} interleaved rounds, bands from least to greatest", color=FAINT)


def throughput(figure, grid, results, shown):
    """For each of the main operations: calls a second against how many are in flight."""
    for column, operation in enumerate(shown):
        axes = figure.add_subplot(grid[column])
        axes.set_title(OPERATIONS[operation].name, loc="left", fontweight="bold", color=INK)
        axes.set_xscale("log", base=2)
        axes.set_xticks(TICKS, [str(tick) for tick in TICKS])
        axes.set_xlim(0.8, 700)
        axes.set_xlabel("calls in flight, or connections of pgbench")
        axes.grid(axis="y", color=GRID)
        axes.set_axisbelow(True)
        if column == 0:
            axes.set_ylabel("thousands a second")
        for who in ("pgbench", "sessiond"):
            line(axes, results, who, operation)
        for who in ("naive", "echo", "raw"):
            point(axes, results, who, operation)
        axes.set_ylim(0, axes.get_ylim()[1] * 1.06)
    if shown:
        legend(figure.axes[0], results)


def line(axes, results, who, operation):
    levels = results.levels(who, operation)
    if not levels:
        return
    values = [[value / 1000 for value in results.values(Key(who, operation, level)).values()] for level in levels]
    width = 2.8 if who == "sessiond" else 1.8
    axes.plot(levels, list(map(statistics.median, values)), color=COLOURS[who], linewidth=width, marker="o",
              markersize=5, zorder=3)
    axes.fill_between(levels, list(map(min, values)), list(map(max, values)), color=COLOURS[who], alpha=0.15,
                      linewidth=0)


def point(axes, results, who, operation):
    """One figure of somebody else, at its load; the echo's and the raw groups' as far as one could go at all."""
    level = {"raw": 64}.get(who, 256)
    if level not in results.levels(who, operation):
        return
    value = results.median(Key(who, operation, level)) / 1000
    if who != "naive":
        axes.axhline(value, color=COLOURS[who], linewidth=1.2, linestyle=(0, (4, 3)), zorder=1)
    axes.plot([level], [value], color=COLOURS[who], marker={"naive": "s", "raw": "^", "echo": "D"}[who], markersize=8,
              zorder=4)


def legend(axes, results):
    from matplotlib.lines import Line2D

    marks = {"sessiond": ("o", "-"), "pgbench": ("o", "-"), "naive": ("s", ""), "raw": ("^", "--"), "echo": ("D", "--")}
    meanings = {"sessiond": "sessiond: durable calls over gRPC", "pgbench": "pgbench: the same rows, a commit each",
                "naive": "naive daemon: a transaction per call", "raw": "raw: the rows in groups of 64, no gRPC",
                "echo": "echo: gRPC with nothing behind it"}
    present = {key.who for key in results.measurements}
    handles = [Line2D([], [], color=COLOURS[who], marker=mark, linestyle=style, linewidth=2.4, markersize=7,
                      label=meanings[who]) for who, (mark, style) in marks.items() if who in present]
    axes.figure.legend(handles=handles, loc="upper left", ncols=len(handles), frameon=False, columnspacing=1.4,
                       fontsize=9.5, bbox_to_anchor=(0.011, 1 - 0.75 / axes.figure.get_figheight()), handletextpad=0.5)


def latency_entries(results):
    """(group, label, who, key) of each row."""
    for operation in MAIN:
        for who in ("sessiond", "pgbench"):
            if 1 in results.levels(who, operation):
                yield ("one call in flight", f"{OPERATIONS[operation].name.split(',')[0]}, {who}", who,
                       Key(who, operation, 1))
    for operation, share in itertools.product(("update", "get"), SHARES):
        key = Key("sessiond", operation, OPEN_IN_FLIGHT, f"{share} %")
        if key in results.measurements:
            yield ("at a steady rate, in per cent of the most it can do", f"{OPERATIONS[operation].name}, {share} %",
                   "sessiond", key)


def latencies(axes, results, entries):
    """p50, p99 and p999 of single calls, and of calls that come at a steady rate."""
    title(axes, -2.55, "How long a call takes: ● half of them   ┃ 99 %   | 99.9 %")
    y = 0
    for group, members in itertools.groupby(entries, key=lambda entry: entry[0]):
        beside(axes, -2.55, y, group, fontweight="bold", color=FAINT)
        y += 1
        for _, label, who, key in members:
            p50, p99, p999 = (results.median(key, field) / 1000 for field in ("p50_us", "p99_us", "p999_us"))
            colour = COLOURS[who]
            axes.plot([p50, p999], [y, y], color=colour, linewidth=2, alpha=0.35, solid_capstyle="butt")
            axes.plot([p50], [y], color=colour, marker="o", markersize=8)
            axes.plot([p99], [y], color=colour, marker="|", markersize=12, markeredgewidth=2.5)
            axes.plot([p999], [y], color=colour, marker="|", markersize=7, markeredgewidth=1.2)
            axes.text(p50, y - 0.32, number(p50), color=colour, fontsize=8, ha="center", va="bottom")
            axes.annotate(f"p99 {number(p99)}", (p999, y), (6, 0), textcoords="offset points", color=FAINT, fontsize=8,
                          va="center")
            beside(axes, -2.4, y, label)
            y += 1
    finish_rows(axes, y)
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.set_xlim(10 ** math.floor(math.log10(low)), 10 ** math.ceil(math.log10(high)) * 2)
    low, high = axes.get_xlim()
    axes.set_xticks([10.0 ** power for power in range(-3, 5) if low <= 10 ** power <= high])
    axes.minorticks_off()
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel("milliseconds")


def promises(axes, ratios):
    """Each promised figure on a scale on which 1 is the promise, and further to the right is better."""
    kept = sum(ratio.reaches(ratio.at_least) for ratio in ratios)
    title(axes, -2.75, f"What is promised: {kept} of {len(ratios)} kept, right of the line")
    for inches, column in ((0.1, "measured"), (0.85, "wanted")):
        beside(axes, axes_width(axes) + inches, -0.9, column, color=FAINT)
    axes.axvline(1, color=INK, linewidth=1.4, zorder=1)
    axes.set_xscale("log", base=2)
    y = 0
    for group, members in itertools.groupby(ratios, key=lambda ratio: ratio.group):
        beside(axes, -2.75, y, group, fontweight="bold", color=FAINT)
        y += 1
        for ratio in members:
            colour = GOOD if ratio.reaches(ratio.at_least) else BAD
            scores = [score(ratio, value) for value in ratio.values]
            middle = score(ratio, ratio.median)
            axes.plot([1, middle], [y, y], color=colour, linewidth=7, alpha=0.25, solid_capstyle="butt")
            axes.plot([min(scores), max(scores)], [y, y], color=colour, linewidth=1.5)
            axes.plot([middle], [y], color=colour, marker="o", markersize=8)
            if ratio.proud is not None:
                axes.plot([score(ratio, ratio.proud)], [y], color=INK, marker="|", markersize=11, markeredgewidth=1.5)
            figure = f"{ratio.median:,.{ratio.digits}f}{' ' + ratio.unit if ratio.unit else ''}"
            beside(axes, axes_width(axes) + 0.1, y, figure, color=colour, fontweight="bold")
            beside(axes, axes_width(axes) + 0.85, y, f"{'≤' if ratio.smaller else '≥'} {ratio.at_least:g}", color=FAINT)
            beside(axes, -2.6, y, ratio.name)
            y += 1
    finish_rows(axes, y)
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, 0.22), max(high, 4.5))
    marks = [4.0 ** power for power in range(-4, 5) if axes.get_xlim()[0] <= 4 ** power <= axes.get_xlim()[1]]
    axes.set_xticks(marks, ["promised" if mark == 1 else f"{1 / mark:g}× short" if mark < 1 else f"{mark:g}× over"
                            for mark in marks])
    axes.minorticks_off()
    axes.set_xlabel("median; thin line: least to greatest round; black mark: what we would be proud of")


def score(ratio, value):
    """1 when it is just as promised, more when it is better."""
    return ratio.at_least / max(value, 1e-9) if ratio.smaller else max(value, 1e-9) / ratio.at_least


def title(axes, inches, text):
    axes.text(inches / axes_width(axes), 1, text, transform=axes.transAxes, fontweight="bold", fontsize=12, va="bottom")


def beside(axes, inches, y, text, **style):
    """Text in row `y`, so many inches to the right of where the axes begin."""
    axes.text(inches / axes_width(axes), y, text, transform=axes.get_yaxis_transform(), va="center", fontsize=9.5,
              bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5}, **style)


def axes_width(axes):
    return axes.get_position().width * WIDTH


def finish_rows(axes, count):
    axes.set_ylim(count - 0.2, -0.9)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color=GRID)
    axes.set_axisbelow(True)


def number(milliseconds):
    return f"{milliseconds:.2g}" if milliseconds < 10 else f"{milliseconds:,.0f}"


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("use: chart.py RESULTS.json PICTURE.png")
    try:
        draw(Results.from_json(json.loads(pathlib.Path(sys.argv[1]).read_text())), sys.argv[2])
    except Trouble as trouble:
        sys.exit(f"chart: {trouble}")

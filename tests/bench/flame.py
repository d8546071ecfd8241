#!/usr/bin/python3
"""Draws where the CPU of the daemon, or of PostgreSQL, goes, from what perf has sampled:

  perf record -F 499 --call-graph dwarf,16384 -p PID -o perf.data -- sleep 5
  perf script -i perf.data | tests/bench/flame.py "AdvanceSession, 256 in flight" advance.svg

Width is time; below each function stand those that it called. Needs python3-matplotlib.
"""

import re
import sys

import chart

# Whose time it is, by the names of functions, the first that fits; else it is that of whoever called.
OWNERS = (
    ("PostgreSQL's client", "#8c6d31", r"^(PQ|pq[^_])|db::Connection::"),
    ("PostgreSQL", "#2b6cb0", r"^PostgresMain$"),
    ("pages", "#d69e2e", r"^(ReadBufferExtended|PrefetchSharedBuffer)$"),
    ("sessiond", "#2b6cb0", r"sessiond::|nlohmann"),
    ("Protobuf", "#805ad5", r"google::protobuf"),
    ("gRPC", "#38a169", r"grpc|^gpr_|^chttp2|^tcp_(write|send|flush|read)|pollset|^cq_"),
    ("spdlog", "#d69e2e", r"spdlog"),
    ("memory", "#dd6b20", r"malloc|calloc|free$|operator (new|delete)|je_|arena_|tcache"),
    ("kernel", "#718096", r"^the kernel$"),
)
KERNEL = "the kernel"
ROW = 0.22  # inches
SMALLEST = 0.004  # of the whole: what is narrower is left out


class Frame:
    def __init__(self, owner=None):
        self.samples = 0
        self.owner = owner
        self.callees = {}


def short(name):
    """A C++ name without templates, arguments and the namespaces that everything is in."""
    while (bare := re.sub(r"<[^<>]*>", "", name)) != name:
        name = bare
    name = re.sub(r"\(anonymous namespace\)::|absl::debian3::|sessiond::(?!$)|grpc_core::|\[abi:cxx11\]", "", name)
    return name.split("(")[0].strip()


def stacks(lines):
    """Each sample's functions, outermost first."""
    stack = []
    for line in lines:
        found = re.match(r"\s+[0-9a-f]+ (.+) \((.+)\)$", line)
        if found:
            name = found[1].rsplit("+0x", 1)[0]
            if "kernel" in found[2]:
                stack = [KERNEL]  # Lines go outwards: what the kernel does inside is its own business.
            elif name != "[unknown]":
                stack.append(name)
        elif stack:
            yield stack[::-1]
            stack = []
    if stack:
        yield stack[::-1]


def tree(lines):
    root = Frame()
    for stack in stacks(lines):
        # Above the threads' own functions there is nothing to learn.
        ours = [name for name in stack
                if not re.search(r"clone3|start_thread|_State_impl|^std::__invoke|^_start$|^__libc_start_|^main$|^PostmasterMain$",
                                 name)]
        frame = root
        frame.samples += 1
        for name in ours:
            owner = next((whose for whose, _, pattern in OWNERS if re.search(pattern, name)), frame.owner)
            frame = frame.callees.setdefault(short(name), Frame(owner))
            frame.samples += 1
    return root


def rows(frame, depth=0):
    return max([depth] + [rows(callee, depth + 1) for callee in frame.callees.values()
                          if callee.samples >= SMALLEST * total])


def owners_of(frame):
    return {frame.owner}.union(*map(owners_of, frame.callees.values()))


def draw(axes, frame, left, depth, colours):
    for name, callee in sorted(frame.callees.items(), key=lambda item: -item[1].samples):
        width = callee.samples / total
        if width < SMALLEST:
            continue
        axes.barh(-depth, width, left=left, height=0.94, color=colours.get(callee.owner, "#a0aec0"), alpha=0.75,
                  edgecolor="white", linewidth=0.5)
        room = int(width * 235)
        if room > 3:
            axes.text(left + 0.002, -depth, name if len(name) <= room else name[:room - 1] + "…", va="center", fontsize=7)
        draw(axes, callee, left, depth + 1, colours)
        left += width


def main():
    global total
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    chart.check()
    import matplotlib
    matplotlib.use("agg" if sys.argv[2].endswith(".png") else "svg")
    matplotlib.rcParams["svg.fonttype"] = "none"
    from matplotlib import patches, pyplot

    root = tree(sys.stdin)
    total = root.samples
    if not total:
        sys.exit("flame: there are no samples; use perf script | flame.py TITLE FILE")
    figure, axes = pyplot.subplots(figsize=(14, 1.2 + ROW * rows(root)))
    owners = owners_of(root)
    colours = {whose: colour for whose, colour, _ in OWNERS if whose in owners}
    process = "PostgreSQL" if "PostgreSQL" in owners else "the daemon"
    draw(axes, root, 0, 0, colours)
    axes.set(xlim=(0, 1), ylim=(-rows(root) + 0.4, 0.6), yticks=[], xticks=[])
    axes.set_frame_on(False)
    axes.set_title(f"{sys.argv[1]}: CPU of {process}, {total:,} samples", loc="left", fontsize=11)
    axes.legend(handles=[patches.Patch(color=colour, label=whose, alpha=0.75) for whose, colour in colours.items()],
                loc="lower right", bbox_to_anchor=(1, 1), ncol=len(colours), frameon=False, fontsize=8)
    figure.tight_layout()
    figure.savefig(sys.argv[2])


if __name__ == "__main__":
    main()

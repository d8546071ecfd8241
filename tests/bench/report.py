"""The run as a table for people, 120 columns wide."""

import itertools
import math
import statistics
import textwrap

from operations import OPERATIONS, SHARES
from results import Key, count_of

# Share of the machine taken by others above which we say so.
BUSY = 0.15


def lines(results):
    facts = results.facts
    yield f"{facts['rounds']} rounds, {facts['seconds']} s for each line, interleaved; medians (min–max)"
    yield ""
    yield from machine_lines(results)
    if "loaded" in facts:
        yield from loaded_lines(facts["loaded"])
    if "warm" in facts:
        yield (f"            {facts['warm']['bytes'] / 1e9:.1f} GB of them read beforehand, in "
               f"{facts['warm']['seconds']:.0f} s")
    if results.measurements:
        yield ""
        yield f"{'':90}CPU µs per request"
        yield (f"{'':29}{'per second':>25}{'p50 ms':>9}{'p99 ms':>9}{'p999 ms':>9}{'group':>7}{'server':>9}"
               f"{'postgres':>10}{'client':>8}")
        for operation in results.operations():
            yield from operation_lines(results, operation)
    if "ghz" in facts:
        ours = results.median(Key("sessiond", "get", 256)) if results.levels("sessiond", "get") else math.nan
        yield (f"ghz: GetSession at 256 in flight {facts['ghz']['per_second']:,.0f} per second; "
               f"our own generator {ours:,.0f}")
    if "watch" in facts:
        yield from watch_lines(facts["watch"])
    yield from ratio_lines(results)


def spread(values, digits=0):
    """The median, and from where to where the rounds went, if there were more than one."""
    if len(values) == 1:
        return f"{values[0]:,.{digits}f}"
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f}–{max(values):,.{digits}f})"


def machine_lines(results):
    facts = results.facts
    yield f"machine     {facts['cores']} cores of {facts['processor']}; everything below shares them"
    if facts["load_average"]:
        calls = [report for reports in results.measurements.values() for report in reports if "others" in report]
        others = statistics.median(report["others"] for report in calls)
        stolen = [report.get("stolen", 0) for report in calls]
        yield (f"load        {spread(facts['load_average'], 1)} at the beginning of a round; "
               f"others took {others:.0%} of the cores' time,")
        yield (f"            the machine's host {statistics.median(stolen):.0%} "
               f"({min(stolen):.0%}–{max(stolen):.0%}), which is what p99 and p999 tell of first")
        if others > BUSY:
            yield "            Too busy to compare throughput: pgbench, with more processes, gets more of what is left."
            yield "            Go by the CPU, and measure again on a quiet machine."
        sync = {name: [one[name] for one in facts["fdatasync_us"]] for name in ("p50", "p99")}
        yield (f"disk        {facts['file_system']}; fdatasync of 8 kB: {spread(sync['p50'])} µs, "
               f"p99 {spread(sync['p99'])} µs: {1e6 / statistics.median(sync['p50']):,.0f} a second")
        yield (f"            {spread(facts['sequential_mb_per_second'])} MB/s one after the other, "
               "with fdatasync after each MiB")
    if "postgres" in facts:
        settings = ", ".join(f"{name} {value}" for name, value in facts["postgres"]["settings"].items())
        yield from textwrap.wrap(f"PostgreSQL  {facts['postgres']['version']}: {settings}", 120,
                                 subsequent_indent=" " * 12)
    memory = facts.get("rss_mib")
    yield (f"sessiond    {facts['version'].removeprefix('sessiond ')}"
           + (f"; resident memory {memory['at_rest']:.0f} MiB at rest, {memory['after']:.0f} after it all" if memory
              else ""))


def loaded_lines(loaded):
    rows = ", ".join(f"{count:,} {table}" for table, count in loaded["rows"].items())
    yield f"loaded      {rows}"
    yield (f"            in {loaded['seconds'] / 60:.1f} min: rows {loaded['seconds_rows'] / 60:.1f}, indexes "
           f"{loaded['seconds_indexes'] / 60:.1f}, vacuum {loaded['seconds_vacuum'] / 60:.1f}")
    yield (f"            {loaded['bytes'] / 1e9:.1f} GB on disk: "
           + ", ".join(f"{table} {count / 1e9:.1f}" for table, count in loaded["bytes_of"].items()))


WHO = {
    "sessiond": ("sessiond", "in flight"),
    "pgbench": ("pgbench", "connections"),
    "naive": ("naive daemon", "in flight"),
    "raw": ("raw, groups of", ""),
    "echo": ("echo", "in flight"),
    "full": ("all loaded", "in flight"),
    "empty": ("empty tables", "in flight"),
}


def label_of(key):
    who, unit = WHO[key.who]
    if key.variant.endswith("%"):
        return f"{who}, open loop, {key.variant}"
    keys = f", {key.variant}" if key.variant else ""
    unit = unit.removesuffix("s") if key.level == 1 else unit
    return f"{who}{'' if key.who == 'raw' else ','} {key.level} {unit}{keys}".rstrip()


def operation_lines(results, operation):
    yield OPERATIONS[operation].name
    order = list(WHO)
    keys = sorted((key for key in results.measurements if key.operation == operation),
                  key=lambda key: (order.index(key.who), variant_order(key.variant), key.level))
    for key in keys:
        yield table_line(label_of(key), results.measurements[key])
    payload = OPERATIONS[operation].payload
    if payload and results.levels("sessiond", operation):
        stored = [value * payload / 1e6 for value in results.values(Key("sessiond", operation, 256)).values()]
        yield f"  {'payload at 256 in flight, MB/s':<27}{spread(stored):>25}"


def variant_order(variant):
    return ["", "zipf", "hot", *(f"{share} %" for share in SHARES)].index(variant)


def table_line(label, reports):
    def middle(get):
        return statistics.median(get(report) for report in reports)

    def milliseconds(field):
        return f"{middle(lambda r: r[field]) / 1000:9.2f}" if field in reports[0] else f"{'–':>9}"

    cpu = [f"{middle(lambda r: r['cpu_us'][part]):{width}.0f}" if part in reports[0]["cpu_us"] else f"{'–':>{width}}"
           for part, width in (("server", 9), ("postgres", 10), ("client", 8))]
    group = f"{middle(lambda r: r['group']):7.1f}" if reports[0].get("group") else f"{'–':>7}"
    return (f"  {label:<29}{spread([r['per_second'] for r in reports]):>23}"
            + "".join(milliseconds(field) for field in ("p50_us", "p99_us", "p999_us")) + group + "".join(cpu))


def watch_lines(watch):
    yield f"WatchSessions: 1 watcher of all and {watch['sharing']} that share them"
    for where in ("same daemon", "other daemon"):
        yield delivery_line(where, watch[where])
        if f"{where}, eased" in watch:
            yield (f"  {'':<16}{watch['rate_wanted']:,} a second were wanted, which this machine does not reach. "
                   "At half of what it does:")
            yield delivery_line("", watch[f"{where}, eased"])
    yield (f"  the daemon's resident memory with {watch['idle']:,} watchers that match nothing: "
           f"{watch['rss_mib_idle']:.0f} MiB")


def delivery_line(where, seen):
    missed = seen["changes"] - seen["seen_by_all"]
    return (f"  {where:<14}{seen['rate']:8,.0f} changes a second; commit to delivery p50 {seen['p50_ms']:.1f} ms, "
            f"p99 {seen['p99_ms']:.1f}, p999 {seen['p999_ms']:.1f}, max {seen['max_ms']:.1f}"
            + (f"; {missed} not seen" if missed else ""))


def ratio_lines(results):
    yield ""
    yield f"{'ratios, each taken within a round':<76}{'':20}{'wanted':<13}proud of"
    for group, ratios in itertools.groupby(results.ratios(), key=lambda ratio: ratio.group):
        yield group
        for ratio in ratios:
            value = spread(ratio.values, ratio.digits) + (f" {ratio.unit}" if ratio.unit else "")
            name = ratio.name
            if group.endswith("its best"):
                operation = next(key for key, what in OPERATIONS.items() if what.name == ratio.name)
                name += f" ({results.best(operation).level} connections)"
            yield (f"  {name:<64}{value:>26}    {verdict(ratio, ratio.at_least):<13}"
                   f"{verdict(ratio, ratio.proud)}").rstrip()


def verdict(ratio, wanted):
    if wanted is None:
        return ""
    return f"{'≤' if ratio.smaller else '≥'} {wanted:<5g}{'yes' if ratio.reaches(wanted) else 'NO'}"

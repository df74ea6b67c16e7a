"""The tables of docs/performance.md, written from benchmarks/out/*.json between their markers.

python -m benchmarks.tables

A marker is ``<!-- table: NAME -->`` and ends at ``<!-- end -->``; writing twice changes nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
PAGE: Final = ROOT / "docs" / "performance.md"
OUT: Final = ROOT / "benchmarks" / "out"
MISSING: Final = "*No figures yet: `make bench` writes them.*"
_PLACE: Final = re.compile(r"(<!-- table: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)

Report = dict[str, Any]
Rows = Iterable[tuple[str, ...]]


#: contestants whose name is not what the table is to say
_CONTESTANTS: Final = {
    "ours": "**live-segments**",
    "ours-at-least-once": "live-segments",
    "stock-faust": "stock Faust's bare agent, raw bytes, does nothing",
}
#: ratios of a load, in words
_TIMES: Final = {
    "ratio_to_fastest_python_peer": "the fastest Python peer",
    "ratio_to_kafka_streams": "Kafka Streams",
    "ratio_to_flink_heap": "Flink on its heap",
    "ratio_to_flink_rocksdb": "Flink with RocksDB",
}


def throughput(report: Report) -> Iterator[str]:
    """Rates of all contestants on all loads, and what they come to."""
    loads: dict[str, Report] = report["loads"]
    first = next(iter(loads.values()))  # the others have the same contestants, but for those that it alone has
    contestants = {name: found for name, found in first.items() if isinstance(found, dict)}

    def cell(found: Report | None) -> str:
        if found is None:
            return ""
        cpu = found["cpu_microseconds_per_event"]
        rate = f"{found['events_per_second']:,} ({found['minimum']:,} to {found['maximum']:,})"
        return rate if cpu is None else f"{rate}; {cpu:.1f} µs"

    rows = []
    for name, found in contestants.items():
        versions = ", ".join(f"{package} {version}" for package, version in found["packages"].items())
        shown = _CONTESTANTS.get(name, f"{name} ({versions})")
        rows.append((shown, found["guarantee"], *(cell(load.get(name)) for load in loads.values())))
    yield "Events a second: median (least to most); processor time of an event:"
    yield ""
    yield from table(("", "guarantee", *(_load(load) for load in loads.values())), rows)
    yield ""
    yield "![Events a second](throughput.svg)"
    yield ""
    for load in loads.values():
        told = [f"{load[ratio]:g} times {whom}" for ratio, whom in _TIMES.items() if ratio in load]
        if "exactly_once_cost" in load:
            told.append(f"exactly-once costs {100 * load['exactly_once_cost']:.0f} %")
        if told:
            yield f"* {_load(load)}, {load['events']:,} events: {'; '.join(told)}."
    yield ""
    rounds = max(len(found["rounds"]) for found in contestants.values())
    yield f"{report['partitions']} partitions, rounds: {rounds}. {where(report)}"


def _load(load: Report) -> str:
    return f"{load['users']:,} users, {load['spread']}"


def forms(report: Report) -> Iterator[str]:
    """Rates by the form of the records."""
    names = {
        "plain": "our own form",
        "nested": "the same with nested fields",
        "iso": "the same with ISO times",
        "segment": "calls of the Segment Spec",
    }
    rows = [
        (
            names[form],
            f"{found['bytes_per_record']:,}",
            f"{found['events_per_second']:,} ({found['minimum']:,} to {found['maximum']:,})",
            f"{found['ratio_to_plain']:.2f}",
            f"{found['cpu_microseconds_per_event']:.1f}",
        )
        for form, found in report["forms"].items()
    ]
    head = ("records", "bytes each", "events a second: median (least to most)", "to the first", "CPU, µs an event")
    yield from table(head, rows)
    yield ""
    rounds = len(report["forms"]["plain"]["rounds"])
    load = f"{report['events']:,} events of {report['users']:,} {report['spread']} users"
    yield f"{load}, {report['partitions']} partitions, rounds: {rounds}. {where(report)}"


def hotpath(report: Report) -> Iterator[str]:
    """Microseconds of a turn an event."""
    phases, compiled = report["microseconds_per_event"], report["of_the_fold"] or {}
    rest = phases["fold"] - sum(compiled.values())
    rows = [
        ("records: checksum, decompress, cut apart", phases.get("records")),
        ("read: parse, check, hash, group by user", compiled.get("read")),
        ("fold of quiet events", compiled.get("quiet")),
        ("the rest of the fold: rules, timers, a user at a time, in Python; freeing", rest),
        ("encode users and ids", phases["finish"]),
        ("write to RocksDB", phases["write"]),
        ("put the copies in place", phases["remember"]),
        ("**all**", phases["all"]),
    ]
    shown = [(name, f"{value:.2f}") for name, value in rows if value is not None]
    yield from table(("phase", "µs an event"), shown)
    yield ""
    written = f"{report['users_written_per_event']:.3f} users and {report['state_bytes_per_event']:.0f} bytes of state"
    yield f"{written} are written for an event ({report['users']:,} {report['spread']} users). {where(report)}"


def latency(report: Report) -> Iterator[str]:
    """Percentiles for each load."""
    rows = [
        (f"{run['rate']:,.0f}", run["encode_lane"], *(f"{run[f'{name}_ms']:,.1f}" for name in ("p50", "p90", "p99")))
        for run in report["runs"]
    ]
    for floor in report["floor"]:
        quantiles = [f"{floor[f'{name}_ms']:,.1f}" for name in ("p50", "p90", "p99")]
        what = f"{floor['encode_lane']}; transactions with nothing between, by librdkafka alone"
        rows.append((f"{floor['rate']:,.0f}", what, *quantiles))
    yield from table(("events a second", "encode lane", "p50, ms", "p90, ms", "p99, ms"), rows)
    yield ""
    comments = ""
    if "comment_p50_ms" in report:
        comments = (
            f"Comment → change through BERT: p50 {report['comment_p50_ms']:,.0f} ms, "
            f"p99 {report['comment_p99_ms']:,.0f} ms. "
        )
    yield comments + where(report)


def encode(report: Report) -> Iterator[str]:
    """The whole service against the bare model."""
    rows = [
        (
            precision,
            f"{found['comments_per_second']:,.0f}",
            f"{found['bare_comments_per_second']:,.0f}",
            f"{found['ratio_to_bare']:.2f}",
        )
        for precision, found in report["precisions"].items()
    ]
    yield from table(("precision", "comments a second, whole service", "bare model in a loop", "ratio"), rows)
    yield ""
    first, *others = report["precisions"]
    faster = [f"{other} encodes {report[f'{other}_speedup']:.2f} times what {first} does. " for other in others]
    yield "".join(faster) + where(report)


def workers(report: Report) -> Iterator[str]:
    """One worker and two."""
    found = report["workers"]
    rows = [
        (
            name,
            f"{each['events_per_second']:,}",
            f"{each['cpu_microseconds_per_event']:.1f}",
            f"{each['broker_cpu_microseconds_per_event']:.1f}",
        )
        for name, each in (("one", found["one"]), ("two", found["two"]))
    ]
    yield from table(("workers", "events a second", "CPU of workers, µs an event", "CPU of the broker"), rows)
    yield ""
    yield (
        f"Speedup {found['speedup']:g} here, where {found['cores']} cores serve workers and broker and allow "
        f"{found['events_per_second_if_all_cores_were_busy']:,} events a second at most; {found['speedup_by_cpu']:g} "
        f"by processor time, with cores for all. {where(report)}"
    )


def users(report: Report) -> Iterator[str]:
    """Cost against users."""
    if not {"cached", "rocksdb"} <= report.keys():
        yield MISSING
        return
    yield from _costs("users, each in memory", report, "cached")
    yield ""
    yield from _costs("users, each read from RocksDB", report, "rocksdb")
    yield ""
    kept = " and ".join(f"{each['users_in_memory']:,.0f}" for each in report["cached"].values())
    first = next(iter(report["cached"].values()))
    yield (
        f"Each event is a visit: turns of {first['records_per_turn']:,.0f} records. Above {kept} users are in memory; "
        f"below {100 * report['rocksdb_share_read']:.1f} % of the visits find nobody there. {where(report)}"
    )


def edges(report: Report) -> Iterator[str]:
    """Cost against follows."""
    if "follows" not in report:
        yield MISSING
        return
    yield from _costs("follows there before", report, "follows")


def _costs(what: str, report: Report, part: str) -> Iterator[str]:
    rows = [
        (
            f"{int(size):,}",
            f"{each['cpu_microseconds_per_event']:.2f} ({each['least']:.2f} to {each['most']:.2f})",
            f"{each['cpu_microseconds_per_event_until_rest']:.2f}",
            f"{each['compaction_microseconds_per_event']:.2f}",
            f"{each['events_per_second']:,.0f}",
        )
        for size, each in report[part].items()
    ]
    head = (
        what, "CPU of the worker between commits, µs an event: median (least to most)", "until it rests",
        "of that RocksDB's compactions", "events a second",
    )  # fmt: skip
    yield from table(head, rows)
    yield ""
    few, many = min(map(int, report[part])), max(map(int, report[part]))
    ratio, until_rest = report[f"{part}_ratio"], report[f"{part}_ratio_until_rest"]
    yield f"**{many:,} cost {ratio:.2f} times what {few:,} do** between commits, {until_rest:.2f} times until it rests."


def known(report: Report) -> Iterator[str]:
    """Ours and the Java peers, as they ship, against users."""
    if "peers" not in report:
        yield MISSING
        return
    found: dict[str, Report] = report["peers"]
    sizes = list(found["ours"])
    rows = [
        (
            _CONTESTANTS.get(name, name),
            *(
                f"{of[size]['cpu_microseconds_per_event']:.2f} µs, {of[size]['events_per_second']:,.0f} events/s"
                if size in of
                else ""
                for size in sizes
            ),
            f"{report['peers_ratio'][name]:.2f}" if name in report["peers_ratio"] else "",
        )
        for name, of in found.items()
    ]
    yield from table(("", *(f"{int(size):,} users" for size in sizes), "ratio"), rows)
    yield ""
    turns = " and ".join(f"{found['ours'][size]['records_per_turn']:,}" for size in sizes)
    left = "".join(f" Left out: {name} ({reason})." for name, reason in report["left_out"].items())
    yield f"Ours in turns of {turns} records.{left}"


def memory(report: Report) -> Iterator[str]:
    """Resident size, and bytes a user."""
    rows = [
        ("users", f"{report['users']:,}"),
        ("events", f"{report['events']:,}"),
        ("resident, idle with models loaded", f"{report['rss_idle_mb']:,.0f} MiB"),
        ("resident after the first third", f"{report['rss_min_mb']:,.0f} to {report['rss_max_mb']:,.0f} MiB"),
        ("on disk, a user", f"{report['bytes_per_user_on_disk']:,} bytes"),
    ]
    if "rss_beside_max_mb" in report:
        rows.append(("beside it the encoders' process, at most", f"{report['rss_beside_max_mb']:,.0f} MiB"))
    if "users_in_memory" in report:
        held = f"{report['users_in_memory']:,} in {report['bytes_in_memory'] / 2**20:,.0f} MiB"
        rows.append(("users in memory at the end", held))
    yield from table(("", ""), rows)
    yield ""
    if "cached_user" in report:
        weighed = [
            (events, f"{one['bytes']:,}", f"{one['bytes_before']:,}", f"1/{1 / one['part_of_before']:.1f}")
            for events, one in report["cached_user"].items()
        ]
        yield from table(("events of a user in memory", "bytes that one takes", "before ADR 0041", ""), weighed)
        yield ""
    yield where(report)


#: table → file in benchmarks/out, and what writes it
TABLES: Final[dict[str, tuple[str, Callable[[Report], Iterator[str]]]]] = {
    "throughput": ("throughput.json", throughput),
    "forms": ("forms.json", forms),
    "hotpath": ("hotpath.json", hotpath),
    "latency": ("latency.json", latency),
    "encode": ("encode.json", encode),
    "workers": ("scale.json", workers),
    "users": ("scale.json", users),
    "known": ("scale.json", known),
    "edges": ("scale.json", edges),
    "memory": ("memory.json", memory),
}


def table(head: tuple[str, ...], rows: Rows) -> Iterator[str]:
    """Lines of a Markdown table."""
    yield "| " + " | ".join(head) + " |"
    yield "|" + " --- |" * len(head)
    for row in rows:
        yield "| " + " | ".join(row) + " |"


def where(report: Report) -> str:
    """The machine, and how busy it was."""
    machine = report["machine"]
    return f"{machine['cores']} cores ({machine['cpu']}), Python {machine['python']}, load {machine['load_1m']:.1f}."


def written(page: str, out: Path) -> str:
    """The page with every table as the reports in ``out`` have it. Raises KeyError for a marker of no known table."""

    def fill(found: re.Match[str]) -> str:
        file, lines = TABLES[found[2]]
        path = out / file
        body = "\n".join(lines(json.loads(path.read_text("utf-8")))) if path.is_file() else MISSING
        return f"{found[1]}\n{body}\n\n{found[3]}"

    return _PLACE.sub(fill, page)


def main() -> None:
    PAGE.write_text(written(PAGE.read_text("utf-8"), OUT), "utf-8")


if __name__ == "__main__":
    main()

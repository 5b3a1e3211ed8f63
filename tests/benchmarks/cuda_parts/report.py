"""The tables of the benchmark, as markdown and as JSON."""

import json
import platform
from importlib import metadata

from benchmarks.cuda_parts.ceilings import ABOUT


def figure(value, digits=3):
    """Return a number with some digits, or nothing."""
    return "" if value is None else f"{value:.{digits}g}"


def percent(value):
    """Return a share, or nothing."""
    return "" if value is None else f"{100 * value:.0f} %"


def table(head, rows):
    """Return lines of a markdown table."""
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return [*lines, *(f"| {' | '.join(str(cell) for cell in row)} |" for row in rows)]


def ceiling_lines(ceilings):
    """What the card does at most."""
    rows = [(name, ABOUT[name], figure(value, 4)) for name, value in ceilings.items()]
    return table(("ceiling", "a second", "measured"), rows)


def agreement_lines(rows):
    """How far every network is from float64, in every precision."""
    names = list(dict.fromkeys(row.network for row in rows))
    by = {(row.network, row.precision): row for row in rows}
    found = []
    for name in names:
        cells = [by.get((name, precision)) for precision in ("float32", "mixed", "float64")]
        found.append((name, *("" if c is None else c.fault or figure(c.differs, 2) for c in cells)))
    return table(("network", "float32", "mixed", "float64"), found)


def time_lines(rows, aims, images):
    """What a pair takes, and how that compares with the ceilings and the aims."""
    head = (
        "network", "precision", "pairs", "µs a pair", "aim", f"hours for {images:,} images",
        "entry-layers/s", "of issue rate", "of FMA", "of shuffles", "of roots", "of copy",
        "bound by",
        "compiled in s", "registers", "local bytes",
    )  # fmt: skip
    kinds = ("issue", "fma_f32", "shuffle", "root", "copy")
    cells = []
    for row in rows:
        if row.microseconds is None:
            continue
        shares = row.shares
        aim = aims.get(row.network) if row.precision == "float32" else None
        cells.append((
            row.network, row.precision, figure(row.pairs, 9), figure(row.microseconds), figure(aim),
            figure(row.hours_for(images)), figure(row.entries_per_second),
            *(percent(shares.get(name)) for name in kinds), row.bound,
            figure(row.compile_seconds, 2), figure(row.registers), figure(row.local_bytes),
        ))  # fmt: skip
    return table(head, cells)


def baseline_lines(found):
    """The dense evaluation beside the engine."""
    head = ("network, float32", "dense, µs a pair", "engine, µs a pair", "times", "differs")
    rows = [
        (
            each["network"],
            figure(each["microseconds"]),
            figure(each["engine"]),
            figure(each["engine"] and each["microseconds"] / each["engine"]),
            figure(each["differs"], 2),
        )
        for each in found
    ]
    return table(head, rows)


def markdown(result, rows, aims):
    """Return the whole report."""
    lines = [f"# CUDA: {result['device']}", "", *result["remarks"], ""]
    for title, part in (
        ("Ceilings", ceiling_lines(result["ceilings"])),
        ("Largest difference from float64 over the largest value", agreement_lines(rows)),
        ("Times", time_lines(rows, aims, result["images"])),
        ("Dense, layer by layer", baseline_lines(result["baseline"])),
    ):
        lines += [f"## {title}", "", *part, ""]
    return "\n".join(lines)


def write(out, result, rows, aims):
    """Write ``cuda.md`` and ``cuda.json`` into a directory."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "cuda.md").write_text(markdown(result, rows, aims))
    whole = {**result, "rows": [row.as_json() for row in rows]}
    (out / "cuda.json").write_text(json.dumps(whole, indent=1) + "\n")


def versions():
    """Return what the numbers depend on beside the card."""
    found = {"python": platform.python_version()}
    for name in ("numpy", "scipy", "numba", "cupy-cuda13x", "cupy-cuda12x"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found

"""Replies as tables for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from agent.cli.tables import Table
from schemas.replies import StrategyOutcome
from strategies import drawing

Body = Mapping[str, Any]

_OUTLOOK = ("energy_j", "fits", "holds_for_s")
_TOLD_SHARE = 10.0
"""What is larger is a sign that units were mixed up, and as good as any other."""

_UNITS = {"latency_ms": "ms", "memory_mb": "MB", "power_w": "W"}


def amount(value: float | None) -> str:
    """Return a number as a person reads it: four digits that count, no exponent."""
    if value is None:
        return "?"
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def estimate(body: Body | None) -> Text:
    """Return value, interval and confidence of an estimate."""
    if body is None:
        return Text("-")
    around = f"  {amount(body['low'])}…{amount(body['high'])}  {body['confidence']:.0%}"
    return Text.assemble(amount(body["value"]), (around, "dim"))


def heading(metric: str, rows: Sequence[Body]) -> str:
    """Return a column's heading with its unit, where all rows agree on one."""
    units = {row[metric].get("unit") for row in rows if metric in row} - {None}
    unit = next(iter(units)) if len(units) == 1 else ("mixed units" if units else None)
    label = metric.rsplit("_", 1)[0] if metric != "throughput_per_s" else "throughput"
    return f"{label} ({unit or _UNITS.get(metric, 'per s')})"


def predictions(console: Console, reply: Body) -> None:
    """Show a predict reply."""
    rows = reply["predictions"]
    _metric_table(console, ["model", "hardware"], rows, [row["metrics"] for row in rows])
    _outlook(console, rows)
    for note in sorted({note for row in rows for note in row["notes"]}):
        console.print(f"[yellow]note:[/] {escape(note)}")


def _outlook(console: Console, rows: Sequence[Body]) -> None:
    """Show energy, whether it fits, and how long it holds, where any of that is known."""
    if not any(row.get(name) is not None for row in rows for name in _OUTLOOK):
        return
    table = Table("model", "hardware", "energy (J per item)", "fits", "holds for (s)")
    for row in rows:
        fits = row.get("fits")
        table.add_row(
            row["model"],
            row["hardware"],
            estimate(row.get("energy_j")),
            "?" if fits is None else f"{fits:.0%}",
            amount(row.get("holds_for_s")),
        )
    console.print(table)


def capacity(console: Console, reply: Body) -> None:
    """Show a capacity reply."""
    table = Table(
        "hardware",
        "weights, cache",
        f"largest {reply['find']}",
        "fits",
        "limited by",
        "weights + cache + activations (MB)",
    )
    for row in reply["rows"]:
        parts = row["parts"] or {}
        names = ("weights_mb", "kv_cache_mb", "activations_mb")
        takes = " + ".join(amount(parts.get(name)) for name in names)
        table.add_row(
            row["hardware"],
            f"{row['precision'] or '-'}, {row['kv_precision'] or '-'}",
            "?" if row["largest"] is None else f"{row['largest']:,}",
            "?" if row["fits"] is None else f"{row['fits']:.0%}",
            row["limited_by"] or "-",
            f"{takes} of {amount(row['memory_capacity_mb'])}" if parts else "?",
        )
    console.print(table)
    for note in sorted({note for row in reply["rows"] for note in row["notes"]}):
        console.print(f"[yellow]note:[/] {escape(note)}")


def quarantine(console: Console, reply: Body) -> None:
    """Show a quarantine reply."""
    console.print(
        f"{reply['held']} set aside; {reply['set_aside']} in all, {reply['released']} released"
    )
    _quarantined(console, reply["measurements"])


def released(console: Console, reply: Body) -> None:
    """Show a release reply."""
    console.print("[bold green]released[/], and learnt from now on")
    _quarantined(console, reply["released"])


def _quarantined(console: Console, rows: Sequence[Body]) -> None:
    for row in rows:
        where = escape(f"{row['model']} on {row['hardware']}, {row['time']}")
        console.print(f"[bold]{escape(row['source'])}  {escape(row['id'])}[/]  {where}")
        console.print(f"  • {escape(row['reason'])}")


def comparison(console: Console, reply: Body) -> None:
    """Show a compare reply."""
    rows = reply["rows"]
    _metric_table(
        console, ["rank", "hardware", "batch_size"], rows, [row["metrics"] for row in rows]
    )
    if reply["not_comparable"]:
        console.print(f"[yellow]not comparable:[/] {escape(', '.join(reply['not_comparable']))}")


def recommendation(console: Console, reply: Body) -> None:
    """Show a recommend reply."""
    best = reply["recommended"]
    ranked = ([best] if best else []) + list(reply["runners_up"])
    if best:
        console.print(f"[bold green]{escape(best['hardware'])}[/] for {escape(reply['model'])}")
        _metric_table(
            console, ["hardware", "precision", "score"], ranked, [row["metrics"] for row in ranked]
        )
    else:
        console.print(f"[bold red]nothing qualifies[/] for {escape(reply['model'])}")
    _reasons(console, reply["reasons"])
    if reply["excluded"]:
        table = Table("excluded", "limit", "why")
        for row in reply["excluded"]:
            table.add_row(row["hardware"], row["limit"], row["reason"])
        console.print(table)


def placement(console: Console, reply: Body) -> None:
    """Show a place reply."""
    rows = reply["placed"]
    _metric_table(console, ["model", "device"], rows, [row["metrics"] for row in rows])
    table = Table("device", "hardware", "models", "memory (MB)", "capacity (MB)")
    for load in reply["devices"]:
        table.add_row(
            load["device"],
            load["hardware"],
            ", ".join(load["models"]) or "-",
            amount(load["memory_mb"]),
            amount(load["memory_capacity_mb"]),
        )
    console.print(table)
    for left in reply["unplaced"]:
        why = escape(f"{left['model']}: {left['reason']}; {left['would_fit_if']}")
        console.print(f"[red]unplaced:[/] {why}")
    _reasons(console, reply["reasons"])


def strategies(console: Console, reply: Body) -> None:
    """Show a strategy reply."""
    chosen = reply["chosen"]
    if chosen is None:
        console.print("[bold red]no strategy meets the limits[/]")
    table = Table(
        "", "strategy", "waves", "total latency (ms)", "throughput (per s)", "memory (MB)"
    )
    for outcome in [*([chosen] if chosen else []), *reply["alternatives"]]:
        table.add_row(
            "✓" if outcome is chosen else "",
            outcome["strategy"],
            " | ".join(" + ".join(wave) for wave in outcome["waves"]),
            estimate(outcome["total_latency_ms"]),
            estimate(outcome["throughput_per_s"]),
            estimate(outcome["memory_mb"]),
        )
    console.print(table)
    if chosen is not None:
        drawn = drawing.timeline(StrategyOutcome.model_validate(chosen))
        console.print(drawn, markup=False, highlight=False)
    _reasons(console, reply["reasons"])


def reuse(body: Body | None) -> str:
    """Return in words how often embeddings were reused, and what that saved."""
    if body is None:
        return "-"
    return f"{body['reused']} of {body['runs']} ({body['hit_rate']:.0%}), {body['saved_ms']:.0f} ms"


def executions(console: Console, replies: Sequence[Body]) -> None:
    """Show what was predicted for executions, and what was measured."""
    table = Table(
        "strategy", "waves", "predicted (ms)", "measured (ms)", "spread", "peak memory (MB)", ""
    )
    for reply in replies:
        result, predicted = reply["result"], reply.get("predicted")
        wall = result.get("wall_time_ms")
        table.add_row(
            result.get("strategy") or "-",
            " | ".join(" + ".join(wave) for wave in result.get("waves", ())),
            estimate(predicted["total_latency_ms"] if predicted else None),
            amount(wall["median"]) if wall else "-",
            f"{amount(wall['low'])}…{amount(wall['high'])}" if wall else "-",
            amount(result.get("peak_memory_mb")),
            "" if result["outcome"] == "ok" else f"{result['outcome']}: {result['message']}",
        )
    console.print(table)
    table = Table("strategy", "model", "batch", "latency (ms)", "first run (ms)", "backend", "")
    for reply in replies:
        for one in reply["result"].get("models", ()):
            shared = one.get("shared_encoder")
            table.add_row(
                reply["result"]["strategy"],
                one["model"],
                str(one["batch_size"]),
                amount(one["latency_ms"]["median"]),
                amount(one.get("first_run_ms")),
                one["actual_backend"],
                f"shares {shared}" if shared else "",
            )
    console.print(table)
    for reply in replies:
        if found := reply["result"].get("reuse"):
            kept = f"; {amount(found['kept_mb'])} MB kept" if found.get("kept_mb") else ""
            console.print(f"embeddings reused: {reuse(found)} saved{kept}", highlight=False)
    _compared(console, replies)


def recommended(console: Console, reply: Body) -> None:
    """Show how good the strategy was that had been recommended."""
    if reply["best"] is None:
        return
    if reply["recommended"] is None:
        console.print(f"best: {reply['best']}; too little was known to recommend any")
        return
    how = "the best" if not reply["regret"] else f"{reply['regret']:.1%} worse than {reply['best']}"
    console.print(f"recommended: {reply['recommended']}; measured by {reply['goal']}: {how}")


def _compared(console: Console, replies: Sequence[Body]) -> None:
    """Show predictions beside what they were held to."""
    table = Table("strategy", "", "predicted", "measured", "error", "inside the 90 % interval")
    for reply in replies:
        for one in reply.get("compared", ()):
            table.add_row(
                reply["result"]["strategy"],
                one["metric"],
                amount(one["predicted"]),
                amount(one["measured"]),
                _share(one["absolute_percentage_error"]),
                "yes" if one["within_interval"] else "no",
            )
    if table.row_count:
        console.print(table)


def status(console: Console, reply: Body) -> None:
    """Show a status reply."""
    table = Table("", "", header=False)
    for name, value in reply.items():
        if name not in {"metrics", "reuse"}:
            table.add_row(name.replace("_", " "), str(value))
    for worker, found in reply.get("reuse", {}).items():
        table.add_row(f"embeddings reused by {worker}", f"{reuse(found)} saved")
    console.print(table)
    if reply["metrics"]:
        table = Table("metric", "validated", "median error (recent)", "inside the 90 % interval")
        for metric, row in reply["metrics"].items():
            table.add_row(
                metric,
                str(row["validated"]),
                _share(row["median_ape"]),
                _share(row["coverage_90"]),
            )
        console.print(table)


def models(console: Console, reply: Body) -> None:
    """Show a models reply."""
    console.print(
        f"version {reply['version']}, {reply['observations_learned']} measurements learnt"
        + (f"; trying: {escape(reply['refining'])}" if reply.get("refining") else "")
    )
    if reply["refinements"]:
        refinements(console, reply["refinements"])
    if reply["standings"]:
        table = Table("metric", "hardware", "events", "recent error", "usually", "bias", "trend")
        for one in reply["standings"]:
            table.add_row(
                one["metric"],
                one["hardware"],
                str(one["events"]),
                _share(one["recent_ape"]),
                _share(one["usual_ape"]),
                _bias(one["bias"]),
                one["trend"],
            )
        console.print(table)


def refinements(console: Console, found: list[Body]) -> None:
    """Show refinements, the newest last."""
    table = Table(
        "version", "method", "of", "measured on", "error before", "after", "next", "", "why"
    )
    for one in found:
        table.add_row(
            str(one["version"]["number"]),
            one["method"],
            " on ".join(value for value in one["scope"].values() if value) or "all",
            str(one["rows"]),
            _share(one.get("median_ape_before")),
            _share(one.get("median_ape_after")),
            _share(one.get("median_ape_next")),
            "kept" if one["kept"] else "not kept",
            one["reason"],
        )
    console.print(table if found else "no refinement was tried yet")


def validation(console: Console, reply: Body, by: str) -> None:
    """Show a validation reply."""
    table = Table(
        *(by, "metric") if by != "metric" else ("metric",),
        *("validated", "error now", "recent", "median", "mean", "bias", "in interval", "trend"),
    )
    for one in reply["groups"]:
        trend = one["trend"]
        table.add_row(
            *([one["name"] or "-"] if by != "metric" else []),
            one["metric"],
            str(one["validations"]),
            _share(one["current_ape"]),
            _share(one["recent_ape"]),
            _share(one["median_ape"]),
            _share(one["mean_ape"]),
            _bias(one["bias"]),
            _share(one["coverage_90"]),
            f"{trend['direction']} (p {trend['p_value']:.2g})",
        )
    console.print(table if reply["groups"] else "nothing that was asked for was validated")
    if reply["left_out"]:
        console.print(f"{reply['left_out']} groups with fewer validations are left out")


def accepted(console: Console, reply: Body) -> None:
    """Show that an update was taken up."""
    console.print(f"taken up: {escape(reply['accepted'])}; `placewise models` shows what it gives")


def _share(value: float | None) -> str:
    """Return a share in per cent; one that is out of all reason is not told to its last digit."""
    if value is None:
        return "?"
    return f"{value:.1%}" if value <= _TOLD_SHARE else f">{_TOLD_SHARE:.0%}"


def _bias(value: float) -> str:
    return f"{value:+.1%}" if value <= _TOLD_SHARE else f">{_TOLD_SHARE:+.0%}"


def _metric_table(
    console: Console, keys: Sequence[str], rows: Sequence[Body], metrics: Sequence[Body]
) -> None:
    names = list(dict.fromkeys(name for row in metrics for name in row))
    table = Table(*[key.replace("_", " ") for key in keys], *[heading(n, metrics) for n in names])
    for row, measured in zip(rows, metrics, strict=True):
        cells = [_cell(row.get(key)) for key in keys]
        table.add_row(*cells, *[estimate(measured.get(name)) for name in names])
    console.print(table)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _reasons(console: Console, reasons: Sequence[str]) -> None:
    for reason in reasons:
        console.print(f"  • {escape(reason)}")

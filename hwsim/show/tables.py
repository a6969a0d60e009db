"""Tables of a study for the terminal: what happened, what differs between policies, what was reached.

Every number has its interval and its method.  Policies are compared per machine and per error that fell,
which is the same number under each; per detected error and by the way of detection on request, since what
is found depends on the policy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from hwsim.printable import escaped
from hwsim.show import reading
from hwsim.show.estimate_table import Cell, EstimateTable, Methods, unit_of
from hwsim.show.rounding import plain
from hwsim.show.sentences import sentence
from hwsim.study import pair
from hwsim.study.estimate import Estimate
from hwsim.study.fell import Fell, fell
from hwsim.study.metrics import EXTRA_METRICS, Metric
from hwsim.study.pair import Comparison, Row
from hwsim.study.results import Results

__all__ = ["comparison", "reach", "sentence", "summary"]

_PATHS_IN_A_SHEET = 3
_PER = {"error": "per error", "fault": "per DRAM fault", "detected": "per detected error"}
_HEAD_WIDTH = 18
_PARTS = ("kills_early", "kills_late", "kills_forced", "kills_group", "needless_kills", "censored_kills")


def summary(results: Results, *, detected: bool = False) -> RenderableType:
    """Every metric per machine and per error, policy by policy; ``detected``: also per detected error and by
    the way of detection."""
    if results.replications.empty:
        return Text("No replication is finished in these results.")
    rows = pair.estimates(results)
    parts: list[RenderableType] = []
    for number, policy in enumerate(results.policy_list):
        methods = Methods(exact=reading.exact(results))
        label = escaped(policy.label or str(results.manifest.get("name", "")))
        parts.append(Text(label, style="bold underline"))
        what_fell = fell(results, number)
        per = [what_fell.what] * (not what_fell.one_each) + ["detected"] * detected
        title = reading.per_machine(results, [number])
        parts.append(_one_policy(title, rows, number, per, methods))
        if detected:
            parts += _by_path(rows, number, reading.found_by(results, number), methods)
        times = _times(results, number, methods)
        if times.rows:
            parts.append(times)
        parts.append(methods.legend())
        parts.append(Padding(Text(_fallen(what_fell, results), style="dim"), (0, 0, 1, 0)))
    return Group(*parts)


def comparison(comparison: Comparison, *, detected: bool = False) -> RenderableType:
    """Each policy against the baseline on the same errors: both values and the paired difference.

    ``detected``: also per detected error and by the way of detection.
    """
    if not comparison.replications:
        return Text("No replication is finished under every policy: nothing can be compared.")
    parts: list[RenderableType] = []
    for policy, label in enumerate(comparison.labels):
        if policy == comparison.baseline:
            continue
        methods = Methods(exact=reading.exact(comparison.results))
        first, second = escaped(comparison.labels[comparison.baseline]), escaped(label)
        parts.append(Text(f"{second} against {first} (baseline)", style="bold underline"))
        head = _heads(first, second)
        pair_of = comparison.baseline, policy
        for title, rows in _blocks(comparison, pair_of, detected=detected):
            shown = _compared(title, rows, head, pair_of, methods)
            if shown.rows or shown.below:
                parts.append(shown)
        parts.append(methods.legend())
        parts.append(Padding(_pairing(comparison, policy), (0, 0, 1, 0)))
    return Group(*parts)


def reach(reach: Mapping[str, int], possible: Mapping[str, str] | Iterable[str]) -> RenderableType:
    """How often each exit, table row, PTE result and signal was met; what was never met stands out.

    ``possible`` says what the kernel of the scenario can do, with a word on each.
    """
    words = dict(possible) if isinstance(possible, Mapping) else dict.fromkeys(possible, "")
    groups: dict[str, list[str]] = {}
    for name in [*words, *(name for name in reach if name not in words)]:
        groups.setdefault(name.partition(":")[0], []).append(name)
    parts: list[RenderableType] = []
    missed: list[str] = []
    for group, names in groups.items():
        table = Table.grid(padding=(0, 2))
        table.add_column(justify="right", min_width=11)
        table.add_column(overflow="fold")
        table.add_column(overflow="fold")
        for name in names:
            times = reach.get(name, 0)
            look = "" if times else "dim"
            count = plain(times, 0) if times else "not met"
            table.add_row(
                *(Text(t, style=look) for t in (count, name.partition(":")[2] or name, words.get(name, "")))
            )
        met = sum(bool(reach.get(name)) for name in names)
        missed += [name for name in names if not reach.get(name)]
        parts += [Text(f"{group}: {met} of {len(names)} met", style="bold"), Padding(table, (0, 0, 1, 0))]
    total = sum(map(len, groups.values()))
    parts.append(Text(f"{total - len(missed)} of {total} met (times over all replications)."))
    return Group(*parts)


def _one_policy(
    title: str, rows: Sequence[Row], policy: int, per: Sequence[str], methods: Methods
) -> EstimateTable:
    known = {(row.metric.name, row.per): row for row in rows if not row.found}
    shown = EstimateTable(title, ("per machine", *(_PER[each] for each in per)))
    unseen: list[tuple[Metric, Estimate]] = []
    for row in rows:
        if row.per != "replication":
            continue
        pairs = [row.estimates[policy]]
        if not pairs[0].value:
            unseen.append((row.metric, pairs[0]))
            continue
        pairs += [
            known[name, each].estimates[policy] for each in per if (name := row.metric.name, each) in known
        ]
        unit = unit_of(row.metric.unit, pairs[:1])
        cells: list[Cell | str] = [methods.cell(e, unit) for e in pairs]
        shown.rows.append((_name(row.metric, unit.name), cells + [""] * (1 + len(per) - len(cells))))
    shown.below = _unseen(unseen, methods, " on any machine")
    return shown


def _by_path(
    rows: Sequence[Row], policy: int, counts: Mapping[str, int], methods: Methods
) -> Iterator[EstimateTable]:
    """Means per error found one way: a few ways side by side, metrics seen nowhere in one line."""
    table = {(row.metric.name, row.found): row.estimates[policy] for row in rows if row.found}
    metrics = list(dict.fromkeys(row.metric for row in rows if row.found))
    paths = [path for path in dict.fromkeys(row.found for row in rows if row.found) if counts.get(path)]
    telling = [path for path in paths if any(table[metric.name, path].value for metric in metrics)]
    groups = [telling[i : i + _PATHS_IN_A_SHEET] for i in range(0, len(telling), _PATHS_IN_A_SHEET)]
    silent = [path for path in paths if path not in telling]
    for some in [*groups, silent] if silent else groups:
        title = "" if some is silent else "Mean per error found by"
        shown = EstimateTable(title, [f"{path}\n({_errors(counts[path])})" for path in some])
        unseen: dict[str, list[tuple[Metric, Estimate]]] = {path: [] for path in some}
        for metric in metrics:
            estimates = [table[metric.name, path] for path in some]
            if any(e.value for e in estimates):
                unit = unit_of(metric.unit, estimates)
                cells: list[Cell | str] = [methods.cell(e, unit, bool(e.value)) for e in estimates]
                shown.rows.append((_name(metric, unit.name), cells))
                continue
            for path, e in zip(some, estimates, strict=True):
                unseen[path].append((metric, e))
        where = {
            path: f" by {path}" + (f" ({_errors(counts[path])})" if path in silent else "") for path in some
        }
        lines = [_unseen(unseen[path], methods, where[path]) for path in some]
        shown.below = "\n".join(line for line in lines if line)
        yield shown


def _errors(count: int, what: str = "error") -> str:
    return f"{plain(count, 0)} {reading.named(what)}{'' if count == 1 else 's'}"


def _times(results: Results, policy: int, methods: Methods) -> EstimateTable:
    shown = EstimateTable("Mean times", ("mean", "over"))
    for name, estimate, count in reading.times(results, policy):
        unit = unit_of("ns", [estimate])
        shown.rows.append(
            (f"{name} ({unit.name})", [methods.cell(estimate, unit), f"{plain(count, 0)} cases"])
        )
    return shown


def _fallen(fell: Fell, results: Results) -> str:
    if not fell.count:
        return f"No {reading.named(fell.what)} fell."
    return f"{_errors(fell.count, fell.what)} fell, {reading.company(fell)}.{reading.field_rate(results)}"


def _blocks(
    comparison: Comparison, policies: tuple[int, int], *, detected: bool
) -> Iterator[tuple[str, list[Row]]]:
    whole = {
        per: [row for row in comparison.rows if row.per == per and not row.found]
        for per in ("replication", *_PER)
    }
    yield reading.per_machine(comparison.results, policies), whole["replication"]
    what_fell = fell(comparison.results, policies[0])
    if comparison.same_count(policies[1]) and not what_fell.one_each:
        yield f"Mean {_PER[what_fell.what]}", whole[what_fell.what]
    if not detected:
        return
    yield "Mean per detected error", whole["detected"]
    counts = [reading.found_by(comparison.results, policy) for policy in policies]
    for path in comparison.paths:
        sizes = " and ".join(plain(count.get(path, 0), 0) for count in counts)
        yield (
            f"Mean per error found by {path} ({sizes} errors)",
            [r for r in comparison.rows if r.found == path],
        )


def _compared(
    title: str, rows: Sequence[Row], head: Sequence[str], policies: tuple[int, int], methods: Methods
) -> EstimateTable:
    """Both values and their difference; what was seen nowhere, and what is the same, in a line each."""
    shown = EstimateTable(title, head)
    base, other = policies
    unseen: list[tuple[Metric, Estimate]] = []
    alike: list[str] = []
    for row in rows:
        values, difference = (row.estimates[base], row.estimates[other]), row.differences[other]
        if difference is None:
            continue
        if not any(e.value for e in values):
            unseen.append((row.metric, max(values, key=lambda e: e.high or 0.0)))
            continue
        unit = unit_of(row.metric.unit, values)
        cells: list[Cell | str] = [methods.cell(e, unit, bool(e.value)) for e in values]
        cell = methods.cell(difference, unit)
        if row.metric in EXTRA_METRICS and difference.value == 0 and difference.low is None:
            alike.append(f"{row.metric.title} {cells[0]}")
            continue
        cells.append(_signed(cell, difference.value, difference.p_adjusted))
        shown.rows.append((_name(row.metric, unit.name), cells))
    lines = [_unseen(unseen, methods, " under either")]
    if alike:
        lines.append(f"The same under both in every pair: {', '.join(alike)}.")
    shown.below = "\n".join(line for line in lines if line)
    return shown


def _signed(cell: Cell, value: float | None, p_adjusted: float | None) -> Cell:
    """A plus before what grew, and Holm's p when several policies meet one baseline."""
    number = f"+{cell.number}" if value and value > 0 else cell.number
    holm = "" if p_adjusted is None else f"; p {'< 0.001' if p_adjusted < 0.001 else f'{p_adjusted:.2g}'}"
    return Cell(number, cell.interval + holm, cell.mark, cell.seen)


def _unseen(rows: Sequence[tuple[Metric, Estimate]], methods: Methods, where: str) -> str:
    """``None seen: forced SIGKILL, group death (at most 0.0093 a)``: one line for all with one bound."""
    bounds: dict[str, list[str]] = {}
    for metric, estimate in rows:
        cell = methods.cell(estimate, unit_of(metric.unit, [estimate]))
        bound = f" ({cell.interval}) {cell.mark}" if cell.interval else ""
        bounds.setdefault(bound, []).append(metric.title)
    texts = [f"{', '.join(names)}{bound}" for bound, names in bounds.items()]
    return f"None seen{where}: {'; '.join(texts)}" if texts else ""


def _pairing(comparison: Comparison, policy: int) -> Text:
    """Whether the pairs are pairs, and what pairing gained."""
    pairing = comparison.pairing
    counts = [fell(comparison.results, each) for each in (comparison.baseline, policy)]
    rate = reading.field_rate(comparison.results)
    look = "dim"
    if pairing.faults:
        text = (
            f"The same {plain(pairing.faults, 0)} DRAM faults under every policy; which of their lines go "
            "bad depends on it, so that the pairs are machines, not errors."
        )
    elif pairing.of(policy):
        lines = "\n".join(f"  {line}" for line in pairing.of(policy))
        text = (
            "The policies did not meet the same errors, and the pairs are machines, not errors. "
            f"The first that differ:\n{lines}\n"
        )
        look = "red"
    elif pairing.errors:
        company = reading.company(counts[0])
        text = f"The same {_errors(pairing.errors)} under every policy, {company}."
        text += rate if comparison.same_count(policy) else ""
    else:
        text = "No error fell."
    more = ""
    if not comparison.same_count(policy):
        first, second = (f"{plain(each.count, 0)}, {reading.company(each)}" for each in counts)
        per = _PER[counts[0].what]
        more += f" Not as many under each ({first}; and {second}): nothing is compared {per}.{rate}"
    difference = comparison.row("kills").differences[policy]
    if difference is not None and difference.correlation is not None:
        r = difference.correlation
        more += f" Kills of the pairs correlate {plain(r, 2)}" + (
            ": pairing gained nothing here." if r <= 0 else "."
        )
    if difference is not None and difference.p_adjusted is not None:
        more += f" p is adjusted for {len(comparison.labels) - 1} comparisons (Holm); intervals are not."
    return Text(text + (more.lstrip() if text.endswith("\n") else more), style=look)


def _heads(first: str, second: str) -> tuple[str, str, str]:
    """``=0``, ``=1`` and their difference for names that differ in one value, else the names."""
    key, sign, a = first.rpartition("=")
    other, _, b = second.rpartition("=")
    if sign and key == other:
        return f"={a}", f"={b}", f"={b} minus ={a}"
    return _fitted(first, "baseline"), _fitted(second, "other"), "second minus first"


def _fitted(label: str, otherwise: str) -> str:
    """A label that would be broken in a column gives way to its role; the title above has it whole."""
    return label if len(label) <= _HEAD_WIDTH else otherwise


def _name(metric: Metric, unit: str) -> str:
    indent = "  " if metric.name in _PARTS else ""
    return f"{indent}{metric.title}{f' ({unit})' if unit else ''}"

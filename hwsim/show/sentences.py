"""A comparison in one sentence, true also when nothing differs."""

from __future__ import annotations

from hwsim.printable import escaped
from hwsim.show import reading, rounding
from hwsim.study.estimate import Difference, Estimate, zero_share_bound
from hwsim.study.fell import fell
from hwsim.study.pair import Comparison


def sentence(comparison: Comparison) -> str:
    """The paired difference in kills with its interval; one line for each policy but the baseline."""
    row = comparison.row("kills")
    base = comparison.baseline
    what_fell = fell(comparison.results, base)
    span = f"machine and {reading.span(comparison.results)}"
    lines = []
    for policy, difference in enumerate(row.differences):
        if difference is None:
            continue
        label = escaped(comparison.labels[policy])
        names = label, _short(escaped(comparison.labels[base]), label)
        both = row.estimates[base], row.estimates[policy]
        per = reading.named(what_fell.what) if what_fell.one_each and comparison.same_count(policy) else span
        exact = reading.exact(comparison.results)
        lines.append(_exact(names, difference) if exact else _one(names, difference, both, per))
    if len(lines) > 1:
        lines.append(f"({len(lines)} comparisons with one baseline: each interval is 95 % by itself.)")
    return "\n".join(lines)


def _short(label: str, other: str) -> str:
    """``=0`` for a name that differs from the other in its value only."""
    key, sign, value = label.rpartition("=")
    return f"={value}" if sign and key == other.rpartition("=")[0] else label


def _exact(names: tuple[str, str], d: Difference) -> str:
    """Machines without chance: one stands for all."""
    one, other = names
    if d.value is None:
        return f"{one} cannot be compared with {other}: no replication is finished under both."
    return f"{one} kills {_how(d.value)} {other}: exact, as the machines are without chance."


def _how(value: float) -> str:
    return "as many tasks as" if value == 0 else f"{_amount(value)} {_tasks(value)} than"


def _one(names: tuple[str, str], d: Difference, both: tuple[Estimate, Estimate], per: str) -> str:
    one, other = names
    size = reading.replications([d.n])
    if d.value is None:
        return f"{one} cannot be compared with {other}: no replication is finished under both."
    if d.n == 1:
        return (
            f"In the one replication {one} kills {_how(d.value)} {other}; one replication gives no interval."
        )
    if not (rounding.known(d.low) and rounding.known(d.high)):
        return _alike(one, other, d, both, size)
    if d.low <= 0 <= d.high:
        return (
            f"No difference in kills is shown: {one} kills {_amount(d.value, d)} tasks per {per} "
            f"than {other}, and anything from {_amount(d.low, d)} to {_amount(d.high, d)} fits "
            f"(95 % CI, {d.method}, {size})."
        )
    sign = 1 if d.value > 0 else -1
    places = rounding.decimals(d.value, d.low, d.high)
    value, low, high = (
        rounding.plain(sign * x, places) for x in (d.value, *sorted((d.low, d.high), key=abs))
    )
    word = "more" if sign > 0 else "fewer"
    return (
        f"{one} kills {value} {word} tasks per {per} than {other} "
        f"(95 % CI {low} to {high}, {d.method}, {size})."
    )


def _alike(one: str, other: str, d: Difference, both: tuple[Estimate, Estimate], size: str) -> str:
    """Every pair gave the same difference: say so, and how rare the other case must be."""
    share = f"at most {rounding.bound(100 * zero_share_bound(d.n))} % of machines differ from that"
    exact = f"({share}: exact binomial, 95 %)"
    if all(e.value == 0 for e in both):
        return f"Neither {one} nor {other} killed a task in {size} {exact}."
    if d.value == 0:
        return f"{one} and {other} killed equally many tasks in each of {size} {exact}."
    value = d.value or 0.0
    return f"{one} killed exactly {_amount(value)} {_tasks(value)} than {other} in each of {size} {exact}."


def _tasks(count: float) -> str:
    return "task" if abs(count) == 1 else "tasks"


def _amount(x: float, interval: Difference | None = None) -> str:
    """``0.2 fewer`` or ``0.4 more``."""
    if interval is None:
        places = rounding.decimals(x, None, None)
    else:
        places = rounding.decimals(x, interval.low, interval.high)
    return f"{rounding.plain(abs(x), places)} {'fewer' if x < 0 else 'more'}"

"""E2: how long a task goes on beside the hole under late killing, and what it writes meanwhile."""

from __future__ import annotations

from experiments.common import (
    ALONE,
    MODEL_TIMES,
    UNIFORM,
    Answer,
    Effort,
    alone,
    bars_figure,
    median,
    share,
    words,
)
from hwsim.show.rounding import shown, time_unit
from hwsim.study.estimate import Estimate

QUESTION = "How long does a task run on, and how often does it write, before its late kill?"
CASES = {"desktop": 6000, "web-server": 10000, "database-server": 6000, "kvm-host": 10000}
HOUR_NS, DAY_NS = 3_600_000_000_000, 86_400_000_000_000


def run(effort: Effort) -> Answer:
    """Four machines under vm.memory_failure_early_kill = 0."""
    head, hour, day, writes, windows = [], [], [], [], []
    for scenario, machines in CASES.items():
        results = alone(scenario, effort, machines, "vm.memory_failure_early_kill=0")
        n = len(results.replications)
        signals = results.signals
        late = signals[(signals["code"] == "BUS_MCEERR_AR") & signals["window_ns"].notna()]
        head.append(scenario)
        hour.append(share(late[late["window_ns"] > HOUR_NS], late, n))
        day.append(share(late[late["window_ns"] > DAY_NS], late, n))
        writes.append(share(late[late["stores"] > 0], late, n))
        windows.append(median(late, "window_ns"))
    lines: list[tuple[str, list[Estimate]]] = [
        ("longer than an hour", hour),
        ("longer than a day", day),
        ("wrote something meanwhile", writes),
    ]
    unit = time_unit([e.value for e in windows])
    medians = "; ".join(
        f"{name} {shown(e, unit).text} {unit.name}" for name, e in zip(head, windows, strict=True)
    )
    server = head.index("database-server")
    text = (
        "Under late killing a task goes on with the rest of its memory until it touches the hole. On the database "
        f"server {words(hour[server], True)} of the late signals come more than an hour after the page was poisoned, and "
        f"{words(writes[server], True)} of the tasks wrote to other pages in between: Fengguang Wu's argument for early "
        "killing (newer B and C beside an old A) is the rule where the working set is hot and the lost page is cold, "
        f"not the exception. Medians of the window, bootstrap over machines: {medians}."
    )
    figure = bars_figure(
        "Late kills: how long the task ran on beside the hole",
        head,
        {"longer than an hour": hour, "longer than a day": day, "wrote meanwhile": writes},
        "share of late signals",
    )
    assumptions = (
        UNIFORM,
        ALONE,
        MODEL_TIMES,
        "a task writes at the rates of its regions the whole time; a task that is never hit again is not counted",
    )
    return Answer("E2", QUESTION, head, lines, figure, text, assumptions)

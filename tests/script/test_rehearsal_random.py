"""Random scripts: every step is done, skipped or told, and what the rehearsal lets pass can be played."""

from __future__ import annotations

import random
import tomllib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from hwsim.machine import rehearse, run_replication
from hwsim.scenario.compile import scripted_machine
from hwsim.scenario.schema import ScenarioModel
from hwsim.scenario.steps import check_steps, rehearsal
from hwsim.scenario.valid_parts import Parts
from hwsim.script.verbs import VERBS, Arg
from tests.whole.shipped import SCENARIOS

FLAGS = ("dirty", "lru", "locked", "writeback", "private", "hwpoison", "swapcache")
MCE = "CPU 0 BANK 8 STATUS 0xbd000000000000c0 ADDR 0x1234000 MISC 0x8c\n"


class Dice:
    """Steps with arguments of the right kinds, about tasks, regions and files that mostly exist."""

    def __init__(self, data: dict[str, Any], seed: int) -> None:
        self.rng = random.Random(seed)
        self.tasks = [f"{task['name']}.{n}" for task in data["task"] for n in range(task.get("count", 1))]
        self.regions = [region["name"] for task in data["task"] for region in task.get("region", ())]
        self.files = [file["name"] for file in data["file"]]
        pick, number = self.rng.choice, self.rng.randint
        self.kinds: dict[str, Callable[[], Any]] = {
            "page": self.page,
            "task": lambda: pick(self.tasks),
            "region": lambda: pick(self.regions),
            "file": lambda: pick(self.files),
            "new_region": lambda: pick(("new", "heap")),
            "new_alloc": lambda: pick("ab"),
            "alloc": lambda: pick("ab"),
            "fd": lambda: pick(("fd", "x")),
            "count": lambda: number(1, 5),
            "index": lambda: number(0, 20),
            "line": lambda: number(0, 63),
            "order": lambda: number(0, 4),
            "tries": lambda: number(0, 5),
            "cpu": lambda: number(0, 1),
            "bool": lambda: pick((True, False)),
            "int": lambda: number(0, 2),
            "flags": lambda: self.rng.sample(FLAGS, 2),
            "size": lambda: f"{4 * number(1, 20)} KiB",
            "sysctl": lambda: "vm.memory_failure_early_kill",
            "value": lambda: "early",
            "mce_text": lambda: MCE,
        }

    def page(self) -> dict[str, Any]:
        pick, number = self.rng.choice, self.rng.randint
        region = f"{pick(self.tasks)}/{pick(self.regions)}"
        forms: list[dict[str, Any]] = [{"region": region, "index": number(0, 17)}] * 4
        forms += [{"file": pick(self.files), "index": number(0, 33)}] * 2
        forms += [
            {"kernel": pick("ab"), "index": number(0, 3)},
            {"free": number(0, 30)},
            {"pfn": number(0, 17_000)},
        ]
        return pick(forms)

    def step(self) -> dict[str, Any]:
        do = self.rng.choice(list(VERBS))
        wanted = {key: arg for key, arg in VERBS[do].args.items() if arg.required or self.rng.random() < 0.5}
        return {
            "do": do,
            "at": f"{self.rng.randint(1, 800)} s",
            **{key: self.value(arg) for key, arg in wanted.items()},
        }

    def value(self, arg: Arg) -> Any:
        return self.rng.choice(arg.choices) if arg.kind == "choice" else self.kinds[arg.kind]()


@pytest.mark.parametrize("kernel", ["v5", "2.6.32"])
@pytest.mark.parametrize("name", ["aftermath", "drill"])
def test_random_scripts_are_done_skipped_or_told(name: str, kernel: str) -> None:
    data = tomllib.loads((SCENARIOS / f"{name}.toml").read_text(encoding="utf-8"))
    data["machine"]["kernel"] = kernel
    told = played = 0
    for seed in range(15):
        dice = Dice(data, seed)
        data["script"] = [dice.step() for _ in range(30)]
        parts = Parts.of_model(ScenarioModel.model_validate(data), data)
        assert not list(check_steps(parts))
        spec = rehearsal(scripted_machine(parts))
        mistakes = rehearse(spec)
        wrong = {each.where for each in mistakes}
        good = replace(spec, script=tuple(step for step in spec.script if step.where not in wrong))
        run_replication(good, 0)
        told, played = told + len(wrong), played + len(good.script)
    assert told > 100
    assert played > 50

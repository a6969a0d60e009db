"""Checks of script steps that need no machine: verbs, arguments, names of tables.

Whether a step can happen when it is due is asked of a machine without chance: see :func:`rehearsal`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Container, Iterable, Iterator
from typing import Any

from hwsim import spec, units
from hwsim.record import StepMistake
from hwsim.scenario.arguments import compiled, shape
from hwsim.scenario.keys import filled
from hwsim.scenario.problems import Finding, Path, nearby_name, one_of
from hwsim.scenario.valid_parts import Parts
from hwsim.script.verbs import VERBS


def check_steps(parts: Parts) -> Iterator[Finding]:
    """Everything that is wrong with the script as it is written."""
    for index, step in enumerate(parts.script):
        if step is None:
            continue
        if parts.horizon_ns is not None and step.at_ns >= parts.horizon_ns:
            last = units.format_duration(parts.horizon_ns)
            yield Finding(("script", index, "at"), "not before the horizon", f"less than {last}")
        yield from _step(parts, index)


def _step(parts: Parts, index: int) -> Iterator[Finding]:
    step = parts.script[index]
    assert step is not None
    path: Path = ("script", index)
    given = dict(step.__pydantic_extra__ or {})
    verb = VERBS.get(step.verb)
    if verb is None:
        yield Finding((*path, "do"), "unknown verb", one_of(VERBS, 60), nearby_name(step.verb, VERBS))
        return
    takes = f"{step.verb} takes {', '.join(verb.args) or 'no arguments'}"
    for key in given:
        if key not in verb.args:
            message = f"{step.verb} has no argument of this name"
            yield Finding((*path, key), message, takes, nearby_name(key, verb.args))
    for key, arg in verb.args.items():
        if key in given:
            yield from shape((*path, key), arg, given[key], parts)
        elif arg.required:
            yield Finding((*path, key), f"{step.verb} needs this argument", takes)


def compiled_steps(parts: Parts, left_out: Container[object]) -> tuple[spec.ScriptStep, ...]:
    """The steps as the model gets them, in order of time, then of the file; without those ``left_out``."""
    rows: list[spec.ScriptStep] = [
        filled(step, args=compiled(step.verb, dict(step.__pydantic_extra__ or {})), where=f"script[{index}]")
        for index, step in enumerate(parts.script)
        if step is not None and index not in left_out
    ]
    return tuple(sorted(rows, key=lambda row: row.at_ns))


def rehearsal(whole: spec.Spec) -> spec.Spec:
    """What to play to see whether the steps can happen: the machine without chance, up to the last step."""
    last_ns = max(step.at_ns for step in whole.script)
    return dataclasses.replace(spec.without_chance(whole), horizon_ns=last_ns + 1)


def findings(parts: Parts, mistakes: Iterable[StepMistake]) -> Iterator[Finding]:
    """What the rehearsal found, at its place in the file."""
    numbers = {f"script[{index}]": index for index in range(len(parts.script))}
    for mistake in mistakes:
        number = numbers[mistake.where]
        step = parts.script[number]
        given: Any = dict((step.__pydantic_extra__ if step is not None else None) or {})
        key = mistake.key
        if key[-1] == "pfn" and "address" in given[key[0]]:  # compiled() made it a pfn
            key = (*key[:-1], "address")
        value = given
        for part in key:
            value = value.get(part) if isinstance(value, dict) else None
        path: Path = ("script", number, *key)
        if isinstance(mistake.allowed, str):
            yield Finding(path, mistake.problem, mistake.allowed)
        else:
            names = mistake.allowed
            yield Finding(path, mistake.problem, one_of(names), nearby_name(value, names))

"""From the checked scenario to the plain :class:`hwsim.spec.Spec` that the model runs.

:func:`hwsim.scenario.keys.filled` takes what has the spec's name; what has to be computed is here.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from hwsim import spec
from hwsim.elementary import added
from hwsim.scenario import schema
from hwsim.scenario.keys import filled
from hwsim.scenario.schema_dram import Dram
from hwsim.scenario.schema_machine import Machine
from hwsim.scenario.steps import compiled_steps
from hwsim.scenario.valid_parts import (
    Parts,
    cached_pages,
    is_shared,
    place_pages,
    pool_order,
    region_pages,
)
from hwsim.units import PAGES_PER_GIB

_REST = 1e-9  # less than this of a region is rounding, not a band


def to_spec(model: schema.ScenarioModel) -> spec.Spec:
    """The model's input; every check has passed before."""
    parts = Parts.of_model(model, {})
    whole: spec.Spec = filled(
        model,
        errors=tuple(_errors(parts, index, item, model.dram) for index, item in enumerate(model.errors)),
        **_played(parts),
    )
    return whole if model.machine.chance else spec.without_chance(whole)


def scripted_machine(parts: Parts, left_out: Container[object] = ()) -> spec.Spec:
    """The machine, who uses it, and the script without the steps ``left_out``; no errors by rate.

    The tables of the machine and of all memory have passed their checks, others need not.
    """
    return spec.Spec(name="", horizon_ns=0, seed=0, repeat=1, **_played(parts, left_out))


def _played(parts: Parts, left_out: Container[object] = ()) -> dict[str, Any]:
    """What a script is played on, and the script."""
    machine, files = parts.machine, parts.files()
    assert machine is not None
    return {
        "machine": filled(machine, switches=_switches(machine)),
        "files": tuple(
            filled(item, pages=cached_pages(item), touch=_touch(item.touch)) for item in files.values()
        ),
        "tasks": tuple(
            filled(item, regions=tuple(_region(region, files) for region in item.regions))
            for item in parts.tasks().values()
        ),
        "pools": tuple(
            filled(item, pages=item.size, order=pool_order(item)) for item in parts.pools().values()
        ),
        "script": compiled_steps(parts, left_out),
    }


def _switches(machine: Machine) -> tuple[tuple[str, str | float], ...]:
    """Those that are set, by name."""
    return tuple(sorted((name, value) for name, value in machine.switches if value is not None))


def _region(item: schema.Region, files: dict[str, schema.File]) -> spec.RegionSpec:
    found: spec.RegionSpec = filled(
        item,
        name=item.label,
        pages=region_pages(item, files) or 0,
        touch=_touch(item.touch),
        shared=is_shared(item),
    )
    return found


def _touch(bands: tuple[schema.Touch, ...]) -> tuple[spec.Touch, ...]:
    """The bands, and one more for the pages that none of them names: never touched again."""
    rest = 1.0 - added(band.share for band in bands)
    touch = tuple(filled(band) for band in bands)
    return (*touch, spec.Touch(rest)) if rest > _REST else touch


def _errors(parts: Parts, index: int, item: schema.Errors, dram: Dram | None) -> spec.ErrorSpec:
    """A rate per GiB counts the GiB of the place where the errors fall; DRAM faults have theirs."""
    per_s = 0.0 if item.rate is None else item.rate.per_s
    if item.rate is not None and item.rate.per_gib:
        per_s *= (place_pages(parts, index) or 0) / PAGES_PER_GIB
    faults = dram.to_spec() if dram is not None and item.kind == "dram" else None
    if dram is not None and faults is not None:
        per_s = dram.faults_per_s()
    found: spec.ErrorSpec = filled(item, rate_per_s=per_s, where=_place(item.where), dram=faults)
    return found


def _place(item: schema.Where) -> spec.Place:
    if item.region is not None:
        return spec.Place("region", item.region)
    if item.kind is not None:
        return spec.Place("kind", item.kind)
    if item.pfns is not None:
        return spec.Place("pfns", "", tuple(sorted(set(item.pfns))))
    return spec.Place()

"""From the checked scenario to the plain :class:`hwsim.spec.Spec` that the model runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Container

from hwsim import spec
from hwsim.scenario import schema, schema_machine
from hwsim.scenario.schema_dram import Dram
from hwsim.scenario.steps import compiled_steps
from hwsim.scenario.valid_parts import (
    Parts,
    cached_pages,
    huge_order,
    is_shared,
    place_pages,
    pool_order,
    region_pages,
)

_PAGES_PER_GIB = 1 << 18
_REST = 1e-9  # less than this of a region is rounding, not a band


def to_spec(model: schema.ScenarioModel) -> spec.Spec:
    """The model's input; every check has passed before."""
    parts = Parts.of_model(model, {})
    errors = tuple(_errors(parts, index, item, model.dram) for index, item in enumerate(model.errors))
    whole = dataclasses.replace(
        scripted_machine(parts),
        name=model.name,
        horizon_ns=model.horizon,
        seed=model.seed,
        repeat=model.repeat,
        errors=errors,
    )
    return spec.without_chance(whole) if model.machine.chance == "off" else whole


def scripted_machine(parts: Parts, left_out: Container[object] = ()) -> spec.Spec:
    """The machine, who uses it, and the script without the steps ``left_out``; no errors by rate.

    The tables of the machine and of all memory have passed their checks, others need not.
    """
    machine = parts.machine
    assert machine is not None
    return spec.Spec(
        name="",
        horizon_ns=0,
        seed=0,
        repeat=1,
        machine=_machine(machine),
        files=tuple(_file(item) for item in parts.files().values()),
        tasks=tuple(_task(item, parts.files()) for item in parts.tasks().values()),
        pools=tuple(_pool(item) for item in parts.pools().values()),
        script=compiled_steps(parts, left_out),
    )


def _machine(item: schema_machine.Machine) -> spec.MachineSpec:
    return spec.MachineSpec(
        memory_pages=item.memory,
        cpus=item.cpus,
        kernel=item.kernel,
        early_kill=item.sysctl.early_kill,
        recovery=item.sysctl.recovery,
        tolerant=item.tolerant,
        hidden_pages=item.hidden,
        unevictable_lru=item.config.unevictable_lru,
        mlocked_page_bit=item.config.mlocked_page_bit,
        pageflags_extended=item.config.pageflags_extended,
        switches=tuple(
            (name, value) for name, value in sorted(item.switches.model_dump().items()) if value is not None
        ),
        scrub=spec.ScrubSpec(item.scrub.period, item.scrub.signals),
        device_read=item.device_read,
        corrected=spec.CorrectedSpec(item.corrected.signals, item.corrected.storms, item.corrected.mcelog),
        reboot_ns=item.on_panic.reboot,
        repair_share=item.on_panic.repair,
        user_share=item.user_share,
        alloc_per_s=item.alloc.rate,
        alloc_order=item.alloc.order,
        atomic_alloc_fail=item.atomic_alloc_fail,
        sync_every_ns=item.sync,
        dirty_writeback_ns=item.sysctl.dirty_writeback * schema_machine.CENTISEC_NS,
        dirty_expire_ns=item.sysctl.dirty_expire * schema_machine.CENTISEC_NS,
        times=_times(item.times),
        printk_level=item.printk_level,
    )


def _times(item: schema_machine.Times) -> spec.TimesSpec:
    given = {name: getattr(item, name) for name in type(item).model_fields}
    return spec.TimesSpec(**{name: _delay(delay) for name, delay in given.items() if delay is not None})


def _delay(item: schema_machine.Delay) -> spec.Delay:
    return spec.Delay(
        item.kind, item.mean or 0, item.low or 0, item.high or 0, item.sigma or 0.0, item.chance
    )


def _errors(parts: Parts, index: int, item: schema.Errors, dram: Dram | None) -> spec.ErrorSpec:
    """A rate per GiB counts the GiB of the place where the errors fall."""
    if item.kind == "dram":
        faults = dram.faults_per_s() if dram else 0.0
        return spec.ErrorSpec(
            faults, start_ns=item.start, end_ns=item.end, dram=dram.to_spec() if dram else None
        )
    per_s = 0.0 if item.rate is None else item.rate.per_s
    if item.rate is not None and item.rate.per_gib:
        per_s *= (place_pages(parts, index) or 0) / _PAGES_PER_GIB
    return spec.ErrorSpec(
        rate_per_s=per_s,
        where=_place(item.where),
        permanent=item.permanent,
        burst_pages=item.burst_pages,
        start_ns=item.start,
        end_ns=item.end,
        count=item.count,
        field_per_s=item.field_rate,
    )


def _place(item: schema.Where) -> spec.Place:
    if item.region is not None:
        return spec.Place("region", item.region)
    if item.kind is not None:
        return spec.Place("kind", item.kind)
    if item.pfns is not None:
        return spec.Place("pfns", "", tuple(sorted(set(item.pfns))))
    return spec.Place()


def _touch(bands: tuple[schema.Touch, ...]) -> tuple[spec.Touch, ...]:
    """The bands, and one more for the pages that none of them names: never touched again."""
    rest = 1.0 - sum(band.share for band in bands)
    touch = [spec.Touch(band.share, band.load, band.store) for band in bands]
    return (*touch, spec.Touch(rest)) if rest > _REST else tuple(touch)


def _file(item: schema.File) -> spec.FileSpec:
    return spec.FileSpec(
        name=item.name,
        pages=cached_pages(item),
        filesystem=item.filesystem,
        touch=_touch(item.touch),
        flush_every_ns=item.flush_every,
        buffers=item.buffers,
        buffers_busy=item.buffers_busy,
        turnover_per_s=item.turnover,
        pagevec=item.pagevec,
        lines_per_touch=item.lines_per_touch,
        truncate_per_s=item.truncate,
        writers=item.writers,
        evict_per_s=item.evict,
    )


def _task(item: schema.Task, files: dict[str, schema.File]) -> spec.TaskSpec:
    return spec.TaskSpec(
        name=item.name,
        count=item.count,
        children=item.children,
        regions=tuple(_region(region, files) for region in item.region),
        sigbus=spec.SigbusSpec(item.sigbus.on_ao, item.sigbus.on_ar, item.sigbus.unblock),
        group_death=item.group_death,
        restart_ns=item.restart,
        fsync=_fsync(item.fsync),
        mce_kill=item.mce_kill,
        lifetime_ns=item.lifetime,
    )


def _fsync(item: schema.Fsync | None) -> spec.FsyncSpec | None:
    if item is None:
        return None
    return spec.FsyncSpec(item.file, item.every, item.call, item.reopen, item.open, item.checks)


def _region(item: schema.Region, files: dict[str, schema.File]) -> spec.RegionSpec:
    swap = item.swap
    return spec.RegionSpec(
        name=item.label,
        kind=item.kind,
        pages=region_pages(item, files) or 0,
        touch=_touch(item.touch),
        file=item.file,
        shared=is_shared(item),
        mlock=item.mlock,
        populate=item.populate,
        lines_per_touch=item.lines_per_touch,
        full_line=item.full_line,
        swap=None
        if swap is None
        else spec.SwapCycle(
            swap.period, swap.dirty_mapped, swap.dirty_unmapped, swap.clean_unmapped, swap.clean_mapped
        ),
        pagevec=item.pagevec,
        huge_order=huge_order(item),
        huge_free=item.huge_free,
        unmap_fail=item.unmap_fail,
    )


def _pool(item: schema.Pool) -> spec.KernelPoolSpec:
    return spec.KernelPoolSpec(
        kind=item.kind,
        pages=item.size,
        order=pool_order(item),
        load_per_s=item.load,
        store_per_s=item.store,
        lifetime_ns=item.lifetime,
        full_line=item.full_line,
    )

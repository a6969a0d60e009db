"""Checks of the streams of errors: where they fall, how many they bring, when they begin and end."""

from __future__ import annotations

from collections.abc import Iterator

from hwsim.memory.kinds import FREE, REGIONS
from hwsim.scenario.keys import given
from hwsim.scenario.problems import Finding, Path, one_of, unknown
from hwsim.scenario.schema import MAX_ERRORS, NOT_OF_DRAM, Errors
from hwsim.scenario.valid_parts import Parts, footprint, one_tasks_region, place_pages
from hwsim.units import PAGE_BYTES, PAGES_PER_GIB, format_bytes

_MAX_FAULTS = 100_000  # each is looked at, and pairs of them


def check_streams(parts: Parts) -> Iterator[Finding]:
    """Everything that is wrong with the tables [[errors]]."""
    mapped = {f"{task.name}/{r.label}": r.file for _, task, r in parts.regions() if REGIONS[r.kind].of_file}
    for index, stream in enumerate(parts.errors):
        if stream is None:
            continue
        path: Path = ("errors", index)
        if parts.machine is not None and not parts.machine.chance:
            allowed = 'steps of the script that make errors, or machine.chance = "on"'
            yield Finding(path, "no error comes by itself in a machine without chance", allowed)
        if stream.kind == "dram":
            yield from _dram_stream(parts, index, stream)
        else:
            yield from _how_many(parts, index)
        region = stream.where.region
        if region is not None and region in mapped:
            message = "these pages belong to the file"
            yield Finding((*path, "where", "region"), message, f'"file:{mapped[region]}"')
        elif region is not None and region not in _places(parts) and one_tasks_region(parts, region) is None:
            yield unknown((*path, "where", "region"), "place", region, _places(parts))
        elif stream.where.kind is not None and parts.complete and place_pages(parts, index) is None:
            kinds = sorted({kind for _, kind, _ in footprint(parts)} | {FREE})
            message = f"no memory of kind {stream.where.kind} in this scenario"
            yield Finding((*path, "where", "kind"), message, one_of(kinds))
        elif stream.where.pfns is not None and parts.machine is not None:
            last = parts.machine.fitted_pages - 1
            for number, pfn in enumerate(stream.where.pfns):
                if pfn > last:
                    yield Finding((*path, "where", "pfns", number), "beyond the memory", f"0 to {last}")
        yield from _stream_times(parts, index)


def _places(parts: Parts) -> list[str]:
    """Names that ``where.region`` may have, those of unreadable tables included."""
    names = [f"file:{name}" for name in parts.raw_names("file")]
    names += [f"kernel:{kind}" for kind in parts.raw_names("kernel", "kind")]
    for task in parts.raw.get("task", []) if isinstance(parts.raw.get("task"), list) else []:
        regions = task.get("region") if isinstance(task, dict) else None
        for region in regions if isinstance(regions, list) else []:
            if isinstance(region, dict):
                names.append(f"{task.get('name')}/{region.get('name', region.get('kind'))}")
    return [*names, FREE]


def _how_many(parts: Parts, index: int) -> Iterator[Finding]:
    """A stream has a rate or a count: as the file has the keys, since bad ones have been taken out."""
    entry = parts.raw["errors"][index]
    given = [key for key in ("rate", "count") if key in entry]
    if not given:
        yield Finding(("errors", index, "rate"), "required key is missing", 'such as "2 / day", or count = 1')
    elif len(given) == 2:
        yield Finding(("errors", index), "has a rate and a count", "one of them")


def _dram_stream(parts: Parts, index: int, stream: Errors) -> Iterator[Finding]:
    path: Path = ("errors", index)
    for key in NOT_OF_DRAM:
        if key in given(stream):
            yield Finding((*path, key), "the faults of the DIMMs decide this", "without kind = dram")
    machine, dram = parts.machine, parts.dram
    if dram is None:
        if "dram" not in parts.raw:
            yield Finding((*path, "kind"), "there is no [dram] table", "uncorrected, or a table [dram]")
        return
    if machine is not None and not dram.findings() and dram.capacity_pages < machine.fitted_pages:
        message = (
            f"its DIMMs hold {format_bytes(dram.capacity_pages * PAGE_BYTES)}, less than the machine's memory"
        )
        yield Finding(("dram", "geometry"), message, "a geometry with at least the memory of the machine")
    faults = dram.faults_per_s() * (parts.horizon_ns or 0) / 1e9
    if not dram.findings() and faults > _MAX_FAULTS:
        message = f"{faults:.3g} faults a machine until the horizon"
        yield Finding(("dram", "fit_factor"), message, f"rates of up to {_MAX_FAULTS:,} a machine")


def _stream_times(parts: Parts, index: int) -> Iterator[Finding]:
    stream, horizon = parts.errors[index], parts.horizon_ns
    if stream is None or not horizon:  # a horizon of zero is reported where it stands
        return
    path: Path = ("errors", index)
    end = horizon if stream.end_ns is None else stream.end_ns
    if stream.end_ns is not None and stream.end_ns > horizon:
        yield Finding((*path, "end"), "after the horizon", "up to the horizon")
    if stream.start_ns >= end:
        yield Finding((*path, "start"), "nothing can happen: start is not before end", "a time before end")
    arrivals = _expected_arrivals(parts, index, max(end - stream.start_ns, 0))
    if arrivals is None:
        return
    if arrivals * stream.burst_pages > MAX_ERRORS:
        message = f"about {arrivals * stream.burst_pages:.2g} errors in each replication"
        key = "rate" if stream.count is None else "burst_pages"
        yield Finding((*path, key), message, f"at most {MAX_ERRORS:,} expected errors")
    machine = parts.machine
    if machine is not None and stream.burst_pages > machine.fitted_pages:
        allowed = f"up to {machine.memory_pages}"
        yield Finding((*path, "burst_pages"), "more pages than the machine has", allowed)


def _expected_arrivals(parts: Parts, index: int, window_ns: int) -> float | None:
    """Arrivals of a stream in one replication; None if that cannot be known."""
    stream = parts.errors[index]
    if stream is None or stream.count is not None:
        return None if stream is None else stream.count
    if stream.rate is None or (stream.rate.per_gib and not parts.complete):
        return None
    pages = place_pages(parts, index) if stream.rate.per_gib else PAGES_PER_GIB
    return None if pages is None else stream.rate.per_s * pages / PAGES_PER_GIB * window_ns / 1e9

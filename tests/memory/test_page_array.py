"""Pages by the array are what the form for one page makes of them, and are met at the same times."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from hwsim.bad_lines.bad_line import BadLine
from hwsim.engine import TASK_ACCESS
from hwsim.kernel import page_flags as pg
from hwsim.kernel.error_states import classify
from hwsim.kernel.mm.page_alloc import allocations_per_ns
from hwsim.machine import Machine, MemoryLayout
from hwsim.machine.boot import inode_at_boot
from hwsim.machine.first_errors import single_errors
from hwsim.many_draws import ManyDraws
from hwsim.memory.draw_each import first_looks
from hwsim.memory.find_cells import find_cells
from hwsim.memory.page_array import PageArray
from hwsim.memory.race_each import FAR, first_times
from hwsim.spec import Place, Spec
from tests.support.all_kinds import FEW_FLAGS, POOLS, all_kinds


def arrays(spec: Spec, machines: int) -> tuple[PageArray, dict[str, np.ndarray]]:
    layout, draws = MemoryLayout(spec), ManyDraws(spec.seed, range(machines))
    kernel = Machine(spec, 0, layout).kernel
    machine, _source, onset_ns, pfn, line, permanent = single_errors(spec, layout, draws, machines)
    pages = PageArray(find_cells(kernel), draws, machine, pfn, line, onset_ns, permanent)
    first_looks(pages, kernel, lambda own, region: inode_at_boot(own, spec, region))
    return pages, first_times(pages, allocations_per_ns(kernel))


def played(spec: Spec, index: int, layout: MemoryLayout, onset_ns: int) -> BadLine:
    """The line, right after its onset."""
    machine = Machine(spec, index, layout)
    machine.engine.run(onset_ns + 1)
    return machine.bad_lines.all[0]


def race(line: BadLine) -> dict[str, int]:
    """Its candidates as the arrays call them; of what a store beside it leads to, the store."""
    times = {}
    for each in line.times:
        if each.what == "healed":
            by_task = each.priority & TASK_ACCESS == TASK_ACCESS
            times["task_overwrites" if by_task else "kernel_overwrites"] = each.time_ns
        elif each.what in ("dirtied", "device_read"):
            assert line.page is not None
            assert line.page.dirtied_ns is not None
            times["dirtied"] = line.page.dirtied_ns
        else:
            times[each.what] = each.time_ns
    return times


@pytest.mark.parametrize("more", [{}, FEW_FLAGS], ids=["all flags", "few flags"])
def test_page_for_page_they_are_those_of_a_machine_that_is_played(more: dict[str, bool]) -> None:
    spec = all_kinds(**more)
    layout, machines = MemoryLayout(spec), 700
    pages, times = arrays(spec, machines)
    assert len(pages.pfn) == machines
    sure: Counter[str] = Counter()
    for nth in range(machines):
        line = played(spec, nth, layout, int(pages.onset_ns[nth]))
        page = line.page
        assert page is not None
        place = (line.pfn, line.number_in_page, line.permanent, line.onset_ns, page.pgoff)
        columns = (pages.pfn, pages.line, pages.permanent, pages.onset_ns, pages.index)
        assert tuple(column[nth] for column in columns) == place
        if pages.unsure[nth]:
            continue
        sure[page.region.kind] += 1
        assert pages.flags[nth] == page.flags
        assert (pages.references[nth] > 0) == (page.count > 0)
        assert pages.mapped[nth] or not (page.head or page).ptes
        assert {what: at[nth] for what, at in times.items() if at[nth] != FAR} == race(line)
    assert set(sure) == {*(pool.kind for pool in POOLS), "anon", "shm", "hugetlb", "file", "free"}


def test_more_than_arrays_can_follow_is_left_to_the_form_for_one_page() -> None:
    spec = all_kinds()
    layout = MemoryLayout(spec)
    cells = find_cells(Machine(spec, 0, layout).kernel)
    unsure = {cells.names[number] for number in set(cells.region[cells.unsure].tolist())}
    family = {"family.0/heap", "family.0.0/heap", "family.0.1/heap"}
    assert unsure == family | {"mortal.0/heap", "swapped.0/heap"}


def test_their_rows_of_the_table_are_one_gather() -> None:
    spec = all_kinds()
    pages, _ = arrays(spec, 300)
    kernel = Machine(spec, 0, MemoryLayout(spec)).kernel
    rows = classify(kernel.error_states, pages.flags)
    assert rows.tolist() == [kernel.error_state(flags).row for flags in pages.flags.tolist()]
    assert set(rows[pages.flags & pg.BUDDY != 0]) == {2}


def test_all_errors_of_a_place_fall_there() -> None:
    spec = all_kinds()
    layout, u = MemoryLayout(spec), np.linspace(0.0005, 0.9995, 500)
    for where in (Place(), Place("kind", "anon"), Place("region", "app/lazy"), Place("pfns", pfns=(7, 5, 9))):
        assert layout.place_each(where, u).tolist() == [layout.place(where, each) for each in u.tolist()]

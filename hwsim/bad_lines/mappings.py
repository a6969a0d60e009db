"""Other tasks than before map the page of a bad line: entries are copied or dropped, tasks come and go."""

from __future__ import annotations

from hwsim.bad_lines import frame_reuse, handled, late_touch, read_again
from hwsim.bad_lines.bad_line import BadLine
from hwsim.bad_lines.states import HANDLED, LATENT, OVER
from hwsim.kernel import page_flags as pg
from hwsim.kernel.mm.memory import meets_poison
from hwsim.kernel.mm_types import PRESENT, Vma


def entries_dropped(line: BadLine) -> None:
    """Some task with an entry for the page is gone."""
    late_touch.drop_the_dead(line)
    page, in_boot = line.page, line.in_boot
    if line.state == HANDLED and in_boot.contained_ns is None:
        if page is not None and not (page.head or page).ptes and in_boot.failure is not None:
            if handled.is_contained(page, in_boot.failure):
                in_boot.contained_ns = line.around.engine.now_ns
                handled.take_out(line, page)
    if line.state == OVER:
        return
    if line.state == LATENT and page is not None and page.flags & pg.ANON and page.count == 0:
        frame_reuse.becomes_free(line, page)  # nothing refers to it any more
    elif line.state == LATENT or any(each.whose is not None and not each.whose.alive for each in line.times):
        line.draw_race()
    else:
        line.arm()


def entry_copied(line: BadLine, vma: Vma) -> None:
    """fork() gave a child an entry that maps the page or leads to the poison."""
    page = line.page
    pte = vma.ptes.get(page.pgoff) if page is not None else None
    if pte is None or pte.page is not page:
        return
    if pte.kind == PRESENT:
        line.draw_race()
    elif meets_poison(pte):
        late_touch.expect(line, pte, line.around.engine.now_ns)
        line.arm()


def sharers_changed(line: BadLine) -> None:
    """Other tasks than before map the memory that the page belongs to."""
    if line.state == LATENT:
        line.draw_race()
    elif line.state == HANDLED and line.in_boot.failure is not None:
        late_touch.expect_sharers(line, late_touch.anchor_ns(line, line.in_boot.failure))
        read_again.sharers_changed(line)

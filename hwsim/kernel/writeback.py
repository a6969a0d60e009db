"""When dirty data goes to the disk: the flusher (fs/fs-writeback.c, mm/page-writeback.c; 2.6.30, 2.6.32).

An inode has the time of its first dirtying since it was clean, ``dirtied_when``.  The flusher wakes every
vm.dirty_writeback_centisecs (W) and writes all pages of every inode that has been dirty for
vm.dirty_expire_centisecs (E) or longer: a quiet file is written E to E + W after its first store.  fsync()
and sync() write at once.  Where the inode is clean then, its age starts anew.  A write-out takes no
time here, so no store falls into one by chance; stores while a script has a page under writeback leave
dirtied_when as it was, as __mark_inode_dirty() does.

**The law.**  Nobody steps through the stores.  Stores to the inode, of r a second together, are a Poisson
stream: clean at c (a wake, or a call), it is dirtied at d = c + X with X exponential of rate r, and written
at the first wake at or after d + E, or at the first call after d.  A call by chance is taken to leave the
inode clean, whatever was before (a script's goes by :func:`writes_inode`), so what comes after it is a
function of its time alone.  Between calls the write-outs are a renewal process on the grid of the wakes: a
cycle has N = ceil((X + E) / W) wakes, at least n = ceil(E / W),

    P(N > j) = 1 for j < n, exp(-r (j W - E)) from there on;   E[N] = n + exp(-r (n W - E)) / (1 - exp(-r W)).

Looked at long after the last known write-out, the last one was j wakes ago with probability P(N > j) / E[N],
and X is then max(0, j W - E) and an exponential more: the stationary law, from which the process goes on
exactly.  The share of time in which the inode is dirty is 1 - 1 / (r W E[N]): for rare writers, whose d falls
anywhere between two wakes, (E + W / 2) / (E + W / 2 + 1 / r); one that is stored to all the time is written
every n + 1 wakes if E is a multiple of W (35 s by default), as at the n-th it is a moment too young.

Who stored at d is one draw in proportion to the rates, so that all pages agree on it.  Pages with a bad line
stand apart: their next stores are drawn one by one (``advance_state``) and marked here when they come.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field

from mypy_extensions import trait

from hwsim.elementary import added, exp, expm1, log1p
from hwsim.kernel.frames import Layout
from hwsim.rng import Slot

_FAR = 64  # mean cycles after which the last known write-out tells nothing about the present


class Flusher:
    """The kernel's periodic writeback: one timer for all devices.

    ``interval_ns`` 0: none, and :meth:`wake_ns` gives None.  6.1 arms its work when the first inode of a
    device is dirtied: there the wakes follow from ``dirtied_when``, and this class is what a profile of it
    replaces.  ``sync`` is the (phase, period) of a sync() that comes by chance: it writes every inode.
    """

    __slots__ = ("changed_ns", "expire_ns", "interval_ns", "next_ns", "sync")

    def __init__(
        self, next_ns: int, interval_ns: int, expire_ns: int, sync: tuple[int, int] | None = None
    ) -> None:
        self.interval_ns = interval_ns
        self.expire_ns = expire_ns
        self.next_ns: int | None = next_ns if interval_ns else None  # a wake to count from
        self.changed_ns = 0  # when a sysctl was written: earlier wakes went by other rules
        self.sync = sync

    def wake_ns(self, since_ns: int) -> int | None:
        """The first wake at or after ``since_ns``."""
        if self.next_ns is None or since_ns <= self.next_ns:
            return self.next_ns
        return since_ns + (self.next_ns - since_ns) % self.interval_ns if self.interval_ns else None

    def set_expire(self, now_ns: int, expire_ns: int) -> None:
        """The next wake goes by another age."""
        self.expire_ns, self.changed_ns = expire_ns, now_ns

    def rearm(self, now_ns: int, interval_ns: int) -> None:
        """pdflush: writing vm.dirty_writeback_centisecs sets the timer anew, or deletes it."""
        self.next_ns = now_ns + interval_ns if interval_ns else None
        self.interval_ns, self.changed_ns = interval_ns, now_ns

    def sleep_on(self, now_ns: int, interval_ns: int) -> None:
        """The thread of 2.6.32 sleeps on to its next wake; one that sleeps for ever is not woken.

        With an interval of 0 the release itself spun instead of sleeping, which was mended later.
        """
        self.next_ns = self.wake_ns(now_ns + 1)
        self.interval_ns, self.changed_ns = interval_ns, now_ns


@trait
class Stored:
    """What an inode has to know of the pages of its file; a Region does."""

    __slots__ = ()
    layout: Layout
    since_ns: int

    def stores_before(self, end: int) -> float:
        """Stores per ns to the pages below ``end``, by write() and through all mappings."""
        raise NotImplementedError

    def stores_to(self, pgoff: int) -> float:
        """Stores per ns to one page, by write() and through all mappings."""
        raise NotImplementedError


@dataclass(slots=True, eq=False)
class Inode:
    """struct inode of a file with dirty accounting, as far as writeback goes.

    ``clean_ns`` is when all its pages were last clean: at the boot, or at its last write-out.
    ``calls`` are the (phase, period) of the fsync() and sync() that come by chance.  Life: one a boot;
    :meth:`advance` brings it up to now before anybody looks at it.
    """

    _region: Stored
    _flusher: Flusher
    clean_ns: int
    _uniform: Callable[[int, int], float]
    calls: list[tuple[int, int]] = field(init=False)
    _expire_ns: int | None = field(init=False)  # None: as vm.dirty_expire_centisecs says; 0: never
    _marked_ns: int | None = None  # first store since it was clean that is known
    _others_ns: int | None = None  # first store since then to a page that does not stand apart
    _draw_from_ns: int | None = field(init=False)  # that store is not drawn yet: it comes after this
    _apart: dict[int, float] = field(default_factory=dict)  # page offset -> stores per ns
    _many_apart: dict[int, int] = field(default_factory=dict)  # page offset -> how many like that one
    _rate: float | None = None  # stores per ns to all other pages
    _rates_are_old: bool = False
    _as_of_ns: int = -1  # brought up to then; no store has been marked since, nor a write-out

    def __post_init__(self) -> None:
        self.calls = [] if self._flusher.sync is None else [self._flusher.sync]
        self._expire_ns = self._region.layout.flush_every_ns
        self._draw_from_ns = self.clean_ns

    # -- the clock ----------------------------------------------------------------------------------

    def advance(self, now_ns: int) -> None:
        """Bring the inode up to now."""
        if now_ns == self._as_of_ns and not self._rates_are_old and now_ns != self._flusher.changed_ns:
            return
        self._write_until(now_ns)
        if self._rates_are_old:
            self._rates_are_old = False
            if self._others is None or self._others > now_ns:
                self._draw_from_ns = now_ns
        self._as_of_ns = now_ns

    def _write_until(self, time_ns: int) -> None:
        call = self._last_call_ns(time_ns)
        if call is not None and call > self.clean_ns:
            self._clean(call)
        if self._is_far(time_ns):
            self._draw_stationary(time_ns)
        while (due := self._due_ns()) is not None and due <= time_ns:
            self._clean(due)

    def clean_at(self, now_ns: int) -> int:
        """When, up to now, all its pages were last clean."""
        self.advance(now_ns)
        return self.clean_ns

    def dirtied_when(self, now_ns: int) -> int | None:
        """The time of its first dirtying since it was clean; None if it is clean.  It is up to now."""
        dirtied = self._first(self._marked_ns, self._others)
        return dirtied if dirtied is not None and dirtied <= now_ns else None

    def next_writeout_ns(self, now_ns: int) -> int | None:
        """When the inode, dirty now, is written next; None if never."""
        return self._first(self._due_ns(), self.next_call_ns(now_ns))

    def mark_dirty(self, dirtied_ns: int) -> None:
        """__mark_inode_dirty(I_DIRTY_PAGES): a page was stored to, now or since somebody looked last."""
        self._write_until(dirtied_ns)  # what was written before does not make up for this store
        if dirtied_ns >= self.clean_ns:
            self._marked_ns = self._first(self._marked_ns, dirtied_ns)
            self._as_of_ns = -1

    def written(self, now_ns: int, *, whole_inode: bool = True) -> None:
        """All its pages are written now.

        ``whole_inode`` False: I_DIRTY_PAGES and dirtied_when stay, so the next store is taken to be as old as
        those before it (:func:`writes_inode`).
        """
        self.advance(now_ns)
        dirtied = self.dirtied_when(now_ns)
        self._clean(now_ns)
        if not whole_inode:
            self._marked_ns = dirtied
        self._as_of_ns = -1

    def _clean(self, now_ns: int) -> None:
        self.clean_ns = self._draw_from_ns = now_ns
        self._marked_ns = None

    def _due_ns(self) -> int | None:
        """The wake that finds the inode old enough: inode_dirtied_after() of now - E is false."""
        if not self._flusher_writes:
            return None
        dirtied = self._first(self._marked_ns, self._others)
        if dirtied is None:
            return None
        return self._flusher.wake_ns(max(dirtied + self._expire, self._flusher.changed_ns))

    @property
    def _expire(self) -> int:
        return self._flusher.expire_ns if self._expire_ns is None else self._expire_ns

    @property
    def _flusher_writes(self) -> bool:
        return self._expire_ns != 0 and self._flusher.next_ns is not None

    @property
    def _others(self) -> int | None:
        if self._draw_from_ns is not None:
            since_ns, self._draw_from_ns = self._draw_from_ns, None
            rate = self._stores_per_ns()
            u = self._uniform(Slot.DIRTIED_WHEN, since_ns) if rate > 0.0 else 0.0
            self._others_ns = since_ns + int(-log1p(-u) / rate) + 1 if rate > 0.0 else None
        return self._others_ns

    @staticmethod
    def _first(one: int | None, other: int | None) -> int | None:
        if one is None or other is None:
            return other if one is None else one
        return min(one, other)

    # -- the stationary law ---------------------------------------------------------------------------

    def _is_far(self, now_ns: int) -> bool:
        interval_ns = self._flusher.interval_ns
        elapsed_ns = now_ns - max(self.clean_ns, self._flusher.changed_ns)
        span_ns = self._expire + interval_ns // 2
        if not self._flusher_writes or not interval_ns or elapsed_ns <= _FAR * span_ns:
            return False
        rate = self._stores_per_ns()
        return rate > 0.0 and elapsed_ns > _FAR * (span_ns + 1.0 / rate)

    def _draw_stationary(self, now_ns: int) -> None:
        flusher, rate = self._flusher, self._stores_per_ns()
        interval_ns, expire_ns = flusher.interval_ns, self._expire
        least = -(-expire_ns // interval_ns)
        later = exp(-rate * (least * interval_ns - expire_ns)) / -expm1(-rate * interval_ns)
        nth = self._uniform(Slot.WRITTEN_OUT, now_ns) * (least + later)
        if nth >= least:
            nth = least - log1p(-(nth - least) / later) / (rate * interval_ns)
        wake = flusher.wake_ns(now_ns + 1)
        assert wake is not None
        cleaned = wake - (1 + int(nth)) * interval_ns
        self._clean(max(cleaned, self.clean_ns, flusher.changed_ns))
        self._draw_from_ns = self.clean_ns + max(0, int(nth) * interval_ns - expire_ns)

    # -- fsync() and sync() by chance -----------------------------------------------------------------

    def call_begins(self, now_ns: int, phase_ns: int, period_ns: int) -> tuple[int, int]:
        """Somebody calls at the ticks of this phase and period that are to come; for :meth:`call_ends`."""
        self.advance(now_ns)
        call = next_tick_ns(now_ns, phase_ns, period_ns), period_ns
        self.calls.append(call)
        return call

    def call_ends(self, now_ns: int, call: tuple[int, int]) -> None:
        """Who has called is gone."""
        self.advance(now_ns)
        self.calls.remove(call)

    def _last_call_ns(self, now_ns: int) -> int | None:
        """The latest call at or before now."""
        times = [now_ns - (now_ns - phase) % period for phase, period in self.calls if phase <= now_ns]
        return max(times, default=None)

    def next_call_ns(self, now_ns: int) -> int | None:
        """The first call after now."""
        return min((next_tick_ns(now_ns, *call) for call in self.calls), default=None)

    def next_wake_ns(self, since_ns: int) -> int | None:
        """The first wake of the flusher at or after ``since_ns``, if it ever writes this inode."""
        return self._flusher.wake_ns(since_ns) if self._flusher_writes else None

    def dirty_span_ns(self) -> int:
        """About how long a page could stay dirty before the last write-out."""
        spans = [period for _, period in self.calls]
        if self._flusher_writes:
            spans.append(self._expire + self._flusher.interval_ns // 2)
        return min(spans, default=self.clean_ns - self._region.since_ns)

    # -- who stores ---------------------------------------------------------------------------------

    def first_store_ns(self, now_ns: int) -> int | None:
        """The first store since ``clean_ns`` to a page that does not stand apart, if it has come."""
        return self._others if self._others is not None and self._others <= now_ns else None

    def stored_first(self, pgoff: int) -> float | None:
        """Whether that store was to this page: None, or a draw below the page's stores per ns."""
        nth = self._nth_store() - self._region.stores_before(pgoff)
        return nth if 0.0 <= nth < self._region.stores_to(pgoff) else None

    def first_stored(self) -> int:
        """The page offset that it was to."""
        pages = self._region.layout.pages
        return bisect_right(range(pages), self._nth_store(), key=self._region.stores_before) - 1

    def _nth_store(self) -> float:
        total = self._region.stores_before(self._region.layout.pages)
        return self._uniform(Slot.DIRTIED_BY, self.clean_ns) * total

    def rates_changed(self) -> None:
        """Other tasks map the file than before."""
        self._rate = None
        self._rates_are_old = True

    def look_after(self, pgoff: int) -> None:
        """A page with a bad line stands apart: somebody else draws the stores to it from now on."""
        if pgoff not in self._apart:
            self._apart[pgoff] = self._region.stores_to(pgoff)
            self._rates_are_old = True
            if self._rate is not None:
                self._rate = max(0.0, self._rate - self._apart[pgoff])

    def take_back(self, pgoff: int) -> None:
        """The page is one of many again."""
        stores = self._apart.pop(pgoff, None)
        if stores is not None:
            self._rates_are_old = True
            if self._rate is not None:
                self._rate += stores

    def look_after_many(self, pgoff: int, pages: int) -> None:
        """So many more pages stand apart, all stored to as often as this one; fewer, if it is negative."""
        self._many_apart[pgoff] = self._many_apart.get(pgoff, 0) + pages
        self._rates_are_old = True
        if self._rate is not None:
            self._rate = max(0.0, self._rate - pages * self._region.stores_to(pgoff))

    def _stores_per_ns(self) -> float:
        if self._rate is None:
            self._apart = {pgoff: self._region.stores_to(pgoff) for pgoff in self._apart}
            total = self._region.stores_before(self._region.layout.pages)
            many = (pages * self._region.stores_to(pgoff) for pgoff, pages in self._many_apart.items())
            self._rate = max(0.0, total - added(self._apart.values()) - added(many))
        return self._rate


def next_tick_ns(now_ns: int, phase_ns: int, period_ns: int) -> int:
    """The first tick after now of what happens at ``phase_ns`` and every ``period_ns`` from there on."""
    return phase_ns if now_ns < phase_ns else now_ns + period_ns - (now_ns - phase_ns) % period_ns

"""Corrected errors on their way to a log, step by step as the kernel takes them: what the closed forms of
``kernel/mce/poll.py``, ``kernel/mce/cmci.py`` and ``kernel/mce/mcelog.py`` are held against."""

from __future__ import annotations

from collections.abc import Sequence

from hwsim.kernel.mce.cmci import NUM_HISTORY_BITS, POLL_NS, STORM_BEGIN_THRESHOLD, STORM_END_POLL_THRESHOLD
from hwsim.kernel.mce.mcelog import MCE_LOG_LEN
from hwsim.kernel.mce.poll import CHECK_INTERVAL_NS, mcheck_timer

_HISTORY = (1 << NUM_HISTORY_BITS) - 1
_LAST_POLLS = (1 << (STORM_END_POLL_THRESHOLD + 1)) - 1


def polls(times_ns: Sequence[int], until_ns: int) -> list[tuple[int, int]]:
    """Poll by poll, those that find something: (time, errors since the last poll); times ascend."""
    found, at, interval, next_error = [], CHECK_INTERVAL_NS, CHECK_INTERVAL_NS, 0
    while at < until_ns:
        first = next_error
        while next_error < len(times_ns) and times_ns[next_error] < at:
            next_error += 1
        if next_error > first:
            found.append((at, next_error - first))
        interval = mcheck_timer(interval, next_error > first)
        at += interval
    return found


class StormBank:
    """struct storm_bank and mce_track_storm().

    Life: calm, where it is read at an interrupt -> five errors within the history: ``in_storm_mode``, where
    it is read every second -> 30 empty polls: calm, with an empty history.
    """

    __slots__ = ("history", "in_storm_mode", "timestamp_ns")

    def __init__(self) -> None:
        self.history = 0
        self.timestamp_ns = 0
        self.in_storm_mode = False

    def mce_track_storm(self, now_ns: int, corrected: bool) -> str:
        """The bank is read: "begin" or "end" when that changes its mode, else nothing."""
        shift = 1 if self.in_storm_mode else (now_ns - self.timestamp_ns + POLL_NS) // POLL_NS
        self.history = self.history << shift & _HISTORY if shift < NUM_HISTORY_BITS else 0
        self.timestamp_ns = now_ns
        self.history |= corrected
        if self.in_storm_mode:
            if self.history & _LAST_POLLS:
                return ""
            self.history, self.in_storm_mode = 0, False
            return "end"
        if self.history.bit_count() < STORM_BEGIN_THRESHOLD:
            return ""
        self.in_storm_mode = True
        return "begin"


def interrupts(times_ns: Sequence[int], until_ns: int) -> list[int]:
    """When the kernel reads a record, error by error and poll by poll, storms and all; times ascend."""
    bank, number, poll = StormBank(), 0, 0
    read: list[int] = []
    while True:
        if not bank.in_storm_mode:
            if number == len(times_ns) or times_ns[number] >= until_ns:
                return read
            now, number = times_ns[number], number + 1
            read.append(now)
            if bank.mce_track_storm(now, True):
                poll = now + POLL_NS
            continue
        if poll >= until_ns:
            return read
        first = number
        while number < len(times_ns) and times_ns[number] < poll:
            number += 1
        if number > first:
            read.append(poll)
        bank.mce_track_storm(poll, number > first)
        poll += POLL_NS


class McelogBuffer:
    """struct mce_log.  Life: :meth:`mce_log` until it is full -> :meth:`mce_read` empties it."""

    __slots__ = ("overflow", "records", "size")

    def __init__(self, size: int = MCE_LOG_LEN) -> None:
        self.size = size
        self.records: list[object] = []
        self.overflow = False

    def mce_log(self, record: object) -> bool:
        """Keep a record; False if the buffer is full."""
        if len(self.records) >= self.size:
            self.overflow = True
            return False
        self.records.append(record)
        return True

    def mce_read(self) -> list[object]:
        """All records, for the reader; the buffer is empty again."""
        records, self.records, self.overflow = self.records, [], False
        return records

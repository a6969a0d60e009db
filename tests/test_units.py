from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim import units
from hwsim.units import Rate, UnitError


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("24 h", 86_400_000_000_000),
        ("90 d", 7_776_000_000_000_000),
        ("5 min", 300_000_000_000),
        ("10 s", 10_000_000_000),
        ("2 ms", 2_000_000),
        ("100 us", 100_000),
        ("100 µs", 100_000),
        ("7 ns", 7),
        ("1 y", 365 * 86_400 * 10**9),
        ("2 w", 14 * 86_400 * 10**9),
        ("1.5h", 5_400_000_000_000),
        ("  0.1 s ", 100_000_000),
        ("1_000 s", 10**12),
        ("1e3 s", 10**12),
        ("3 days", 3 * 86_400 * 10**9),
        ("0 s", 0),
    ],
)
def test_durations(text: str, ns: int) -> None:
    assert units.parse_duration(text) == ns


@pytest.mark.parametrize(
    ("text", "size"),
    [("64 GiB", 64 << 30), ("512 MiB", 512 << 20), ("4KiB", 4096), ("1.5 KiB", 1536), ("0 B", 0)],
)
def test_bytes(text: str, size: int) -> None:
    assert units.parse_bytes(text) == size


def test_pages_are_whole() -> None:
    assert units.parse_pages("1 MiB") == 256
    with pytest.raises(UnitError, match="not a whole number of pages"):
        units.parse_pages("5 KiB")


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("2 / day", Rate(2 / 86_400)),
        ("1 / 6 h", Rate(1 / 21_600)),
        ("0.2 / s", Rate(0.2)),
        ("3 / GiB / day", Rate(3 / 86_400, per_gib=True)),
        ("3/d/GiB", Rate(3 / 86_400, per_gib=True)),
        ("never", Rate(0.0)),
        ("0 / s", Rate(0.0)),
        ("1 / 3333 y", Rate(1 / (3333 * 31_536_000))),  # longer than any run
    ],
)
def test_rates(text: str, rate: Rate) -> None:
    assert units.parse_rate(text) == pytest.approx(rate)


@pytest.mark.parametrize(("value", "share"), [("70 %", 0.7), ("0.5%", 0.005), (0.7, 0.7), (1, 1.0), (0, 0.0)])
def test_shares(value: object, share: float) -> None:
    assert units.parse_share(value) == share


@pytest.mark.parametrize(
    ("parse", "value", "message", "nearby"),
    [
        (units.parse_duration, "24", "a duration needs a unit", None),
        (units.parse_duration, 24, "a duration needs a unit", None),
        (units.parse_duration, True, "a duration must be a text", None),
        (units.parse_duration, "soon", "not a duration", None),
        (units.parse_duration, "-1 s", "a duration cannot be negative", None),
        (units.parse_duration, "5 m", 'unknown unit "m"', "5 min"),
        (units.parse_duration, "5 Hours", 'unknown unit "Hours"', "5 h"),
        (units.parse_duration, "0.1 ns", "shorter than one nanosecond", None),
        (units.parse_duration, "1e9 y", "longer than hwsim can count", None),
        (units.parse_bytes, "64 GB", 'unknown unit "GB"', "64 GiB"),
        (units.parse_bytes, "64G", 'unknown unit "G"', "64 GiB"),
        (units.parse_bytes, "0.3 B", "not a whole number of bytes", None),
        (units.parse_bytes, "9999 PiB", "more than hwsim can count", None),
        (units.parse_rate, "2", "a rate needs a time", "2 / day"),
        (units.parse_rate, 2, "a rate needs a time", "2 / day"),
        (units.parse_rate, "2 / dayy", 'unknown unit "dayy"', "2 / d"),
        (units.parse_rate, "1 / 0 s", "the time of a rate cannot be zero", None),
        (units.parse_rate, "1 / GiB", "a rate has one time and at most one GiB", None),
        (units.parse_rate, "1 / GiB / GiB / s", "a rate has one time and at most one GiB", None),
        (units.parse_rate, "-1 / s", "a rate cannot be negative", None),
        (units.parse_share, 70, "outside 0 to 1", "70 %"),
        (units.parse_share, "170 %", "outside 0 to 1", None),
        (units.parse_share, float("nan"), "outside 0 to 1", None),
        (units.parse_share, "0.7", "not a share", None),
        (units.parse_share, True, "not a share", None),
    ],
)
def test_mistakes_say_what_is_allowed(parse: object, value: object, message: str, nearby: str | None) -> None:
    assert callable(parse)
    with pytest.raises(UnitError) as caught:
        parse(value)
    assert caught.value.message == message
    assert caught.value.nearby == nearby
    assert caught.value.allowed
    assert caught.value.allowed in str(caught.value)


@given(st.integers(0, units.MAX_NS))
def test_a_duration_survives_being_written_and_read(ns: int) -> None:
    assert units.parse_duration(units.format_duration(ns)) == ns


@given(st.integers(0, units.MAX_BYTES))
def test_a_size_survives_being_written_and_read(size: int) -> None:
    assert units.parse_bytes(units.format_bytes(size)) == size


@given(st.floats(1e-12, 1e6), st.booleans())
def test_a_rate_survives_to_six_digits(per_s: float, per_gib: bool) -> None:
    again = units.parse_rate(units.format_rate(Rate(per_s, per_gib)))
    assert again.per_gib == per_gib
    assert again.per_s == pytest.approx(per_s, rel=1e-5)


@given(st.integers(1, units.MAX_NS))
def test_a_duration_for_people_is_right_to_its_digits(ns: int) -> None:
    assert units.parse_duration(units.human_duration(ns)) == pytest.approx(ns, rel=6e-3)


@given(st.text(max_size=20))
def test_no_text_breaks_the_readers(text: str) -> None:
    for parse in (units.parse_duration, units.parse_bytes, units.parse_rate, units.parse_share):
        try:
            parse(text)
        except UnitError as error:
            assert error.allowed  # noqa: PT017 - the point is that no other error comes out


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0 s"),
        (59_999_999_999, "1 min"),
        (5_430_000_000, "5.43 s"),
        (18_000_000_000_000, "5 h"),
        (1, "1 ns"),
    ],
)
def test_durations_for_people(ns: int, text: str) -> None:
    assert units.human_duration(ns) == text


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (1023, "1023 B"), (1_500_000, "1.43 MiB"), (64 << 30, "64 GiB")]
)
def test_sizes_for_people(size: int, text: str) -> None:
    assert units.human_bytes(size) == text

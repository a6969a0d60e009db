"""The sampler of DRAM faults against published numbers and closed forms; seeds are fixed."""

from __future__ import annotations

import json
from dataclasses import replace
from math import exp, expm1, sqrt
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest
from typer.testing import CliRunner, Result

from hwsim.cli.main import app
from hwsim.hardware.dram.dimms import GEOMETRIES
from hwsim.hardware.dram.fault_model import FaultModel
from hwsim.hardware.dram.fault_sampler import BATCH_DIMMS, FaultCounts, sample_faults
from hwsim.hardware.dram.fit_tables import FIT_TABLES, FIXED, FaultRate
from hwsim.scenario import ScenarioError, load

ALPHA = 1e-4  # chance that one test of a correct sampler fails with another seed
STOCK = Path(__file__).parents[2] / "scenarios" / "faults" / "ddr2-jaguar.toml"
FIELD = STOCK.with_name("ddr4-alibaba.toml")
JAGUAR = FaultModel(GEOMETRIES["ddr2-faultsim"], FIT_TABLES["jaguar"], "secded", 7.0, 3.0)
DIMMS = 20_000_000


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def uncorrected(counts: FaultCounts) -> int:
    return sum(counts.uncorrected_in_year)


@pytest.mark.parametrize(
    ("ecc", "scrub_h", "published", "error"),
    [
        ("secded", 3.0, 0.036095, 4.8e-5),  # FaultSim v0.1 alpha, 15 million DIMMs
        ("chipkill", 3.0, 3.655e-4, 5.3e-6),  # FaultSim of 2019, which mends the order of events
        ("chipkill", 3.0, 3.6045e-4, 1.1e-6),  # a vectorised sampler of the same model, 300 million DIMMs
        ("chipkill", None, 4.7352e-4, 1.3e-6),  # the same
        ("chipkill", None, 4.747e-4, 5.6e-6),  # the alpha, whose scrubber never fires under chipkill
    ],
)
def test_the_stock_case_of_faultsim(ecc: str, scrub_h: float | None, published: float, error: float) -> None:
    counts = sample_faults(replace(JAGUAR, ecc=ecc, scrub_h=scrub_h), DIMMS, 1)
    share = uncorrected(counts) / DIMMS
    assert abs(share - published) < 3.9 * sqrt(share / DIMMS + error**2)
    any_fault = 1.0 - exp(-18 * 66.1e-9 * 7 * 8760)
    assert binomtest(counts.faulty, DIMMS, any_fault).pvalue > ALPHA


def test_secded_fails_at_the_first_fault_wider_than_a_bit() -> None:
    wide = 66.1 - 14.2 - 18.6
    counts = sample_faults(JAGUAR, DIMMS, 2)
    assert binomtest(uncorrected(counts), DIMMS, 1 - exp(-18 * wide * 1e-9 * 7 * 8760)).pvalue > ALPHA


@pytest.mark.parametrize(("ecc", "power"), [("secded", 1), ("chipkill", 2)])
def test_growth_in_time(ecc: str, power: int) -> None:
    """Half of the time gives a half of SECDED's failures, and a quarter of those of chipkill."""
    counts = sample_faults(replace(JAGUAR, ecc=ecc, years=6.0), DIMMS, 3)
    early = sum(counts.uncorrected_in_year[:3])
    # Four standard errors of the share, and what 1 - exp(-x) bends away from a straight line in six years.
    total = uncorrected(counts)
    share, wanted = early / total, 0.5**power
    assert share == pytest.approx(wanted, abs=4 * sqrt(wanted * (1 - wanted) / total) + (power == 1) * 0.008)


# -- a plain second way: one DIMM at a time, one fault at a time -------------------------------------------


def plainly(model: FaultModel, trials: int, seed: int) -> int:
    """DIMMs with an uncorrectable pattern, by walking over every pair of every DIMM's faults."""
    draw, geometry, failed = np.random.default_rng(seed), model.geometry, 0
    kinds = model.kinds()
    rates = [fit * model.hours / 1e9 for _, _, fit in kinds]
    sizes = {
        "subchannel": geometry.subchannels, "rank": geometry.ranks, "row": geometry.rows,
        "bank": geometry.bank_groups * geometry.banks, "column": geometry.columns,
    }  # fmt: skip
    beats = 2 if model.ecc in ("chipkill", "sddc") else 1
    for _ in range(trials):
        faults, lost = [], False
        for (rate, permanent, _), mean in zip(kinds, rates, strict=True):
            for _ in range(draw.poisson(mean)):
                at = {name: int(draw.integers(size)) for name, size in sizes.items()}
                hour = draw.random() * model.hours
                sweep = model.scrub_h
                end = 1e99 if permanent or sweep is None else (hour // sweep + 1) * sweep
                chip, pin = draw.integers(geometry.chips_per_rank), draw.integers(geometry.chip_width_bits)
                faults.append((rate.mode, at, hour, end, chip, pin))
                lost |= bool(draw.random() < model.alone(rate))
        for number, (mode, at, begin, end, chip, pin) in enumerate(faults):
            for mode2, at2, begin2, end2, chip2, pin2 in faults[:number]:
                if "bit" in (mode, mode2) and model.on_die:
                    continue
                fixed = ({*FIXED[mode]} & {*FIXED[mode2]}) - {"bit"} | {"subchannel"}
                apart = any(
                    at[name] // (beats if name == "column" else 1)
                    != at2[name] // (beats if name == "column" else 1)
                    for name in fixed
                )
                same_bit = mode == mode2 == "bit" and pin == pin2
                alike = chip == chip2 and (model.ecc != "secded" or same_bit)
                lost |= not apart and not alike and begin < end2 and begin2 < end
        failed += lost
    return failed


@pytest.mark.parametrize("on_die", [False, True])
@pytest.mark.parametrize("ecc", ["secded", "chipkill", "sddc"])
@pytest.mark.parametrize(
    "modes", [("bit",), ("bit", "word", "column"), ("row", "column", "bank", "multi_bank")]
)
@pytest.mark.parametrize("technology", ["DDR2", "DDR5"])
def test_the_sampler_is_the_plain_way(
    technology: str, modes: tuple[str, ...], ecc: str, on_die: bool
) -> None:
    """Small chips that fail often: 1,500 DIMMs plainly, 150,000 at once; each test is off by chance 1e-4."""
    preset = GEOMETRIES["ddr5-2socket" if technology == "DDR5" else "ddr2-faultsim"]
    small = replace(preset, rows=4, columns=8, banks=2, bank_groups=1, ranks=2)
    rates = tuple(FaultRate(mode, 2e5 / len(modes), 5e5 / len(modes), 0.05) for mode in modes)
    model = FaultModel(small, rates, ecc, 0.02, 30.0, on_die=on_die)
    assert 1.0 < model.faults_per_dimm < 20.0
    one, many = 1_500, 150_000
    counts = (plainly(model, one, 1), uncorrected(sample_faults(model, many, 2)))
    pooled = sum(counts) / (one + many)
    error = sqrt(pooled * (1 - pooled) * (1 / one + 1 / many))
    assert abs(counts[0] / one - counts[1] / many) <= 3.9 * error + 1e-9


@pytest.mark.parametrize("number", range(len(FIT_TABLES["alibaba"])))
def test_each_structural_fault_has_its_share_of_uncorrected_errors(number: int) -> None:
    """P(UE | mode) of Alibaba's logs, row by row, under the code as built; pairs are too rare to show."""
    rate = FIT_TABLES["alibaba"][number]
    model = FaultModel(GEOMETRIES["ddr2-faultsim"], (rate,), "sddc", 0.5, 24.0, fit_factor=10.0)
    assert rate.ue_share is not None
    counts = sample_faults(model, 20_000_000 if rate.ue_share < 0.01 else 5_000_000, 40 + number)
    assert binomtest(uncorrected(counts), counts.faulty, rate.ue_share).pvalue > ALPHA / 18 or (
        abs(uncorrected(counts) / counts.faulty / rate.ue_share - 1) < 0.02
    )


def test_a_channel_fails_once_however_many_chips_hang_on_it() -> None:
    rate = FaultRate("channel", 0.0, 1e3)
    wanted = -expm1(-1e3 * 1e-9 * 8760)
    for ranks in (1, 4):
        model = FaultModel(replace(TINY, ranks=ranks), (rate,), "chipkill", 1.0, None)
        counts = sample_faults(model, 1_000_000, 3)
        assert uncorrected(counts) == counts.faulty
        assert binomtest(counts.faulty, 1_000_000, wanted).pvalue > ALPHA
    shared = FaultModel(TINY, (rate._replace(ue_share=0.25),), "sddc", 1.0, None)
    counts = sample_faults(shared, 1_000_000, 3)
    assert 0 < uncorrected(counts) / counts.faulty - 0.25 < 4 * sqrt(0.25 * 0.75 / counts.faulty) + 0.01


def test_a_dimm_of_ddr5_has_two_subchannels() -> None:
    model = FaultModel(GEOMETRIES["ddr5-2socket"], FIT_TABLES["jaguar"], "chipkill", 7.0, 3.0)
    assert model.chips == 20
    counts = sample_faults(model, 5_000_000, 9)
    assert binomtest(counts.faulty, 5_000_000, -expm1(-20 * 66.1e-9 * 7 * 8760)).pvalue > ALPHA


def test_many_faults_a_dimm_take_small_batches() -> None:
    """Each DIMM has 60 faults: the memory and the time of a batch stay bounded."""
    model = replace(JAGUAR, ecc="chipkill", fit_factor=60.0 / JAGUAR.faults_per_dimm)
    counts = sample_faults(model, 3_000, 1)
    assert counts.faulty == 3_000


PLACES = {"rank": 2, "bank": 4, "row": 8, "column": 16}
TINY = replace(GEOMETRIES["ddr2-faultsim"], ranks=2, banks=4, rows=8, columns=32)


BY_CHIP = [mode for mode in FIXED if mode != "channel"]  # which is of all chips, and alone enough


@pytest.mark.parametrize("first", BY_CHIP)
@pytest.mark.parametrize("second", BY_CHIP)
def test_two_faults_meet_where_no_fixed_coordinate_differs(first: str, second: str) -> None:
    """Chipkill without scrubbing: each pair of modes against the product of its coordinates."""
    rates = (FaultRate(first, 0.0, 4_000.0), FaultRate(second, 0.0, 4_000.0))
    model = FaultModel(TINY, rates, "chipkill", 0.01, None)
    per_dimm = 4_000e-9 * 87.6 * 36  # of each of the two
    both = {name for name in PLACES if name in FIXED[first] and name in FIXED[second]}
    meet = dict.fromkeys(("both", first, second), 1.0)
    for name, count in PLACES.items():
        meet["both"] /= count if name in both else 1
    once = [1.0, 1.0]
    for number, mode in enumerate((first, second)):
        for name, count in PLACES.items():
            once[number] /= count if name in FIXED[mode] else 1
    pairs = per_dimm**2 * (meet["both"] + 0.5 * once[0] + 0.5 * once[1]) * 17 / 18
    trials = 2_000_000
    found = uncorrected(sample_faults(model, trials, 4))
    assert found == pytest.approx(trials * pairs, abs=4.5 * sqrt(trials * pairs) + 0.03 * trials * pairs + 3)


def test_scrubbing_clears_transients_only() -> None:
    transient = replace(JAGUAR, ecc="chipkill", permanent=False, fit_factor=30.0)
    permanent = replace(transient, permanent=True, transient=False)
    trials = 2_000_000
    swept, kept = (uncorrected(sample_faults(replace(transient, scrub_h=h), trials, 5)) for h in (3.0, None))
    assert kept > 1_000
    assert swept < kept / 500
    same = [uncorrected(sample_faults(replace(permanent, scrub_h=h), trials, 5)) for h in (3.0, None)]
    assert same[0] == same[1] > 1_000


def test_no_code_fails_with_every_fault_and_no_fault_with_none() -> None:
    counts = sample_faults(replace(JAGUAR, ecc="none"), 1_000_000, 6)
    assert uncorrected(counts) == counts.faulty > 0
    nothing = replace(JAGUAR, transient=False, permanent=False)
    assert sample_faults(nothing, 1_000_000, 6) == (1_000_000, 0, (0,) * 7)


def test_alibaba_gives_the_rates_of_the_field() -> None:
    """1.7 % of DIMMs a year with a fault; 2 % of these with an uncorrected error: 683 of 34,606."""
    table = FIT_TABLES["alibaba"]
    assert sum(x.transient_fit + x.permanent_fit for x in table) == pytest.approx(109.4, abs=0.1)
    scenario = load(FIELD)
    assert scenario.dram is not None
    counts = sample_faults(scenario.dram.to_model(), 10_000_000, 7)
    assert counts.faulty / counts.trials == pytest.approx(0.0171, abs=0.0002)
    assert uncorrected(counts) / counts.faulty == pytest.approx(683 / 34_606, abs=0.0015)


def test_the_tables_add_up_to_what_their_sources_say() -> None:
    """66.1 FIT a chip on Jaguar (SC'12); of Alibaba's 34,606 classified faults 19,915 are permanent."""
    totals = {
        name: (sum(x.transient_fit for x in table), sum(x.permanent_fit for x in table))
        for name, table in FIT_TABLES.items()
    }
    assert totals["jaguar"] == pytest.approx((19.2, 46.9))
    transient, permanent = totals["alibaba"]
    assert permanent / (transient + permanent) == pytest.approx(19_915 / 34_606, abs=1e-3)


def test_the_same_seed_gives_the_same_counts_in_batches_of_any_number() -> None:
    trials = 2 * BATCH_DIMMS + 7
    assert sample_faults(JAGUAR, trials, 8) == sample_faults(JAGUAR, trials, 8)
    assert sample_faults(JAGUAR, trials, 8) != sample_faults(JAGUAR, trials, 9)


def test_json_has_its_keys() -> None:
    result = invoke("faults", str(STOCK), "--trials", "1000000", "--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert {"p_any_fault", "p_uncorrected", "p_by_year", "trials_per_second"} <= set(found)
    assert len(found["p_by_year"]) == 7
    for each in (found["p_any_fault"], found["p_uncorrected"], *found["p_by_year"]):
        assert each["low"] <= each["estimate"] <= each["high"]
        assert each["n"] == 1_000_000
    assert found["p_by_year"][-1]["estimate"] == found["p_uncorrected"]["estimate"]


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("dram.rows=1000", "dram.rows"),
        ("dram.fit_factor=-1", "dram.fit_factor"),
        ("dram.width=5", "dram.width"),
        ("dram.ecc=sddc", "dram.ecc"),
        ("dram.chips=16", "dram.ecc"),  # no check bits
        ("dram.fault=[{mode = 'row', permanent = 1e9}]", "dram.fit_factor"),  # more than a hundred a DIMM
        ("dram.banks=6", "dram.banks"),
        ("dram.fault=[{mode = 'row', permanent = -3}]", "dram.fault[0].permanent"),
    ],
)
def test_what_cannot_be_is_named(override: str, key: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        load(STOCK, [override])
    assert key in str(caught.value)
    result = invoke("faults", str(STOCK), "--set", override)
    assert result.exit_code == 2
    assert "Traceback" not in result.stderr


def test_codes_that_these_chips_cannot_hold_are_refused() -> None:
    with pytest.raises(ScenarioError, match=r"dram\.ecc"):
        load(STOCK, ["dram.ecc=chipkill", "dram.width=8", "dram.chips=9"])
    assert load(STOCK, ["dram.ecc=secded", "dram.width=8", "dram.chips=9"]).dram is not None
    for banks in ("17", "19"):
        with pytest.raises(ScenarioError, match=r"dram\.banks"):
            load(FIELD, [f"dram.banks={banks}"])
    assert load(FIELD, ["dram.banks=8"]).dram is not None


def test_a_seed_or_a_number_beyond_all_bounds_is_refused() -> None:
    for arguments in (("--seed", "9" * 23), ("--trials", "1" + "0" * 29)):
        result = invoke("faults", str(STOCK), *arguments)
        assert result.exit_code == 2
        assert "Traceback" not in result.stderr


def test_the_last_year_may_be_a_part_of_one() -> None:
    result = invoke("faults", str(STOCK), "--trials", "1000", "--set", "dram.years=2.5", "--json")
    assert [each["year"] for each in json.loads(result.stdout)["p_by_year"]] == [1, 2, 2.5]


def test_a_scenario_without_dimms_is_told() -> None:
    result = invoke("faults", str(STOCK.parents[1] / "aftermath.toml"))
    assert result.exit_code == 2
    assert "[dram]" in result.stderr

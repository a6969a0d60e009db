"""The sampler of DRAM faults against published numbers and closed forms; seeds are fixed."""

from __future__ import annotations

import json
from dataclasses import replace
from math import exp, sqrt
from pathlib import Path

import pytest
from scipy.stats import binomtest
from typer.testing import CliRunner, Result

from hwsim.cli.main import app
from hwsim.hardware.dram import GEOMETRIES
from hwsim.hardware.fault_model import FaultModel
from hwsim.hardware.fault_sampler import BATCH_DIMMS, FaultCounts, sample_faults
from hwsim.hardware.fit_tables import FIT_TABLES, FIXED, FaultRate
from hwsim.scenario import ScenarioError, load

ALPHA = 1e-4  # chance that one test of a correct sampler fails with another seed
STOCK = Path(__file__).parents[1] / "scenarios" / "faults" / "ddr2-jaguar.toml"
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
        ("chipkill", 3.0, 3.6045e-4, 1.1e-6),  # the 2019 edition has 3.66e-4 +- 5e-6
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
    share = early / uncorrected(counts)
    assert share == pytest.approx(0.5**power, abs=0.02)


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
    # Ranks are drawn apart from chips: the same chip of two ranks is one position of the code word.
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


def test_a_scenario_without_dimms_is_told() -> None:
    result = invoke("faults", str(STOCK.parents[1] / "aftermath.toml"))
    assert result.exit_code == 2
    assert "[dram]" in result.stderr

"""Comparisons on the same errors."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from hwsim.show import tables
from hwsim.show.reading import times
from hwsim.study import pair
from hwsim.study.conduct import conduct, prepared, variants
from hwsim.study.errors import StudyError
from hwsim.study.manifest import Policy
from hwsim.study.metrics import METRICS
from hwsim.study.pair import comparison, pairing, policies_of
from hwsim.study.summary import summary
from tests.support import rows
from tests.support.study_fake import FAILING, FAKE, Each, FakeScenario, fake_replication

BOTH = variants({"vm.memory_failure_early_kill": (0, 1)})


@pytest.fixture(scope="module")
def results():
    return conduct(FakeScenario(), BOTH, repeat=60, runner=FAKE)


def test_the_difference_is_that_of_the_tables(results):
    found = comparison(results).row("kills")
    sums = results.replications.groupby("policy")["kills"].sum()
    assert found.estimates[0].value == pytest.approx(sums[0] / 60)
    assert found.differences[0] is None
    difference = found.differences[1]
    assert difference is not None
    assert difference.value == pytest.approx((sums[1] - sums[0]) / 60)
    assert difference.low <= difference.value <= difference.high  # type: ignore[operator]
    assert difference.p_adjusted is None


@pytest.mark.parametrize(("per", "bottom"), [("error", "errors"), ("detected", "detected")])
def test_per_error_divides_by_what_fell_or_was_found(results, per, bottom):
    found = comparison(results).row("kills", per=per)
    sums = results.replications.groupby("policy")[["kills", "errors", "detected"]].sum()
    assert sums.loc[1, "errors"] > sums.loc[1, "detected"] > 0
    for policy in (0, 1):
        assert found.estimates[policy].value == pytest.approx(
            sums.loc[policy, "kills"] / sums.loc[policy, bottom]
        )


def difference(study, metric, per="replication"):
    """Value, method and lower end of the second policy's difference."""
    found = study.row(metric, per).differences[1]
    assert found is not None
    return found.value, found.method, found.low


def finds_less(spec, index, base=None, trace=False):
    """Early killing finds fewer of the same errors; panics are equal."""
    made = fake_replication(spec, index)
    fewer = made.row.detected - (index % 3 if spec.machine.early_kill else 0)
    return made._replace(row=made.row._replace(detected=max(1, fewer)))


def test_equal_panics_of_the_same_errors_do_not_differ():
    study = comparison(conduct(FakeScenario(), BOTH, repeat=60, runner=Each(finds_less)))
    assert difference(study, "panics", "error")[:2] == (0.0, "exact, all pairs alike")
    low = difference(study, "panics", "detected")[2]
    assert low is not None
    assert low > 0, "the divisor alone makes a difference that is none"


def ends_early(spec, index, base=None, trace=False):
    """Under early kill the run ends before the last error falls."""
    made = fake_replication(spec, index)
    if not spec.machine.early_kill:
        return made
    *kept, last = sorted(made.errors, key=lambda error: error.onset_ns)
    row = made.row._replace(errors=made.row.errors - 1, end_ns=last.onset_ns)
    return made._replace(row=row, errors=kept)


def test_other_numbers_of_errors_are_compared_per_machine_only():
    study = comparison(conduct(FakeScenario(), BOTH, repeat=20, runner=Each(ends_early)))
    assert study.pairing.ok
    assert not study.same_count(1)
    assert difference(study, "kills", "error")[:2] == (None, "the numbers of errors differ")
    assert study.row("kills", "error").estimates[1].value is not None
    assert difference(study, "kills")[0] is not None
    text = printed(study)
    first, second = (each["errors"] for each in study.as_dict()["fell"])
    assert f"Not as many under each ({first}, " in text
    assert f"; and {second}, " in text
    assert "not alone in their machine): nothing is compared per error." in text
    assert "Mean per error" not in text


def one_each(spec, index, base=None, trace=False):
    made = fake_replication(spec, index)
    return made._replace(row=made.row._replace(errors=1, detected=1), errors=made.errors[:1])


def test_what_share_was_not_alone_is_said(results):
    per_machine = results.replications.query("policy == 0")["errors"]
    share = per_machine[per_machine > 1].sum() / per_machine.sum()
    study = comparison(results)
    assert [each["share_not_alone"] for each in study.as_dict()["fell"]] == pytest.approx([share] * 2)
    assert f"under every policy, {100 * share:.3g} % of them not alone in their machine." in printed(study)


def test_one_error_in_each_machine_is_told_once():
    study = comparison(conduct(FakeScenario(), BOTH, repeat=20, runner=Each(one_each)))
    text = printed(study)
    assert "Mean per machine over 90 d, one error in each" in text
    assert "Mean per error" not in text
    assert "The same 20 errors under every policy, each alone in its machine." in text
    assert " tasks per error than =0" in tables.sentence(study)


def test_field_rates_are_told():
    data = {**FakeScenario().data, "errors": [{"count": 1, "field_rate": "1 / 77 y"}]}
    study = comparison(conduct(FakeScenario(data=data), BOTH, repeat=5, runner=FAKE))
    assert "Field rate of a machine: 1 / 77 y." in printed(study)
    assert study.as_dict()["field_rate"] == {"errors[0]": "1 / 77 y"}
    data["errors"] = [data["errors"][0], {"rate": "1 / d"}, {"count": 1, "field_rate": "1 / 308 y"}]
    study = comparison(conduct(FakeScenario(data=data), BOTH, repeat=5, runner=FAKE))
    assert "Field rates of a machine: 1 / 77 y (errors[0]), 1 / 308 y (errors[2])." in printed(study)


def test_by_path_adds_up_to_the_whole(results):
    study = comparison(results)
    errors = results.errors[results.errors["policy"] == 1]
    assert study.paths == ("scrub", "task_load", "kernel_load")
    for metric in ("kills", "data_lost_bytes", "panics", "kills_early", "needless_kills"):
        total = 0.0
        for path in study.paths:
            row = study.row(metric, per="detected", found=path)
            value = row.estimates[1].value
            assert value is not None
            total += value * (errors["found"] == path).sum()
        assert total == pytest.approx(results.replications.query("policy == 1")[metric].sum())


def test_panics_do_not_differ_and_are_said_to(results):
    row = comparison(results).row("panics")
    assert row.differences[1] is not None
    assert row.differences[1].method == "exact, all pairs alike"


def test_the_pairs_are_checked(results):
    found = pairing(results)
    assert found.ok
    assert found.errors == len(results.errors) / 2


@pytest.mark.parametrize("vary", [None, {"machine.cpus": (1, 2)}])
def test_what_is_varied_is_what_was_asked_for_and_early_kill_otherwise(vary, monkeypatch):
    monkeypatch.setattr(pair, "prepared", lambda scenario, **_more: scenario)
    monkeypatch.setattr(
        pair,
        "conduct",
        lambda ready, policies, **more: conduct(ready, policies, repeat=2, runner=FAKE),
    )
    found = pair.compare(FakeScenario(), vary)
    key = "machine.cpus" if vary else "vm.memory_failure_early_kill"
    values = (1, 2) if vary else (0, 1)
    assert found.labels == tuple(f"{key}={value}" for value in values)


THREE = variants({"vm.memory_failure_early_kill": (0, 1), "machine.cpus": (1, 2)})[:3]


def test_errors_of_three_policies_are_counted_once():
    results = conduct(FakeScenario(), THREE, repeat=10, runner=FAKE)
    found = pairing(results)
    assert found.ok
    assert found.errors == len(results.errors) / 3


def test_dram_faults_that_only_the_ecc_treats_otherwise_are_the_same_faults():
    def by_ecc(spec, index, base=None, trace=False):
        result = fake_replication(spec, index)
        fault = rows.fault(replication=index, onset_ns=5, mode="row", permanence="permanent", row=3, end_ns=9)
        errors = [row._replace(source=0) for row in result.errors]
        return result._replace(errors=errors[spec.machine.early_kill or 0 :], faults=[fault])

    found = comparison(conduct(FakeScenario(), BOTH, repeat=5, runner=Each(by_ecc)))
    assert not found.pairing.ok
    assert found.pairing.faults == 5
    assert found.pairing.of(0) == ()
    text = printed(found)
    assert "The same 5 DRAM faults under every policy" in text
    assert "not the same under" not in text


def unpaired(spec, index, base=None, trace=False):
    """Early killing meets one error on another page."""
    result = fake_replication(spec, index)
    moved = result.errors[0]._replace(pfn=5) if spec.machine.early_kill else result.errors[0]
    return result._replace(errors=[moved, *result.errors[1:]])


def test_each_policy_is_told_of_its_own_mismatches():
    found = pairing(conduct(FakeScenario(), THREE, repeat=3, runner=Each(unpaired)))
    labels = [policy.label for policy in THREE]
    for number, lines in enumerate(found.by_policy):
        assert all(line.endswith(labels[number]) for line in lines)
    assert [bool(lines) for lines in found.by_policy] == [False, False, True]


def printed(found):
    out = io.StringIO()
    Console(file=out, width=200).print(tables.comparison(found))
    return " ".join(out.getvalue().split())


def test_a_broken_pairing_is_seen():
    study = comparison(conduct(FakeScenario(), BOTH, runner=Each(unpaired)))
    assert not study.pairing.ok
    assert study.pairing.mismatches[0].startswith("replication 0, error 0: not the same under vm.memory")


def test_an_error_missing_on_one_side_is_seen():
    def shorter(spec, index, base=None, trace=False):
        result = fake_replication(spec, index)
        return result._replace(errors=result.errors[1:]) if spec.machine.early_kill else result

    assert not pairing(conduct(FakeScenario(), BOTH, runner=Each(shorter))).ok


def test_after_the_earlier_end_nothing_has_to_agree():
    def ended(spec, index, base=None, trace=False):
        result = fake_replication(spec, index)
        if not spec.machine.early_kill:
            return result
        onset = min(error.onset_ns for error in result.errors)
        return result._replace(row=result.row._replace(end_ns=onset), errors=[])

    found = pairing(conduct(FakeScenario(), BOTH, runner=Each(ended)))
    assert found.ok
    assert found.errors == 0


def test_only_replications_finished_under_every_policy_count():
    study = comparison(conduct(FakeScenario(), BOTH, runner=FAILING))
    assert study.replications == 11
    assert study.row("kills").estimates[0].n == 11


def test_three_policies_are_adjusted_by_holm():
    policies = variants({"vm.memory_failure_early_kill": (0, 1), "machine.tolerant": (1, 2)})
    assert [p.label for p in policies][:2] == [
        "vm.memory_failure_early_kill=0, machine.tolerant=1",
        "vm.memory_failure_early_kill=0, machine.tolerant=2",
    ]
    study = comparison(conduct(FakeScenario(), policies, repeat=30, runner=FAKE))
    differences = study.row("kills").differences
    assert differences[2] is not None
    assert differences[3] is not None
    assert differences[2].p_adjusted == pytest.approx(2 * differences[2].p_value)  # type: ignore[operator]


def test_json_has_every_part_for_every_number(results):
    found = comparison(results).as_dict()
    json.dumps(found, allow_nan=False)
    assert {row["metric"] for row in found["rows"]} >= {metric.name for metric in METRICS}
    for row in found["rows"]:
        for estimate in row["estimates"]:
            assert {"estimate", "low", "high", "method", "n"} <= estimate.keys()
        assert row["differences"][0] is None
        assert {"estimate", "low", "high", "method", "n", "correlation"} <= row["differences"][1].keys()


def test_summary_of_one_policy():
    found = summary(conduct(FakeScenario(), [Policy("fake box")], runner=FAKE))
    assert (found["finished"], found["failed"], found["policies"]) == (12, 0, ["fake box"])
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(
    ("vary", "said"),
    [
        ({"seed": (1, 2)}, "nothing would be paired"),
        ({"machine.tolerant": (1,)}, "at least two values"),
        ({"machine.tolerant": (1, 1)}, "given twice"),
        ({"machine.tolerant": "0,1"}, "a list of values is needed, such as .0, 1., not '0,1'"),
        ({"machine.tolerant": 1}, "a list of values is needed"),
    ],
)
def test_what_cannot_be_compared_is_refused(vary, said):
    with pytest.raises(StudyError, match=said):
        policies_of(vary)


def test_results_of_one_policy_are_not_a_comparison():
    with pytest.raises(StudyError, match="hold one policy"):
        comparison(conduct(FakeScenario(), [Policy("fake box")], runner=FAKE))


def undecided(spec, index, base=None, trace=False):
    """Odd replications end before it is known whether an early kill was needless."""
    made = fake_replication(spec, index)
    if index % 2 == 0:
        return made
    signals = [s._replace(needless="censored") if s.needless == "yes" else s for s in made.signals]
    return made._replace(row=made.row._replace(needless_kills=0), signals=signals)


def test_censored_kills_are_counted_apart():
    mixed = conduct(FakeScenario(), BOTH, repeat=20, runner=Each(undecided))
    expected = int((mixed.signals.query("policy == 1")["needless"] == "censored").sum())
    row = comparison(mixed).row("censored_kills")
    assert expected > 0
    assert row.estimates[1].value == pytest.approx(expected / 20)
    assert row.estimates[0].value == 0


def test_no_wait_for_a_late_kill_is_shorter_than_nothing(results):
    for policy in (0, 1):
        for name, estimate, cases in times(results, policy):
            assert estimate.low is None or estimate.low >= 0, name
            assert cases > 0
    assert "containment to late kill" not in [name for name, _, _ in times(results, 1)]


def test_overrides_are_a_list():
    with pytest.raises(StudyError, match="a list is needed"):
        prepared(FakeScenario(), overrides="machine.cpus=3")

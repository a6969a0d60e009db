"""What a study is: the scenario as it was read and checked, and the model of the kernels that it runs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hwsim.kernel.versions import v2_6_32, v5
from hwsim.scenario import load
from hwsim.study.conduct import conduct, variants
from hwsim.study.errors import StudyError
from hwsim.study.manifest import Policy, manifest, study_hash, under
from tests.support.study_fake import FAKE, Each, fake_replication

SCENARIO = """
name = "box"
horizon = "90 d"
[machine]
memory = "1 GiB"
[[errors]]
kind = "uncorrected"
rate = "2 / day"
where = "uniform"
"""


def test_the_manifest_is_what_ran_whatever_becomes_of_the_file(tmp_path):
    """The file changes during the run, the object too: neither changes what runs, nor what is noted."""
    file = tmp_path / "box.toml"
    base = tmp_path / "base.toml"
    base.write_text(SCENARIO)
    file.write_text('extends = "base.toml"\nseed = 5\n')
    scenario = load(file)
    scenario.data["seed"] = 99
    ran = []

    def meddling(spec, index, base=None, trace=False):
        ran.append(spec.seed)
        file.write_text("seed = 7")
        (tmp_path / "base.toml").unlink(missing_ok=True)
        return fake_replication(spec, index)

    results = conduct(scenario, [Policy("box")], repeat=2, runner=Each(meddling))
    assert ran == [5, 5]
    assert results.manifest["seed"] == results.manifest["scenario"]["seed"] == 5
    assert "extends" not in results.manifest["scenario"]


def test_a_scenario_changed_after_it_was_checked_is_refused(tmp_path):
    file = tmp_path / "box.toml"
    file.write_text(SCENARIO + '[[script]]\nat = "1 s"\ndo = "sync"\n')
    scenario = load(file)
    scenario.spec.script[0].args["task"] = "another"
    with pytest.raises(StudyError, match="was changed after it was checked"):
        conduct(scenario, [Policy("box")], repeat=2, runner=FAKE)


def test_a_new_version_of_one_kernel_leaves_the_results_of_the_others(tmp_path, monkeypatch):
    file = tmp_path / "box.toml"
    file.write_text(SCENARIO)
    both = variants({"machine.kernel": ("v5", "2.6.32")})
    one, two = load(file), load(file, ["machine.kernel=2.6.32"])
    before = [one.hash, two.hash]
    hash_of_both = study_hash(under(one, both), both)
    monkeypatch.setattr(v2_6_32, "PROFILE", replace(v2_6_32.PROFILE, model_version=77))
    assert load(file).hash == before[0]
    assert load(file, ["machine.kernel=2.6.32"]).hash != before[1]
    assert study_hash(under(load(file), both), both) != hash_of_both
    asked = manifest(under(load(file), both), both, one.data, 1)
    assert asked["model_version"] == {"v5": v5.PROFILE.model_version, "2.6.32": 77}

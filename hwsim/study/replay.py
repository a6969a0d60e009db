"""Run one replication of a study again, with its full event log and kernel log."""

from __future__ import annotations

import os
from collections.abc import Callable
from copy import deepcopy

from hwsim.record import Replication
from hwsim.spec import Spec
from hwsim.study.digest import of_replication
from hwsim.study.errors import StudyError
from hwsim.study.jobs import Job
from hwsim.study.replicate import finished, traced
from hwsim.study.results import Results, open_results

Player = Callable[[Spec, int], Replication]


def replay(
    results: Results | str | os.PathLike[str],
    replication: int,
    policy: int = 0,
    *,
    player: Player | None = None,
) -> Replication:
    """The replication again, traced.  It need not be among those that finished."""
    opened = results if isinstance(results, Results) else open_results(results)
    found = (player or traced)(spec_of(opened, policy, replication), replication)
    compare(opened, policy, found)
    return found


def compare(results: Results, policy: int, found: Replication) -> None:
    """Refuses a replay that is not what is stored, if that replication is stored."""
    job = Job(policy, found.row.replication)
    stored = results.digest(job)
    if stored is not None and stored != of_replication(results.study_hash, finished(policy, found).tables):
        made = ", ".join(f"{name} {results.manifest.get(name)}" for name in ("python", "numpy", "simpy"))
        raise StudyError(
            f"{results.path}: replication {job.replication} of policy {policy}, played again, is not what is "
            f"stored; it was made with {made}. Run the study again into another file"
        )


def spec_of(results: Results, policy: int, replication: int = 0) -> Spec:
    """The model's input that the results were made with."""
    if replication < 0:
        raise StudyError(f"replication: {replication} is not possible; they are counted from 0")
    if replication >= results.manifest["repeat"]:
        last = results.manifest["repeat"] - 1
        raise StudyError(f"replication: {replication} is not in these results; allowed is 0 to {last}")
    count = len(results.policy_list)
    if not 0 <= policy < count:
        names = "\n".join(f"  {number}  {p.label}" for number, p in enumerate(results.policy_list))
        raise StudyError(f"policy: {policy} is not in these results, which hold\n{names}")
    results.check(Job(policy, replication))
    from hwsim.scenario import ScenarioError
    from hwsim.scenario.compile import to_spec
    from hwsim.scenario.load import model_version
    from hwsim.scenario.overrides import apply
    from hwsim.scenario.sources import Document, Source
    from hwsim.scenario.validate import validate

    document = Document(deepcopy(results.manifest["scenario"]), [Source(str(results.path))])
    checked, problems = validate(apply(document, results.policy_list[policy].overrides))
    if checked is None:
        raise ScenarioError(problems)
    spec = to_spec(checked)
    made_by = results.manifest.get("model_version", {}).get(spec.machine.kernel)
    this = model_version(spec)
    if made_by != this:
        raise StudyError(
            f"{results.path}: made by model version {made_by} of {spec.machine.kernel}, this is version "
            f"{this}: a replay would differ from what is stored. Run the study again into another file"
        )
    return spec

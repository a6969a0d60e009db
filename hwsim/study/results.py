"""The results of a study as pandas data frames.

Dtypes follow the records: numbers that always exist are ``int64``, numbers that may be missing
("did not happen") are the nullable ``Int64``, text is ``string``.  Times are nanoseconds since the
start of the run, sizes are bytes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwsim.study import integrity
from hwsim.study.columns import TABLES, Column
from hwsim.study.jobs import Failure, Job
from hwsim.study.manifest import Policy
from hwsim.study.opening import read_store
from hwsim.study.store import Store, damaged

if TYPE_CHECKING:
    import pandas as pd


class Results:
    """What a study left behind.

    ``replications`` has one row a machine, ``errors`` one row an error, ``signals`` one row a signal
    or kill, ``lost_writes`` one row a page of a file whose newest contents are gone, ``faults`` one row
    a DRAM fault; each begins with the number of the policy, a row of ``policies``.  Tables are read when
    first asked for.
    """

    def __init__(self, store: Store, *, repeat: int | None = None, repaired: str = "") -> None:
        self._store = store
        self.repaired = repaired  # what was done to a damaged file before, in one sentence
        self.path: Path | None = store.path
        self.manifest: dict[str, Any] = store.manifest()
        if repeat is not None:
            self.manifest["repeat"] = repeat
        self.policy_list: list[Policy] = store.policies()
        self._below = repeat

    @cached_property
    def replications(self) -> pd.DataFrame:
        return self._frame("replications")

    @cached_property
    def errors(self) -> pd.DataFrame:
        return self._frame("errors")

    @cached_property
    def signals(self) -> pd.DataFrame:
        return self._frame("signals")

    @cached_property
    def lost_writes(self) -> pd.DataFrame:
        return self._frame("lost_writes")

    @cached_property
    def faults(self) -> pd.DataFrame:
        return self._frame("faults")

    @cached_property
    def policies(self) -> pd.DataFrame:
        """``policy`` (int64), ``label`` (string), ``overrides`` (a tuple of key=value)."""
        import pandas as pd

        return pd.DataFrame(
            {
                "policy": _array(range(len(self.policy_list)), "int64"),
                "label": _array([policy.label for policy in self.policy_list], "string"),
                "overrides": [policy.overrides for policy in self.policy_list],
            }
        )

    @cached_property
    def failures(self) -> list[Failure]:
        """Replications that did not finish."""
        found = self._store.failures()
        return [f for f in found if self._below is None or f.replication < self._below]

    @cached_property
    def reach(self) -> dict[str, int]:
        """How often each exit, row and PTE result was met."""
        return self._store.reach()

    @property
    def settled(self) -> list[dict[str, int]]:
        """Under each policy, how many machines of the file were ``played``, and how many had their results
        found without, by what settled them."""
        found: list[dict[str, int]] = [{} for _ in self.policy_list]
        for key, times in self.manifest.items():
            if key.startswith("settled."):
                _, policy, how = key.split(".", 2)
                found[int(policy)][how] = times
        return found

    @property
    def study_hash(self) -> str:
        """What identifies the study: the same for all files that can be continued as one."""
        return self._store.study_hash

    def digest(self, job: Job) -> bytes | None:
        """The digest of a replication as it was written; None if it is not there."""
        return self._store.digest(job)

    def check(self, job: Job) -> None:
        """Refuses a replication whose rows are not as they were written."""
        if self.digest(job) is None:
            return
        with self._store.readable():
            where = f"WHERE policy = {int(job.policy)} AND replication = {int(job.replication)}"
            for found, tables in self._store.replications(where):
                if not integrity.sound(self._store.connection, self.study_hash, found, tables):
                    raise damaged(self.path, f"replication {job.replication} of policy {job.policy}")

    def _frame(self, table: str) -> pd.DataFrame:
        try:
            return frame(TABLES[table], self._store.rows(table, self._below))
        except (ValueError, TypeError) as error:
            raise damaged(self.path, f"table {table}: {error}") from error

    def __repr__(self) -> str:
        name = self.manifest.get("name", "unnamed")
        where = f" in {self.path}" if self.path else ""
        policies = "1 policy" if len(self.policy_list) == 1 else f"{len(self.policy_list)} policies"
        return f"<Results of {name!r}{where}: {policies}, {self.manifest.get('repeat')} replications each>"


def frame(columns: Sequence[Column], rows: Sequence[Sequence[Any]]) -> pd.DataFrame:
    """Rows as a data frame with the dtypes of ``columns``, also when there are no rows."""
    import pandas as pd

    data = zip(*rows, strict=True) if rows else [() for _ in columns]
    return pd.DataFrame({c.name: _array(values, c.dtype) for c, values in zip(columns, data, strict=True)})


def _array(values: Sequence[Any], dtype: Any) -> Any:
    """A column; the dtype is known only as text, which pandas' own types cannot follow."""
    import pandas as pd

    return pd.array(list(values), dtype=dtype)


def open_results(path: str | os.PathLike[str]) -> Results:
    """Open the results file of an earlier ``run`` or ``compare``."""
    return Results(read_store(path))

# %% [markdown]
# # Early against late
#
# Is it better to tell processes of a lost page at once, or to wait until they touch it? The same machines meet the same
# errors under both policies, so that each difference is a difference of policy.

# %% [markdown]
# A shipped scenario with one error in each machine, some hundred machines of it: enough to see the shape, not enough for
# fine differences. `compare` pairs the policies replication by replication and checks that both met the same errors.

# %%
import tempfile
from pathlib import Path

import hwsim

SCENARIO = Path(hwsim.__file__).resolve().parents[1] / "scenarios" / "desktop.toml"
study = hwsim.compare(SCENARIO, repeat=600)
print(study.labels, study.pairing.errors, "errors compared, pairing holds:", study.pairing.ok)

# %% [markdown]
# Every metric has an interval for each policy and one for the paired difference. Method and n stand beside it: t, or a
# bootstrap where the values are too skewed for t.

# %%
for name in ("kills", "kills_early", "kills_late", "needless_kills", "censored_kills", "panics"):
    row = study.row(name)
    late, early, difference = row.estimates[0], row.estimates[1], row.differences[1]
    print(
        f"{name:16} late {late.value:7.3f}  early {early.value:7.3f}  difference {difference.value:+7.3f}",
        end="  ",
    )
    print(f"({difference.low} to {difference.high}; {difference.method}, n = {difference.n})")

# %% [markdown]
# *Needless* is an early kill of a task that would never have touched the page again; *censored* one whose next touch
# would have come after the end of the run, so that nobody can say. The touch is drawn, not guessed: with a single error it
# is the very touch that kills under the other policy.

# %%
signals = study.results.signals
early_kills = signals[(signals["cause"] == "early") & (signals["result"] == "killed")]
print(early_kills["needless"].value_counts().to_string())

# %% [markdown]
# What the late policy pays instead is time: the task goes on beside the hole, and writes newer data next to data that is
# gone. `window_ns` is how long, `stores` how much it wrote meanwhile.

# %%
late_kills = signals[signals["code"] == "BUS_MCEERR_AR"]
print(late_kills[["window_ns", "stores"]].astype("float64").describe(percentiles=[0.5]).to_string())

# %% [markdown]
# The survival curve shows both at once: under early kill the curve falls within milliseconds of the detection, under late
# kill with the hours that pass until a touch, and it does not reach zero.

# %%
from hwsim.show import plots

figure = plots.time_to_kill(study.results)
folder = Path(tempfile.mkdtemp())
figure.savefig(folder / "time-to-kill.png", dpi=110)
bars = plots.kills_and_recoveries(study.results)
bars.savefig(folder / "kills-and-recoveries.png", dpi=110)
print("figures in", folder)

# %% [markdown]
# What one may not conclude: that today's kernel does the same (this is v5), that a machine has an error in 90 days (in
# the field it has one in 77 years, as the scenario says), or that a share carries over to other machines with other
# memory in use. Per error that fell, as here, policies compare as far as the assumptions of the scenario hold.

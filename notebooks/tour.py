# %% [markdown]
# # A tour: the life of one error
#
# One page of a program, one bad line, and everything that follows, told by the simulator step by step. Open this file
# as a notebook (VS Code, PyCharm and Jupyter with jupytext know the format) or run it as a script.

# %% [markdown]
# First the question to the handler alone: an anonymous page that two processes have mapped, dirty as such pages are.
# `explain` runs the model's own `memory_failure()` on it.

# %%
import tempfile
from pathlib import Path

import hwsim

answer = hwsim.explain("lru,dirty,swapbacked", mapped=2, early_kill=0)
print(answer)
assert answer.outcome == "Recovered"

# %% [markdown]
# Nobody is signalled now, because `vm.memory_failure_early_kill` is 0: `try_to_unmap()` leaves a poison entry in both
# page tables, and whoever touches it next dies. With 1 the same page kills both at once, touched or not.

# %%
early = hwsim.explain("lru,dirty,swapbacked", mapped=2, early_kill=1)
print(
    [
        (signal["pid"], signal["code"], signal["when"])
        for signal in early.signals
        if signal["when"] == "at once"
    ]
)

# %% [markdown]
# Now a whole machine. A scenario is a TOML file; this one has no chance in it, only a script: a task writes its page, a
# line of it goes bad, the patrol scrubber finds it, the task forks, and then both touch the page.

# %%
SCENARIO = """
name = "one error"
horizon = "1 s"
repeat = 1

[machine]
memory = "64 MiB"
cpus = 2
kernel = "v5"
chance = "off"
sysctl = { "vm.memory_failure_early_kill" = 0 }
on_panic = "end"

[[task]]
name = "app"
[[task.region]]
kind = "anon"
name = "heap"
size = "1 MiB"

[[file]]
name = "journal"
size = "1 MiB"

[[script]]
at = "100 ms"
do = "inject"
how = "line"
page = { region = "app.0/heap", index = 3 }
[[script]]
at = "200 ms"
do = "scrub"
page = { region = "app.0/heap", index = 3 }
[[script]]
at = "300 ms"
do = "fork"
task = "app.0"
[[script]]
at = "400 ms"
do = "load"
task = "app.0.0"
page = { region = "app.0.0/heap", index = 3 }
[[script]]
at = "500 ms"
do = "load"
task = "app.0"
page = { region = "app.0/heap", index = 3 }
"""
folder = Path(tempfile.mkdtemp())
(folder / "one-error.toml").write_text(SCENARIO)
results = hwsim.run(folder / "one-error.toml")
replication = hwsim.replay(results, 0)

# %% [markdown]
# Every event in order, in nanoseconds. Between `machine_check` and `memory_failure` lie the rendezvous of the CPUs and
# the way through the ring to process context; then the page is poisoned, taken out of the page table and judged.

# %%
for time_ns, event, facts in replication.events:
    print(f"{time_ns / 1e6:12.6f} ms  {event:16}", *(f"{key}={value}" for key, value in facts.items()))

# %% [markdown]
# The child inherited the poison entry with the page tables, so it died of an error that happened before it was born: a
# late kill may cost more than an early one. The kernel log says the same, in v5's own word order.

# %%
for time_ns, level, text in replication.log:
    print(f"<{level}> {time_ns / 1e9:.6f}  {text}")
print(results.signals[["time_ns", "task", "code", "cause", "result", "window_ns"]].to_string(index=False))
assert list(results.signals["task"]) == ["app.0.0", "app.0"]

# %% [markdown]
# The row of the error itself: found by the scrubber, contained from the moment `memory_failure()` returned, 4 KiB of
# data and 4 KiB of memory gone.

# %%
error = results.errors.iloc[0]
print(
    error[
        ["found", "row", "message", "outcome", "killed", "data_lost_bytes", "capacity_lost_bytes", "end"]
    ].to_string()
)

# %% [markdown]
# A file is another story: nobody dies. The page is dropped dirty, the disk has what was there before, and one bit in the
# mapping waits for whoever calls `fsync` first. Here that is the other process, and the writer gets 0.

# %%
FILE = """
extends = "one-error.toml"
[[task]]
name = "clerk"
count = 2
[[script]]
at = "100 ms"
do = "write"
task = "clerk.0"
file = "journal"
index = 0
[[script]]
at = "200 ms"
do = "inject"
page = { file = "journal", index = 0 }
[[script]]
at = "300 ms"
do = "read"
task = "clerk.0"
file = "journal"
index = 0
[[script]]
at = "400 ms"
do = "fsync"
task = "clerk.1"
file = "journal"
[[script]]
at = "500 ms"
do = "fsync"
task = "clerk.0"
file = "journal"
"""
(folder / "lost-write.toml").write_text(FILE)
lost = hwsim.run(folder / "lost-write.toml")
row = lost.lost_writes.iloc[0]
print(row[["file", "writer", "told", "told_task", "told_by", "stale_before", "stale_after"]].to_string())
assert (row["writer"], row["told"]) == ("clerk.0", "bystander")

# %% [markdown]
# `read()` returned the old contents without a word, and before anybody was told. Later kernels tell every open file
# once: the same script with `eio_mode = "errseq"`.

# %%
modern = hwsim.run(folder / "lost-write.toml", overrides=["machine.switches.eio_mode=errseq"])
print(modern.lost_writes.iloc[0][["told", "told_task", "told_tasks"]].to_string())

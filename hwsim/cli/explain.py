"""``hwsim explain``: one page, one decision of the handler."""

from __future__ import annotations

from typing import Annotated

import typer

from hwsim.cli.options import Json
from hwsim.cli.shell import guarded, print_json, show


@guarded
def explain(
    kernel: Annotated[str, typer.Option(help="Kernel profile.")] = "v5",
    flags: Annotated[str, typer.Option(help="Page flags, such as lru,dirty,swapbacked.")] = "",
    mapped: Annotated[int, typer.Option(min=0, help="Tasks that have the page mapped.")] = 0,
    early_kill: Annotated[
        int | None,
        typer.Option(min=0, max=1, help="vm.memory_failure_early_kill.", show_default="the kernel's"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what the handler does with one page.

    Row of the table, outcome, who gets which signal when, what is printed.
    """
    from hwsim import explain as ask

    found = ask(kernel=kernel, flags=flags, mapped=mapped, early_kill=early_kill)
    if as_json:
        print_json(found.as_dict())
    else:
        show(str(found))

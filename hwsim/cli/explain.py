"""``hwsim explain``: one page, one decision of the handler."""

from __future__ import annotations

from typing import Annotated

import typer

from hwsim.cli.options import PlainJson
from hwsim.cli.shell import guarded, print_json, say


@guarded
def explain(
    kernel: Annotated[str, typer.Option(help="Kernel profile.")] = "v5",
    flags: Annotated[str, typer.Option(help="Page flags, such as lru,dirty,swapbacked.")] = "",
    mapped: Annotated[int, typer.Option(min=0, help="Tasks that have the page mapped.")] = 0,
    early_kill: Annotated[
        int | None,
        typer.Option(min=0, max=1, help="vm.memory_failure_early_kill.", show_default="the kernel's"),
    ] = None,
    mapping: Annotated[
        str | None,
        typer.Option(
            help="What the page belongs to: anon, file, tmpfs, ramfs, blockdev, none.",
            show_default="as the flags say",
        ),
    ] = None,
    pte_dirty: Annotated[bool, typer.Option(help="Page-table entries are dirty and writable.")] = False,
    buffers: Annotated[
        str,
        typer.Option(help="Buffers attached to the page: none, idle, busy."),
    ] = "none",
    pins: Annotated[int, typer.Option(min=0, help="Further references, such as DMA pins.")] = 0,
    unmap_fails: Annotated[int, typer.Option(min=0, help="Tries of try_to_unmap() that fail.")] = 0,
    unevictable_lru: Annotated[bool, typer.Option(help="Built with CONFIG_UNEVICTABLE_LRU.")] = True,
    mlocked_page_bit: Annotated[bool, typer.Option(help="Built with CONFIG_HAVE_MLOCKED_PAGE_BIT.")] = True,
    pageflags_extended: Annotated[bool, typer.Option(help="Built with CONFIG_PAGEFLAGS_EXTENDED.")] = True,
    switch: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Set a switch otherwise; repeatable.")
    ] = None,
    switches: Annotated[
        bool, typer.Option("--switches", help="List every switch of the review instead, and stop.")
    ] = False,
    as_json: PlainJson = False,
) -> None:
    """Say what the handler does with one page.

    Row of the table, outcome, who gets which signal when, what is printed.
    """
    if switches:
        _list_switches(as_json)
        return
    from hwsim import explain as ask

    found = ask(
        flags, kernel=kernel, mapped=mapped, early_kill=early_kill, mapping=mapping, pte_dirty=pte_dirty,
        buffers=buffers, pins=pins, unmap_fails=unmap_fails, unevictable_lru=unevictable_lru,
        mlocked_page_bit=mlocked_page_bit, pageflags_extended=pageflags_extended, switches=switch or (),
    )  # fmt: skip
    if as_json:
        print_json(found.as_dict())
    else:
        say(str(found))


def _list_switches(as_json: bool) -> None:
    from hwsim.explaining.side_by_side import switches

    found = switches()
    if as_json:
        print_json(found)
        return
    for each in found:
        kernels = ", ".join(f"{name}: {value}" for name, value in each["kernels"].items())
        allowed = each["allowed"] if isinstance(each["allowed"], str) else " | ".join(each["allowed"])
        say(f"{each['name']} = {allowed}\n  {kernels}\n  {each['effect']}\n  source: {each['source']}")

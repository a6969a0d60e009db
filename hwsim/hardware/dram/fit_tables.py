"""How often DRAM faults of each mode come: published FIT tables, a chip, transient and permanent.

One FIT is one fault in 1e9 device-hours.  ``jaguar``: V. Sridharan, D. Liberty, "A study of DRAM failures in
the field", SC'12 (DDR2), as FaultSim v0.1 alpha has it.  ``alibaba``: DDR4 over eight months of Alibaba's
public logs, structural faults as classified in FITrate.csv of lpharch/DRAM_FAULT_SIM (2023), with the share
of DIMMs with such a fault that had an uncorrected error; small types are taken together.
"""

from __future__ import annotations

from typing import NamedTuple

from hwsim.record import FaultMode

#: What one fault of a mode leaves fixed; all other coordinates are wildcards, its chip aside.
FIXED: dict[str, tuple[str, ...]] = {
    FaultMode.BIT: ("rank", "bank", "row", "column", "bit"),
    FaultMode.WORD: ("rank", "bank", "row", "column"),
    FaultMode.COLUMN: ("rank", "bank", "column"),
    FaultMode.ROW: ("rank", "bank", "row"),
    FaultMode.BANK: ("rank", "bank"),
    FaultMode.MULTI_BANK: ("rank",),
    FaultMode.MULTI_RANK: (),
    FaultMode.CHANNEL: (),  # the controller or the bus: all DIMMs of the channel, all chips
}
MAX_FIT = 1e9  # one fault an hour


class FaultRate(NamedTuple):
    """Faults of one kind: mode, FIT a chip of both permanences, P(UE | fault) under imperfect SDDC."""

    mode: str
    transient_fit: float
    permanent_fit: float
    ue_share: float | None = None


def _observed(mode: str, fit: float, permanent_share: float, ue_share: float) -> FaultRate:
    return FaultRate(mode, fit * (1.0 - permanent_share), fit * permanent_share, ue_share)


FIT_TABLES: dict[str, tuple[FaultRate, ...]] = {
    "jaguar": (
        FaultRate(FaultMode.BIT, 14.2, 18.6),
        FaultRate(FaultMode.WORD, 1.4, 0.3),
        FaultRate(FaultMode.COLUMN, 1.4, 5.6),
        FaultRate(FaultMode.ROW, 0.2, 8.2),
        FaultRate(FaultMode.BANK, 0.8, 10.0),
        FaultRate(FaultMode.MULTI_BANK, 0.3, 1.4),
        FaultRate(FaultMode.MULTI_RANK, 0.9, 2.8),
    ),
    "alibaba": (
        _observed(FaultMode.BIT, 75.2, 0.61, 0.0034),  # scattered single bits
        _observed(FaultMode.ROW, 7.87, 0.88, 0.028),  # local wordline
        _observed(FaultMode.COLUMN, 6.07, 0.16, 0.026),  # one sense amplifier
        _observed(FaultMode.BANK, 4.11, 0.05, 0.009),  # column select over a bank
        _observed(FaultMode.COLUMN, 2.11, 0.04, 0.032),  # column select, one column
        _observed(FaultMode.ROW, 1.95, 0.17, 0.024),  # wordline select
        _observed(FaultMode.ROW, 1.70, 0.91, 0.007),  # wordline, two clusters
        _observed(FaultMode.MULTI_RANK, 1.56, 0.84, 0.073),
        _observed(FaultMode.COLUMN, 1.34, 1.0, 0.026),  # sense amplifier, potential
        _observed(FaultMode.MULTI_BANK, 1.24, 0.78, 0.148),  # scattered over banks
        _observed(FaultMode.COLUMN, 1.02, 0.01, 0.387),  # column decoder, one column
        _observed(FaultMode.BANK, 0.89, 0.59, 0.107),  # several column selects
        _observed(FaultMode.BANK, 0.78, 0.94, 0.052),  # consecutive rows
        _observed(FaultMode.BANK, 0.76, 0.49, 0.204),  # scattered over one bank
        _observed(FaultMode.BANK, 0.75, 0.75, 0.122),  # sub-array row decoder, one cluster
        _observed(FaultMode.BANK, 0.73, 0.76, 0.191),  # the same, two clusters
        _observed(FaultMode.BANK, 0.15, 1.0, 0.217),  # bank control
        _observed(FaultMode.BANK, 1.19, 0.46, 0.069),  # other column, decoder and select types
    ),
}

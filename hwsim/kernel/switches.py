"""What the review of the handler argued about and a kernel could do either way."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Switches:
    """The choices of one kernel.

    ``eio_mode``: what becomes of an error in a mapping, a name of
    :data:`hwsim.kernel.filemap_error.EIO_MODES`.  ``close_reports``: where close() asks for errors: nfs,
    all or none.
    """

    eio_mode: str = "as_flag"
    close_reports: str = "nfs"

"""Runs the command line in a process of its own with a stand-in for the model.

    python -m tests.support.cli_world MODEL ARGUMENTS...

MODEL is the name of a function in tests/support/study_fake.py.
"""

from __future__ import annotations

import sys

from hwsim.cli.main import app
from tests.support import study_fake

if __name__ == "__main__":
    study_fake.stand_in(getattr(study_fake, sys.argv.pop(1)))
    app(prog_name="hwsim")

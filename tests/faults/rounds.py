"""How thoroughly the faults are tried: a few in the suite, all of them, several times, with `RAY_MLOPS_FAULT_ROUNDS=N`."""

import os

ROUNDS = int(os.environ.get("RAY_MLOPS_FAULT_ROUNDS", "0"))

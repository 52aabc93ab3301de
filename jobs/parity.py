"""The proof of no skew as a Ray job: `ray job submit --working-dir . -- python jobs/parity.py fraud --rows 0`.

Takes the options of `ray-mlops parity`; the job fails where a feature is not the same online and in batch.
"""

import sys

from ray_mlops.cli import entry

if __name__ == "__main__":
    entry(["parity", *sys.argv[1:]])

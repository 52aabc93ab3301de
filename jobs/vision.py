"""The vision lifecycle as a Ray job: `ray job submit --working-dir . -- python jobs/vision.py --root s3://bucket/mlops`.

Takes the options of `ray-mlops run vision`; its exit code is the job's.
"""

import sys

from ray_mlops.cli import entry

if __name__ == "__main__":
    entry(["run", "vision", *sys.argv[1:]])

"""Batch scoring as a Ray job: `ray job submit --working-dir . -- python jobs/score.py s3://bucket/new.parquet --model fraud --out s3://bucket/scores.parquet`.

Takes the options of `ray-mlops score`; its exit code is the job's.
"""

import sys

from ray_mlops.cli import entry

if __name__ == "__main__":
    entry(["score", *sys.argv[1:]])

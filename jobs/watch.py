"""The watch of an endpoint as a Ray job: `ray job submit --no-wait --working-dir . -- python jobs/watch.py fraud --act retrain`.

Takes the options of `ray-mlops watch`; it runs until the job is stopped, with `--once` it looks once.
"""

import sys

from ray_mlops.cli import entry

if __name__ == "__main__":
    entry(["watch", *sys.argv[1:]])

"""The comparison of an endpoint's traffic with its baseline as a Ray job: `ray job submit --working-dir . -- python jobs/monitor.py fraud`.

Takes the options of `ray-mlops monitor`; stages before it that are done are not run again.
"""

import sys

from ray_mlops.cli import entry

if __name__ == "__main__":
    entry(["monitor", *sys.argv[1:]])

"""Whether a recorded run can be made again: each stage re-run beside it, and what comes out held against the record."""

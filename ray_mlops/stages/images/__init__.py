"""The stages in which images differ from transactions: one file a stage, `run(config, run, upstream) -> artifact`."""

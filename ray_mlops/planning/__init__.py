"""What a recipe would take, told from runs of it on small samples: `ray-mlops plan`."""

"""Guarded rollouts: a challenger beside the champion in the same replicas, judged while it bakes, taken back by a setting."""

"""What a run root holds that nothing refers to, and freeing it."""

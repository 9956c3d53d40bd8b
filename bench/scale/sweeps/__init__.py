"""A module per thing that grows. Each has a `SWEEP`."""

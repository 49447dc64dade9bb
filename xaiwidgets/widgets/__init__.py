"""The widgets: traits and wiring, nothing else."""

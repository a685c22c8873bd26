"""Running the extractor on other machines: Dagster's Pipes, Kubernetes, Slurm, Ray. Examples to copy, one file each.

What they start is `python -m extract`; nothing here is needed on one machine.
"""

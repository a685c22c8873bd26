"""The extraction of one model as a job that any machine can run, with Dagster or without.

Belongs here: what is stale in a warehouse, what it is filled from, the loop that fills it, shards of it and their
merging, and the command `python -m extract`. The assets in `dagster_project` call the same functions.
Does not belong here: how rows are computed, which is the rest of `extract`; that never imports this package, so that it
goes on knowing nothing of warehouses and commands. A contract of import-linter holds it to that.
"""

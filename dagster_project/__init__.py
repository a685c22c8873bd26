"""Glue: Dagster's assets, jobs and instance, and the `vesalius` command that runs them.

Belongs here: which asset calls which pure function, what is done already, what a run reports. Does not belong here: how
anything is extracted (`extract`), stored (`warehouse`) or analysed (`analyses`).
"""

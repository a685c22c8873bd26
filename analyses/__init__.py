"""The analyses: tables of measurements in, tables of numbers with intervals and charts out.

Belongs here: statistics, geometry, projections, profiles, maps and their charts, as pure functions.
Does not belong here: a model's forward pass, Dagster, where a table lies on disk. Imports only `warehouse`.
"""

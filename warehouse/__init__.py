"""The warehouse: what its tables hold, how they are written to disk and how they are read back.

Belongs here: the registry of tables, the store of Parquet partitions, the DuckDB catalog, the project's errors.
Does not belong here: how a number is measured or analysed. This package imports no other package of the project.
"""

"""Partitions that go from one warehouse to another: out into a folder that anyone can read, and in from it, checked.

Belongs here: which partitions go, the folder's layouts and descriptions, and what is proved before anything comes in.
How a partition is written and read at all is in `store`, what the tables hold in `tables`.
"""

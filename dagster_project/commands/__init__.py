"""The commands of `vesalius`, one module a command or a few that belong together.

A command reads what was typed, calls what does the work, and prints what came of it. What it computes lives elsewhere.
Heavy libraries are imported inside the functions that need them, so that help and completions show at once.
"""

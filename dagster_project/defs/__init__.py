"""The definitions by stage: `library`, `extraction`, `analyses`, `atlas`; and what they share: partitions, resources,
checks, jobs, requests, sensors, schedules and upkeep. `dagster_project.definitions` puts them together; importing one
of these wires nothing.
"""

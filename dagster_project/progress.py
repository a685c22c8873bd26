"""Progress in the log of a Dagster run; on a terminal and as lines it is shown by `extract.job.progress`.

Who looks on is decided where the definitions are built.
"""

import dagster as dg

from extract.job.progress import LineProgress


class LogProgress(LineProgress):
    """Says how far a stage is in the log of the Dagster run."""

    def __init__(self) -> None:
        super().__init__(lambda line: dg.get_dagster_logger().info(line))

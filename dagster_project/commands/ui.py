"""`vesalius ui`: Dagster's UI on this machine, for the instance and the warehouse that the commands use."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from dagster_project.commands.options import ConceptsOption, WarehouseOption
from extract.job.libraries import quiet_libraries


def ui(
    warehouse: WarehouseOption = None,
    concepts: ConceptsOption = None,
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.")] = 3000,
) -> None:
    """Open Dagster's UI on this machine, for the same instance and warehouse."""
    from dagster_project.defs.partitions import register_models
    from dagster_project.defs.resources import PROJECT, Warehouse
    from dagster_project.instance import fail_dead_runs, open_instance
    from extract.models import local_models

    places = Warehouse.from_environment(root=warehouse, concepts=concepts)
    with open_instance() as instance:
        fail_dead_runs(instance)
        register_models(instance, local_models(places.registry()))
    program = Path(sys.executable).with_name("dg")
    typer.echo(f"http://127.0.0.1:{port}  (Ctrl-C ends it)")
    sys.stdout.flush()
    quiet_libraries()
    os.chdir(PROJECT)
    os.execve(
        program,
        [str(program), "dev", "--host", "127.0.0.1", "--port", str(port)],
        # The sensor may have to hash a weight file of many gigabytes in one go.
        {"DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS": "600", **os.environ, **places.environment, "VIRTUAL_ENV": sys.prefix},
    )

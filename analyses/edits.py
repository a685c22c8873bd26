"""The edits of the closed loop that come with the project: what training some layers alone did, beside other layers.

How an edit is made is not said here; charts and means of edits are in `edit_charts`.
"""

from pathlib import Path

import pyarrow as pa
import pyarrow.csv

from warehouse.errors import InputError
from warehouse.tables import table

EDITS_FILE = Path(__file__).with_name("edits.csv")


def read_edits(path: Path) -> pa.Table:
    """The rows of `edits` in a CSV, none where there is no file.

    Raises:
        InputError: the file holds something else.
    """
    entry = table("edits")
    schema = entry.schema()
    if not path.exists():
        return schema.empty_table()
    options = pa.csv.ConvertOptions(
        column_types=dict(zip(schema.names, schema.types, strict=True)), strings_can_be_null=False
    )
    try:
        return pa.csv.read_csv(path, convert_options=options).select(schema.names).cast(schema)
    except (pa.ArrowInvalid, KeyError, ValueError) as error:
        raise InputError(f"{path} is no table of edits ({error}): name another file with --out.") from error

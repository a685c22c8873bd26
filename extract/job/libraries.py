"""What the libraries underneath are told before they come in: no network, no bars, no spinning threads.

It has to happen before torch and transformers are imported, and so it imports nothing of the project.
"""

import os
import sys
import warnings

_SETTINGS = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    # Threads that spin while they wait make small models ten times slower on a busy machine.
    "OMP_WAIT_POLICY": "PASSIVE",
}


def quiet_libraries() -> None:
    """Set what the user has not set otherwise."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")

"""Layers whose weights accelerate keeps in memory or on disk: fetched once for all that is done with a layer.

Accelerate fetches a module's weights whenever the module is called. Here they are fetched for as long as a layer is in
use, so that its weights are read once for all batches. A layer that is not offloaded is left alone.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import nn

from extract.stack import by_passed


@contextmanager
def fetched(layer: nn.Module) -> Iterator[None]:
    """Have a layer's weights where it runs; they go back to where they were kept at the end."""
    with ExitStack() as undo:
        for module in layer.modules():
            hook: Any = getattr(module, "_hf_hook", None)
            if getattr(hook, "offload", False):
                hook.pre_forward(module)
                undo.callback(hook.post_forward, module, None)
                undo.enter_context(by_passed([module], module._old_forward))
        yield

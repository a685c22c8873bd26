"""The sweep: one pass up the stack of layers that takes what is wanted of each layer on the way.

All prompts go through a layer before any goes through the next: the weights of a layer are read once, and what was
measured at a layer is complete, and can be written, before the next one begins. The intact stream is here, read at
chosen positions. How layers are recorded and replayed is in `stack`; what becomes of the rows, in `extraction`.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from extract.batches import Batch
from extract.stack import Stack, replay
from warehouse.tables import POSITIONS


@dataclass(frozen=True)
class Reading:
    """Where a batch is read.

    Attributes:
        batch: the prompts.
        term_last: [prompt], index of the last token of each prompt's term.
    """

    batch: Batch
    term_last: Tensor


def read_positions(hidden: Tensor, reading: Reading) -> dict[str, Tensor]:
    """The residual stream at the three positions.

    Args:
        hidden: [prompt, token, width].
        reading: which prompts these are, and where their terms end.

    Returns:
        `last`, `term` and `mean`, each [prompt, width] in float32. `mean` leaves the first token out, an attention sink
        of enormous norm in most models; of a prompt of one token it is that token.
    """
    rows = torch.arange(len(hidden), device=hidden.device)
    lengths = reading.batch.lengths.to(hidden.device)
    place = torch.arange(hidden.shape[1], device=hidden.device)
    counted = (place < lengths[:, None]) & ((place > 0) | (lengths[:, None] == 1))
    weights = counted.float() / counted.sum(dim=1, keepdim=True)
    values = hidden.float()
    return {
        "last": values[rows, lengths - 1],
        "term": values[rows, reading.term_last.to(hidden.device)],
        "mean": torch.bmm(weights[:, None], values)[:, 0],
    }


@torch.inference_mode()
def sweep_activations(
    stack: Stack, readings: Sequence[Reading], *, workers: int = 1, progress: Callable[[int], None] = lambda _: None
) -> Iterator[tuple[int, dict[str, Tensor]]]:
    """The intact stream, layer by layer, from the embedding output (-1) to the last layer.

    Args:
        stack: the model's layers.
        readings: the batches, and where they are read.
        workers: batches that go through a layer side by side; more than one pays where a batch can't fill a processor.
        progress: called with the number of prompts that went through one more layer.

    Yields:
        The layer, and for each position [prompt, width] in float32 on the CPU, prompts in the order in which they were
        given to `make_batches`. The tensors are the next layer's too: use them before going on.
    """
    device = next(stack.decoder.parameters()).device
    recordings = [stack.record(*_on(device, reading.batch)) for reading in readings]
    streams = [recording.hidden for recording in recordings]
    rows = sum(len(reading.batch.rows) for reading in readings)
    into = {position: torch.empty(rows, streams[0].shape[-1]) for position in POSITIONS}

    @torch.inference_mode()
    def advance(number: int, layer: int) -> int:
        reading = readings[number]
        if layer >= 0:
            streams[number] = replay(stack.layers[layer], streams[number], recordings[number].calls[layer])
        for position, values in read_positions(streams[number], reading).items():
            into[position][reading.batch.rows] = values.cpu()
        return len(reading.batch.rows)

    with ThreadPoolExecutor(workers) as pool:
        for layer in range(-1, len(stack.layers)):
            for prompts in pool.map(partial(advance, layer=layer), range(len(readings))):
                progress(prompts)
            yield layer, into


def _on(device: torch.device, batch: Batch) -> tuple[Tensor, Tensor | None]:
    return batch.tokens.to(device), None if batch.mask is None else batch.mask.to(device)

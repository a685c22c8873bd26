"""What a run holds in memory: weights, streams, what works on them, and the program itself.

Weights are known exactly, streams as the sweep counts them; what a layer, a head or a graph needs while it works is
counted from shapes. Whether that fits is in `room`; what is done when memory runs out all the same, in `memory`.
Nothing here needs torch.
"""

from dataclasses import dataclass, replace

from extract.outline import BYTES, Outline

LIBRARIES = 700_000_000
"""Bytes of main memory that the program itself takes, where it was not measured (`dagster_project.standing`).

Interpreter, torch, Arrow, Dagster, the library's tables; *measured* 670 to 705 MB.
"""

HOLES = 1.5
"""Bytes that a heap in main memory takes for each that is held in it, by what lies free between tensors.

*Measured* 1.3 to 1.9 on models of 1.8 to 156 million weights: growth of the process in a sweep, over what is counted
here.
"""

LOGITS, HEAD_LOGITS = 2**24, 2**22
"""Logits that a sweep, and gradients, hold at once: as in `sweep` and `descent`."""

QUANTIZED = {"8bit": 1.06, "4bit": 0.56}
"""Bytes of a weight by the name of a quantization, scales included. MXFP4 is run as bfloat16."""


@dataclass(frozen=True)
class Memory:
    """What a run takes of the device, in bytes.

    Attributes:
        weights: the model.
        streams: of the sweep that has most, cut to what streams may take.
        floor: of streams that no cut makes fewer: all prompts of the largest concept, intact.
        work: what works on them: a layer, the head, rows on their way to disk.
        alone: what works when there are no streams: a graph of gradients, answers.
        least_work, least_alone: the same where memory is so short that only a prompt is worked on at a time.
        host: main memory beside, if the device has its own: rows on their way to disk, and the program.
        holes: bytes that are taken for each byte that is no weight.
    """

    weights: int
    streams: int
    floor: int
    work: int
    alone: int
    least_work: int
    least_alone: int
    host: int
    holes: float = 1.0

    @property
    def peak(self) -> int:
        """At its most."""
        held = max(max(self.streams, self.floor) + self.work, self.alone)
        return self.weights + int(self.holes * held)

    @property
    def numbers(self) -> int:
        """What is no weight, with as little as it can be cut to."""
        return max(self.floor + self.least_work, self.least_alone)

    @property
    def least(self) -> int:
        """With as little as it can be cut to."""
        return self.weights + self.numbers


@dataclass(frozen=True)
class Load:
    """What is held and worked on at once.

    Attributes:
        stream_tokens: tokens of all streams of the largest sweep, when they are most.
        intact_tokens: of those, the intact ones.
        shelved_tokens: of those, the ones that other prompts take from.
        tokens: of all prompts of the largest concept, also those that prompts share.
        most_prompts: prompts of the largest concept.
        streams: of one prompt, at the top.
        lesioned: prompts of a batch that is lesioned, at most.
        longest: tokens of the longest prompt.
        budget: tokens of a batch.
        saliency_tokens: tokens of a batch of gradients; 0 without.
        answer_rows, answer_tokens: of a batch of answers.
        workers: batches that are worked on side by side.
        contributions: whether vectors of attention and MLP are kept.
    """

    stream_tokens: float
    intact_tokens: float
    shelved_tokens: int
    tokens: int
    most_prompts: int
    streams: int
    lesioned: int
    longest: int
    budget: int
    saliency_tokens: int
    answer_rows: int
    answer_tokens: int
    workers: int
    contributions: bool


def memory(
    load: Load, shape: Outline, *, weights: int | None = None, may_take: int | None = None, shared: bool = True
) -> Memory:
    """What a run takes.

    Args:
        load: what is held.
        shape: the model.
        weights: bytes of them on the device; None for all.
        may_take: bytes that streams may take; None for as many as they like.
        shared: whether rows on their way to disk are in the device's memory too.
    """
    joined = (load.stream_tokens - load.intact_tokens) * shape.width * shape.itemsize
    intact = intact_bytes(load, shape)
    # Of some the shelf's tables: taken, given, added.
    streams = int(joined) + load.shelved_tokens * 3 * shape.width * shape.itemsize + intact
    sites = 3 if load.contributions else 1
    # Positions that are read, of the stream one more, are kept from layer to layer in float32; where rows are made of
    # them they are copied, and encoded.
    vector = load.most_prompts * shape.width * BYTES["float32"]
    read, rows = vector * (3 * sites + 1), vector * 3 * sites * 3
    short = _short(load)
    return Memory(
        weights=shape.weight_bytes if weights is None else weights,
        streams=(streams if may_take is None else min(streams, max(may_take, 0))) + (read if shared else 0),
        floor=intact + (read if shared else 0),
        work=max(_sweep_work(load, shape), rows if shared else 0),
        alone=max(_graph(load, shape), _answers(load, shape)),
        least_work=max(_sweep_work(short, shape), rows if shared else 0),
        least_alone=max(_graph(short, shape), _answers(short, shape)),
        host=rows + read + LIBRARIES,
        holes=HOLES if shared else 1.0,
    )


def intact_bytes(load: Load, shape: Outline) -> int:
    """What all prompts hold, intact: what entered the layer, what left it, and cosine and sine of each token's place.

    Those are held as the model makes them, with shared tokens, and again as they are cut.
    """
    places = (load.tokens + load.intact_tokens) * 2 * shape.heads_width // shape.heads
    return int((load.intact_tokens * 2 * shape.width + places) * shape.itemsize)


def weights_on_device(shape: Outline, placement: str, quantization: str | None) -> int:
    """Bytes of weights that lie on the device at a time.

    Args:
        shape: the model.
        placement: where weights lie, one of `extract.entries.PLACEMENTS`: two layers of those that lie elsewhere are
            there at a time.
        quantization: how they are packed, if they are.
    """
    packed = quantization in QUANTIZED
    each = QUANTIZED[quantization] / shape.itemsize if quantization is not None and packed else 1.0
    layers = shape.layer_bytes if placement == "none" else 2 * shape.largest_layer_bytes
    return int(each * (shape.weight_bytes - shape.layer_bytes + layers))


def _sweep_work(load: Load, shape: Outline) -> int:
    """Of a layer, or the head, and each batch that is in it: its streams before and after."""
    streams = min(load.budget, load.lesioned * load.longest) * (load.streams - 1) * shape.width * shape.itemsize
    return load.workers * max(streams + _layer_work(load, shape), _head_work(load, shape))


def _short(load: Load) -> Load:
    """The same where batches are halved to a prompt each; those of gradients never are."""
    return replace(load, budget=1, workers=1, lesioned=min(load.lesioned, 1), answer_rows=min(load.answer_rows, 1))


def _layer_work(load: Load, shape: Outline) -> int:
    scores = shape.heads * load.longest
    inside = 4 * shape.width + 3 * shape.inner_width + 2 * shape.heads_width + shape.keys_width + scores
    return max(load.budget, load.longest) * inside * shape.itemsize


def _head_work(load: Load, shape: Outline) -> int:
    """Logits of some prompts with all their streams; in float32, their log-probabilities, and two products of those."""
    held = min(max(LOGITS, load.streams * shape.vocabulary), load.lesioned * load.streams * shape.vocabulary)
    gathered = load.lesioned * load.streams * shape.width * shape.itemsize
    return gathered + held * (4 * 4 + (shape.itemsize if shape.itemsize < 4 else 0))


def _graph(load: Load, shape: Outline) -> int:
    """What enters each layer, and one layer's graph: its inputs and outputs, kept for both ends of each matrix."""
    if not load.saliency_tokens:
        return 0
    stored = (len(shape.layers) + 1) * shape.width
    inside = 12 * shape.width + 6 * shape.inner_width + 4 * shape.heads_width + 2 * shape.keys_width
    # Of one module after the other input, output and gradient are brought to float32.
    measured = 3 * max(shape.inner_width, shape.heads_width, shape.width) * BYTES["float32"]
    odd = max(layer.odd for layer in shape.layers) * shape.itemsize
    return load.saliency_tokens * ((stored + inside) * shape.itemsize + measured) + odd


def _answers(load: Load, shape: Outline) -> int:
    """Keys and values of all layers, and the logits of an answer's tokens."""
    cache = len(shape.layers) * shape.keys_width * load.answer_tokens
    new = min(load.answer_tokens, 17)
    return load.answer_rows * shape.itemsize * (cache + shape.vocabulary * new)

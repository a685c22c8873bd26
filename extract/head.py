"""From the residual stream after the last layer to logits, by the model's own norm, head, soft cap and scale.

The model's forward is run with every layer by-passed, on the vectors that are to be read: nothing here knows how an
architecture ends. What is read off the logits is in `outcomes`.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from extract.stack import Stack, by_passed


class Head:
    """The end of a language model; of an encoder without a head there is nothing to be read."""

    def __init__(self, model: Any, stack: Stack) -> None:
        self._model = model
        self._stack = stack
        self._local = threading.local()
        output = model.get_output_embeddings()
        self.vocabulary = int(model.config.get_text_config(decoder=True).vocab_size)
        """Logits of one vector."""
        # An offloaded head has no weights at hand outside of its own forward, a quantized one none to pick from.
        plain = type(output) is nn.Linear and output.weight.device.type != "meta"
        self._output: nn.Linear | None = output if plain else None

    @contextmanager
    def open(self) -> Iterator[None]:
        """Within the block, `logits` and `chosen` may be called, from several threads at once; layers are by-passed."""
        with by_passed(self._stack.layers, self._hand_over):
            if self._output is None:
                yield
            else:
                with by_passed([self._output], self._columns_or_all(self._output.forward)):
                    yield

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits over the vocabulary, [vector, token], for vectors [vector, width] of the residual stream."""
        self._local.hidden, self._local.columns = hidden[:, None], None
        tokens = torch.zeros(len(hidden), 1, dtype=torch.long, device=self._stack.device)
        output = self._model(input_ids=tokens, position_ids=torch.zeros_like(tokens), use_cache=False)
        found: Tensor = output.logits[:, -1]
        return found

    def chosen(self, hidden: Tensor, tokens: Tensor) -> Tensor:
        """Logits of some tokens only, [vector, chosen], for vectors [vector, width] and tokens [vector, chosen].

        Where the model's head is a plain linear layer, the others are not computed.
        """
        if self._output is None:
            return self.logits(hidden).gather(1, tokens)
        self._local.hidden, self._local.columns = hidden[:, None], tokens
        inputs = torch.zeros(len(hidden), 1, dtype=torch.long, device=self._stack.device)
        output = self._model(input_ids=inputs, position_ids=torch.zeros_like(inputs), use_cache=False)
        found: Tensor = output.logits[:, -1]
        return found

    def _hand_over(self, *_: Any, **__: Any) -> Any:
        hidden = self._local.hidden
        return (hidden,) if self._stack.returns_tuple else hidden

    def _columns_or_all(self, own: Any) -> Any:
        output = self._output
        assert output is not None

        def forward(hidden: Tensor) -> Tensor:
            columns: Tensor | None = self._local.columns
            if columns is None:
                return own(hidden)  # type: ignore[no-any-return]
            found = torch.einsum("vkw,vtw->vtk", output.weight[columns], hidden)
            return found if output.bias is None else found + output.bias[columns][:, None]

        return forward

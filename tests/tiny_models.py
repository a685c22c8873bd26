"""A tokenizer for small random models, and the folder of one; the models themselves are the package's own."""

from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from extract.architectures import ARCHITECTURES, CONTEXT, LAYERS, WIDTH, tiny_model

__all__ = ["ARCHITECTURES", "CONTEXT", "LAYERS", "WIDTH", "save_tiny", "tiny_model", "tiny_tokenizer"]


def tiny_tokenizer(texts: list[str], vocabulary: int = 300) -> PreTrainedTokenizerFast:
    """A byte-level BPE trained on some texts; it has a beginning-of-text token and no token for padding."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<unk>", "<bos>", "<eos>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocabulary, special_tokens=special, initial_alphabet=alphabet, show_progress=False
        ),
    )
    from tokenizers.processors import TemplateProcessing

    tokenizer.post_processor = TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<eos>", unk_token="<unk>")


def save_tiny(folder: Path, architecture: str = "llama", texts: tuple[str, ...] = ("The drug is for pain",)) -> Path:
    """A model folder as save_pretrained writes it, with a tokenizer trained on some texts."""
    tokenizer = tiny_tokenizer(list(texts))
    tiny_model(architecture, vocabulary=len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder

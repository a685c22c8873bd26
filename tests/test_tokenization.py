"""Where terms lie and how answers begin, under tokenizers of every sort; each is made on the spot."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import tiny_tokenizer
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from extract.tokenization import _covering, tokenize
from warehouse.errors import ModelError
from warehouse.tables import table
from warehouse.validation import validate

TERMS = ("aspirin", "4096", "Ménière's disease", "X", "β-blocker 💊", "salbutamol")
TEMPLATES = ("The doctor gave {} to the patient, who said that the colour is", "{} is used for", "Why {}? It is")
ANSWERS = ("red", "pain relief", "42", "normal")

CHAT = (
    "{{ bos_token }}{% for message in messages %}<|{{ message['role'] }}|>\n{{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)


def rows(texts: list[tuple[str, str, str | None]]) -> pa.Table:
    """Prompts from text with a slot, term and answer."""
    values = [
        {
            "template": f"t{place:03d}",
            "term": term,
            "template_kind": "asking" if answer else "neutral",
            "labelling": "use" if answer else None,
            "held_out": False,
            "text": text.replace("{}", term),
            "answer": answer,
            "term_start": text.index("{}"),
            "term_end": text.index("{}") + len(term),
        }
        for place, (text, term, answer) in enumerate(texts)
    ]
    return pa.Table.from_pylist(values, schema=table("prompts").schema())


PROMPTS = rows([(text, term, answer) for text in TEMPLATES for term in TERMS for answer in (*ANSWERS, None)])


def corpus() -> list[str]:
    return [f"{row['text']} {row['answer'] or 'so'}" for row in PROMPTS.to_pylist()]


def beginning(tokenizer: Tokenizer, single: str) -> None:
    special = [(token, tokenizer.token_to_id(token)) for token in ("<bos>", "<eos>") if token in single]
    tokenizer.post_processor = processors.TemplateProcessing(single=single, special_tokens=special)


def wrapped(tokenizer: Tokenizer, **special: str) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)


def byte_level() -> PreTrainedTokenizerFast:
    """As Llama 3: byte-level BPE, a beginning-of-text token from the post-processor."""
    return tiny_tokenizer(corpus(), 400)


def without_beginning() -> PreTrainedTokenizerFast:
    """As GPT-2 and Qwen: nothing is added to a text; spaces are trimmed from offsets."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(corpus(), trainer)
    return wrapped(tokenizer)


def metaspace() -> PreTrainedTokenizerFast:
    """As Llama 2: a space is part of the token after it, and one is put before the text."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
    special = ["<unk>", "<bos>", "<eos>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=special, limit_alphabet=60, show_progress=False)
    tokenizer.train_from_iterator(corpus(), trainer)
    beginning(tokenizer, "<bos> $A")
    return wrapped(tokenizer, bos_token="<bos>", eos_token="<eos>", unk_token="<unk>")


def unigram() -> PreTrainedTokenizerFast:
    """As Gemma's: pieces of a text that is not cut into words first, and with an end of text that has to go."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse()])
    special = ["<unk>", "<bos>", "<eos>"]
    trainer = trainers.UnigramTrainer(
        vocab_size=300, special_tokens=special, unk_token="<unk>", max_piece_length=6, show_progress=False
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    beginning(tokenizer, "<bos> $A <eos>")
    return wrapped(tokenizer, bos_token="<bos>", eos_token="<eos>", unk_token="<unk>")


def word_piece() -> PreTrainedTokenizerFast:
    """As BERT: lower case, accents gone, no spaces in tokens, something before and after each text."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.BertNormalizer(strip_accents=True, lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    special = ["<unk>", "<bos>", "<eos>"]
    trainer = trainers.WordPieceTrainer(vocab_size=200, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(corpus(), trainer)
    beginning(tokenizer, "<bos> $A <eos>")
    return wrapped(tokenizer, bos_token="<bos>", eos_token="<eos>", unk_token="<unk>")


SORTS = [byte_level, without_beginning, metaspace, unigram, word_piece]
every_sort = pytest.mark.parametrize("make", SORTS, ids=lambda make: make.__name__)
Make = Callable[[], PreTrainedTokenizerFast]


def slow_span(offsets: list[tuple[int, int]], start: int, end: int) -> tuple[int, int]:
    """First and last token of which one character at least lies in the stretch."""
    covering = [place for place, (low, high) in enumerate(offsets) if set(range(low, high)) & set(range(start, end))]
    return (covering[0], covering[-1]) if covering else (-1, -1)


def closed(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    """The tokens of a text, those that the tokenizer ends texts with left out."""
    tokens: list[int] = tokenizer(text)["input_ids"]
    return tokens[:-1] if tokens[-1] == tokenizer.eos_token_id else tokens


@every_sort
def test_the_term_is_where_its_characters_are_and_the_answer_is_what_comes_next(make: Make) -> None:
    tokenizer = make()
    found = tokenize(tokenizer, PROMPTS)
    validate(table("tokens"), found.table)
    for tokens, row, prompt in zip(found.indices, found.table.to_pylist(), PROMPTS.to_pylist(), strict=True):
        assert tokens == closed(tokenizer, prompt["text"])
        offsets = tokenizer(prompt["text"], return_offsets_mapping=True)["offset_mapping"]
        span = row["term_first"], row["term_last"]
        assert span == slow_span(offsets, prompt["term_start"], prompt["term_end"])
        assert (row["tokens"], row["term_tokens"]) == (len(tokens), span[1] - span[0] + 1)
        assert row["term_last_text"] == tokenizer.decode([tokens[span[1]]])
        if prompt["answer"] is None:
            assert row["answer_token"] is row["answer_tokens"] is row["answer_text"] is None
            continue
        whole = closed(tokenizer, f"{prompt['text']} {prompt['answer']}")
        if make is unigram and whole[: len(tokens)] != tokens:
            assert row["answer_token"] is row["answer_tokens"] is None, (
                "pieces of a whole text may reach over the space"
            )
            continue
        assert whole[: len(tokens)] == tokens
        assert (row["answer_token"], row["answer_tokens"]) == (whole[len(tokens)], len(whole) - len(tokens))
        assert row["answer_text"] == tokenizer.decode([row["answer_token"]])


@every_sort
def test_no_prompt_ends_in_a_token_that_ends_texts(make: Make) -> None:
    tokenizer = make()
    begins = tokenizer.bos_token_id
    for tokens in tokenize(tokenizer, PROMPTS).indices:
        assert tokens[-1] != tokenizer.eos_token_id
        assert tokens.count(begins) == (0 if begins is None else 1)


def test_the_decoded_tokens_read_as_the_term_and_the_answer() -> None:
    known = {"<unk>": 0, "gave": 1, "aspirin": 2, "for": 3, "pain": 4}
    tokenizer = Tokenizer(models.WordLevel(known, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    row = tokenize(wrapped(tokenizer), rows([("gave {} for", "aspirin", "pain")])).table.to_pylist()[0]
    assert (row["term_last_text"], row["answer_text"]) == ("aspirin", "pain")
    assert (row["term_last"], row["answer_token"]) == (1, 4)


def merging() -> PreTrainedTokenizerFast:
    """Joins an `s` with the space after it, which no prompt that ends in `s` can know."""
    known = {character: place for place, character in enumerate("aisrednt ")} | {"s ": 20}
    return wrapped(Tokenizer(models.BPE(known, [("s", " ")])))


def test_an_answer_that_changes_the_prompts_own_tokens_is_none() -> None:
    found = tokenize(merging(), rows([("{} is", "ant", "red"), ("{} in", "ant", "red")])).table.to_pylist()
    assert [row["answer_token"] for row in found] == [None, merging().convert_tokens_to_ids(" ")]
    assert [row["answer_text"] for row in found] == [None, " "]


@every_sort
def test_spaces_at_the_end_of_a_prompt_belong_to_the_answer(make: Make) -> None:
    tokenizer = make()
    tidy, untidy = (
        tokenize(tokenizer, rows([(f"Why {{}}? It is{end}", "aspirin", "pain relief")])) for end in ("", "  ")
    )
    assert untidy.indices == tidy.indices
    assert untidy.table.equals(tidy.table)


def test_after_a_line_break_the_answer_begins_without_a_space() -> None:
    tokenizer = byte_level()
    row = tokenize(tokenizer, rows([("Why {}? Answer:\n", "aspirin", "red")])).table.to_pylist()[0]
    assert row["answer_token"] == tokenizer("\nred", add_special_tokens=False)["input_ids"][1]
    assert row["answer_text"] == tokenizer.decode(tokenizer("red", add_special_tokens=False)["input_ids"][:1])


def talking(make: Make, template: str = CHAT) -> PreTrainedTokenizerFast:
    tokenizer = make()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|user|>", "<|assistant|>"]})
    tokenizer.chat_template = template
    return tokenizer


@every_sort
def test_as_chat_the_prompt_is_the_users_message_and_the_answer_follows_at_once(make: Make) -> None:
    tokenizer = talking(make)
    found = tokenize(tokenizer, PROMPTS, chat=True)
    validate(table("tokens"), found.table)
    for tokens, row, prompt in zip(found.indices, found.table.to_pylist(), PROMPTS.to_pylist(), strict=True):
        before = f"{tokenizer.bos_token or ''}<|user|>\n"
        whole = f"{before}{prompt['text']}\n<|assistant|>\n"
        split = tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)
        assert tokens == split["input_ids"]
        message = [{"role": "user", "content": prompt["text"]}]
        own = tokenizer.apply_chat_template(message, add_generation_prompt=True, return_dict=False)
        assert tokens == own
        if tokenizer.bos_token is not None:
            assert tokens.count(tokenizer.bos_token_id) == 1
            assert tokens[0] == tokenizer.bos_token_id
        span = slow_span(split["offset_mapping"], *(len(before) + prompt[end] for end in ("term_start", "term_end")))
        assert (row["term_first"], row["term_last"]) == span
        if prompt["answer"]:
            said = tokenizer(whole + prompt["answer"], add_special_tokens=False)["input_ids"]
            assert said[: len(tokens)] == tokens
            assert (row["answer_token"], row["answer_tokens"]) == (said[len(tokens)], len(said) - len(tokens))


def test_as_chat_the_answer_begins_without_a_space() -> None:
    asked = rows([("{} is used for", "aspirin", "pain relief")])
    plain, chat = (tokenize(talking(byte_level), asked, chat=chat).table["answer_text"][0].as_py() for chat in (0, 1))
    assert plain.startswith(" p")
    assert chat.startswith("p")


def test_a_tokenizer_without_a_template_says_what_to_do() -> None:
    with pytest.raises(ModelError, match=r"no chat template.*models\.toml"):
        tokenize(byte_level(), PROMPTS, chat=True)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ messages[0]['content'] | upper }}:", "0 times"),
        ("{{ messages[0]['content'] }} {{ messages[0]['content'] }}", "2 times"),
        ("{{ raise_exception('system message, please') }}", "system message, please"),
        ("{% if", "can't be filled"),
    ],
)
def test_a_template_that_does_not_hold_the_prompt_once_and_unchanged_is_refused(template: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        tokenize(talking(byte_level, template), PROMPTS, chat=True)


@pytest.mark.parametrize("asking", ["strftime_now('%d %b %Y')", 'strftime_now( "%d %b %Y" ) | trim'])
def test_a_template_that_tells_the_day_tells_the_same_one_every_day(asking: str) -> None:
    asked, told = (talking(byte_level, text + CHAT) for text in ("{{ " + asking + " }} ", "01 Jan 2025 "))
    assert tokenize(asked, PROMPTS, chat=True).indices == tokenize(told, PROMPTS, chat=True).indices


def test_what_was_split_once_can_be_taken_in_part() -> None:
    found = tokenize(byte_level(), PROMPTS)
    part = found.take([7, 3])
    assert part.indices == [found.indices[7], found.indices[3]]
    assert part.table.to_pylist() == [found.table.to_pylist()[row] for row in (7, 3)]


def test_no_prompts_give_no_rows() -> None:
    found = tokenize(byte_level(), PROMPTS.slice(0, 0))
    assert found.indices == []
    assert found.table.schema.equals(table("tokens").schema())


def spans(shortest: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(0, 12), st.integers(shortest, 4)).map(lambda span: (span[0], span[0] + span[1]))


@given(st.lists(st.tuples(st.lists(spans(0), min_size=1, max_size=6), spans(1)), min_size=1, max_size=6))
def test_first_and_last_token_of_a_stretch_equal_those_of_a_plain_loop(
    texts: list[tuple[list[tuple[int, int]], tuple[int, int]]],
) -> None:
    offsets = [sorted(own) for own, _ in texts]
    starts, ends = np.array([stretch for _, stretch in texts]).T
    first, last = _covering(np.array([len(own) for own in offsets]), offsets, starts, ends)
    slow = [slow_span(own, *stretch) for own, (_, stretch) in zip(offsets, texts, strict=True)]
    assert list(zip(first.tolist(), last.tolist(), strict=True)) == slow

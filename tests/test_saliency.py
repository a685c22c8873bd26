"""Saliency from the pass down the stack equals the naive loop: one prompt at a time, backward, p.grad."""

from pathlib import Path
from typing import Any

import accelerate
import numpy as np
import pyarrow as pa
import pytest
import torch
from tiny_models import ARCHITECTURES, LAYERS, tiny_model, tiny_tokenizer
from torch import Tensor, nn

from extract import descent
from extract.answers import _padding
from extract.gradients import matrix_sums, scaled_by
from extract.loading import LoadedModel
from extract.models import ModelEntry
from extract.modules import layer_modules
from extract.saliency import extract_saliency, saliency_rows
from extract.stack import Stack
from extract.tokenization import tokenize
from warehouse.errors import ModelError
from warehouse.store import Store
from warehouse.tables import table

TERMS = ("47", "aspirin", "beta blocker", "salbutamol")
TEMPLATES = {"a": "The doctor gave {} to the patient at noon", "b": "{} is used for", "c": "Take {} now"}
ANSWERS = {"47": None, "aspirin": "pain", "beta blocker": "heart", "salbutamol": "asthma"}
RIVALS = {"aspirin": 70, "beta blocker": 71, "salbutamol": 72}
"""Stands for the first tokens of answers in the pairs: a tiny tokenizer begins all of them alike."""
VALUES = ("mean_abs_gradient", "rms_gradient", "first_order_effect")
SIZES = ("mean_abs_gradient", "rms_gradient", "size_of_effect")

Key = tuple[int, str, str, str, str]


def prompts_of() -> pa.Table:
    rows = [
        {
            "template": name,
            "term": term,
            "template_kind": "asking",
            "labelling": "use",
            "held_out": False,
            "text": text.format(term),
            "answer": ANSWERS[term],
            "term_start": text.index("{}"),
            "term_end": text.index("{}") + len(term),
        }
        for name, text in TEMPLATES.items()
        for term in TERMS
    ]
    return pa.Table.from_pylist(rows, schema=table("prompts").schema())


def pairs_of() -> pa.Table:
    """Pairs of all terms in the template `a` that have answers; those corrupted by beta blocker are dropped."""
    rows = [
        {
            "template": "a",
            "term": term,
            "corrupting_term": other,
            "tokens": 9,
            "corrupted_tokens": 9,
            "answer_token": RIVALS[term],
            "corrupting_answer_token": RIVALS[other],
            "dropped": "lengths differ" if other == "beta blocker" else None,
        }
        for term in ("salbutamol", "beta blocker")
        for other in ("salbutamol", "beta blocker", "aspirin")
        if other != term
    ]
    return pa.Table.from_pylist(rows, schema=table("pair_tokens").schema())


def loaded(architecture: str) -> LoadedModel:
    tokenizer = tiny_tokenizer([text.format(term) for text in TEMPLATES.values() for term in TERMS])
    model = tiny_model(architecture, len(tokenizer))
    # As they are made norms are all ones, and biases and sinks zeros or what was in memory.
    torch.manual_seed(1)
    with torch.no_grad():
        for values in model.parameters():
            if values.ndim == 1 or not torch.isfinite(values).all():
                values.normal_(0.5, 0.2)
    return LoadedModel(ModelEntry("tiny", Path("nowhere")), model, tokenizer)


def measured(found: LoadedModel, **options: Any) -> dict[Key, dict[str, Any]]:
    prompts = prompts_of()
    tokenized = tokenize(found.tokenizer, prompts)
    layers = list(extract_saliency(found, prompts, tokenized, pairs_of(), **options))
    assert [set(data["layer"].to_pylist()) for data in layers] == [{layer} for layer in range(LAYERS)]
    rows = [row for data in layers for row in data.to_pylist()]
    by_key = {tuple(row[name] for name in ("layer", "module", "target", "template", "term")): row for row in rows}
    assert len(by_key) == len(rows) == saliency_rows(found, tokenized, pairs_of())
    return by_key


def naive(found: LoadedModel) -> dict[Key, dict[str, float]]:
    """Each prompt through the model's own forward, backward through all of it, and every gradient read as it is."""
    prompts = prompts_of()
    tokenized = tokenize(found.tokenizer, prompts)
    rivals = {"salbutamol": "aspirin", "beta blocker": "aspirin"}
    tokens = {(row["template"], row["term"]): row["answer_token"] for row in tokenized.table.to_pylist()}
    expected: dict[Key, dict[str, float]] = {}
    for (template, term), indices in zip(tokens, tokenized.indices, strict=True):
        answer = tokens[template, term]
        if answer is None:
            continue
        targets = ["loss"] + (["logit_difference"] if template == "a" and term in rivals else [])
        for target in targets:
            logits = found.model(input_ids=torch.tensor([indices]), use_cache=False).logits[0, -1].float()
            value = -logits.log_softmax(dim=-1)[answer]
            if target == "logit_difference":
                value = logits[answer] - logits[RIVALS[rivals[term]]]
            found.model.zero_grad()
            value.backward()
            for number, layer in enumerate(Stack.of(found.model).layers):
                for name, parts in pieces(layer).items():
                    gradients = torch.cat([gradient.flatten().double() for gradient, _ in parts])
                    weights = torch.cat([weight.detach().flatten().double() for _, weight in parts])
                    expected[number, name, target, template, term] = {
                        "mean_abs_gradient": gradients.abs().mean().item(),
                        "rms_gradient": gradients.square().mean().sqrt().item(),
                        "first_order_effect": (gradients * weights).sum().item(),
                        "weights": len(weights),
                        "size_of_effect": (gradients.norm() * weights.norm()).item(),
                    }
    found.model.zero_grad()
    return expected


def pieces(layer: nn.Module) -> dict[str, list[tuple[Tensor, Tensor]]]:
    """By the name of its row, every gradient with its weights."""
    named = layer_modules(layer)
    found: dict[str, list[tuple[Tensor, Tensor]]] = {}
    for owner in named.owners:
        for name, rows in owner.rows.items():
            weights = owner.module.get_parameter(name)
            gradient = torch.zeros_like(weights) if weights.grad is None else weights.grad.clone()
            both = zip(gradient, weights, strict=True) if len(rows) > 1 else [(gradient, weights)]
            for row, each in zip(rows, both, strict=True):
                found.setdefault(named.names[row], []).append(each)
    return found


def assert_close(rows: dict[Key, dict[str, Any]], expected: dict[Key, dict[str, float]], tolerance: float) -> None:
    """Values within a tolerance of their size; of an effect, which is a sum with signs, of the size of its terms.

    What cancels to next to nothing (the bias of keys, to which softmax is blind) is measured by the layer: by a
    hundredth of the largest in it for the same prompt and target.
    """
    assert rows.keys() == expected.keys()
    largest: dict[tuple[object, ...], float] = {}
    for (layer, _, *others), wanted in expected.items():
        for name in SIZES:
            place = (layer, *others, name)
            largest[place] = max(largest.get(place, 0.0), wanted[name])
    for key, wanted in expected.items():
        assert rows[key]["weights"] == wanted["weights"]
        for value, name in zip(VALUES, SIZES, strict=True):
            size = max(wanted[name], largest[key[0], *key[2:], name] / 100)
            assert abs(rows[key][value] - wanted[value]) <= tolerance * size, (key, value, rows[key], wanted)


@pytest.mark.parametrize("budget", [1, 60])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_saliency_equals_the_naive_loop(architecture: str, budget: int) -> None:
    found = loaded(architecture)
    assert_close(measured(found, token_budget=budget), naive(found), 1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_modules_of_a_layer_hold_all_of_its_weights_under_names_of_their_own(architecture: str) -> None:
    for layer in Stack.of(tiny_model(architecture)).layers:
        named = layer_modules(layer)
        assert sum(named.weights) == sum(values.numel() for values in layer.parameters())
        assert len(set(named.names)) == len(named.names)


ROLES = {
    "llama": {"q k v o": "attention", "gate up down": "mlp", "input_layernorm post_attention_layernorm": "norm"},
    "qwen3-moe": {
        "q k v o": "attention",
        "router experts.0 experts.1 experts.2 experts.3": "mlp",
        "q_norm k_norm": "norm",
    },
    "gpt-oss": {"q k v o sinks": "attention", "router experts.0 experts.1 experts.2 experts.3": "mlp"},
    "phi3": {"qkv o": "attention", "gate_up down": "mlp"},
    "gpt2": {"qkv o": "attention", "up down": "mlp", "ln_1 ln_2": "norm"},
    "gpt-neox": {"qkv o": "attention", "up down": "mlp", "input_layernorm post_attention_layernorm": "norm"},
}


@pytest.mark.parametrize("architecture", ROLES)
def test_modules_are_called_by_their_role(architecture: str) -> None:
    named = layer_modules(Stack.of(tiny_model(architecture)).layers[0])
    part_of = dict(zip(named.names, named.parts, strict=True))
    expected = {name: part for names, part in ROLES[architecture].items() for name in names.split()}
    assert expected.items() <= part_of.items()
    norms = {name for name in part_of if "norm" in name}
    assert part_of.keys() - expected.keys() <= norms


class _Strange(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mixer = nn.Linear(2, 2)
        self.attention = nn.ModuleDict({"first": nn.ModuleDict({"q_proj": nn.Linear(2, 2)}), "q_proj": nn.Linear(2, 3)})
        self.mlp = nn.ModuleDict({"experts": nn.ModuleList(nn.ModuleDict({"w1": nn.Linear(2, 2)}) for _ in range(2))})
        self.scale = nn.Parameter(torch.ones(5))


def test_what_has_no_role_of_its_own_is_called_by_its_path() -> None:
    named = layer_modules(_Strange())
    parts = dict(zip(named.names, named.parts, strict=True))
    assert parts == {
        "scale": "other",
        "mixer": "other",
        "attention.first.q_proj": "attention",
        "attention.q_proj": "attention",
        "experts.0": "mlp",
        "experts.1": "mlp",
    }


def test_an_expert_that_no_token_is_sent_to_has_no_gradient() -> None:
    rows = measured(loaded("qwen3-moe"))
    experts = [row for row in rows.values() if row["module"].startswith("experts.")]
    idle = [row for row in experts if row["rms_gradient"] == 0]
    assert 0 < len(idle) < len(experts)
    assert all(row["mean_abs_gradient"] == row["first_order_effect"] == 0 for row in idle)


@pytest.mark.parametrize("architecture", ["llama", "gemma3", "gpt2", "qwen3-moe"])
def test_bfloat16_is_close_to_float32(architecture: str) -> None:
    found = loaded(architecture)
    expected = measured(found)
    found.model.to(torch.bfloat16)
    rows = measured(found)
    means = [np.array([each[key]["mean_abs_gradient"] for key in expected]) for each in (rows, expected)]
    assert rows.keys() == expected.keys()
    routed = np.array([not key[1].startswith("experts.") for key in expected])
    error = np.abs(means[0] - means[1])[routed] / means[1][routed]
    # Rounding of the forward to 8 bits moves gradients of these random models by a few percent.
    assert np.median(error) < 0.05
    assert np.quantile(error, 0.95) < 0.5


def state(model: nn.Module) -> list[object]:
    own = [(name, "forward" in module.__dict__, len(module._forward_hooks)) for name, module in model.named_modules()]
    return [own, [(name, values.requires_grad, values.grad) for name, values in model.named_parameters()]]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_model_is_afterwards_as_it_was(architecture: str) -> None:
    found = loaded(architecture)
    next(iter(Stack.of(found.model).layers[0].parameters())).requires_grad_(requires_grad=False)
    before, weights = state(found.model), [values.clone() for values in found.model.parameters()]
    measured(found)
    assert state(found.model) == before
    assert all(torch.equal(*both) for both in zip(weights, found.model.parameters(), strict=True))


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("calls", range(1, 26, 6))
def test_the_model_is_as_it_was_after_an_error_in_the_middle(error: type[BaseException], calls: int) -> None:
    found = loaded("gpt-oss")
    before, seen = state(found.model), 0
    watched = Stack.of(found.model).layers[2].mlp.router
    own = type(watched).forward

    def failing(self: nn.Module, *positional: Any, **named: Any) -> Any:
        nonlocal seen
        seen += self is watched
        if seen == calls:
            raise error
        return own(self, *positional, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(watched), "forward", failing)
        with pytest.raises(error):
            measured(found, token_budget=20)
    assert state(found.model) == before
    assert_close(measured(found), naive(found), 1e-5)


@pytest.mark.parametrize("architecture", ["llama", "gemma2"])
def test_weights_that_ask_for_no_gradient_have_saliency_too(architecture: str) -> None:
    found = loaded(architecture)
    expected = naive(found)
    found.model.requires_grad_(requires_grad=False)
    assert_close(measured(found), expected, 1e-5)


def test_saliency_can_be_taken_within_inference_mode() -> None:
    found = loaded("llama")
    expected = naive(found)
    with torch.inference_mode():
        assert_close(measured(found), expected, 1e-5)


def test_prompts_that_do_not_fit_into_memory_together_give_the_same() -> None:
    found = loaded("llama")
    assert_close(measured(found, token_budget=20, stored_bytes=1), naive(found), 1e-5)


def test_a_model_of_one_layer_has_saliency() -> None:
    found = loaded("llama")
    found.model.model.layers = found.model.model.layers[:1]
    found.model.config.num_hidden_layers = 1
    prompts = prompts_of()
    tokenized = tokenize(found.tokenizer, prompts)
    (rows,) = extract_saliency(found, prompts, tokenized, None)
    expected = naive(found)
    for row in rows.to_pylist():
        wanted = expected[0, row["module"], "loss", row["template"], row["term"]]
        assert row["mean_abs_gradient"] == pytest.approx(wanted["mean_abs_gradient"], rel=1e-5)


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("model.layers.2.mlp.up_proj", "layer 2"),
        ("model.layers.0.input_layernorm", "layer 0"),
        ("model.embed_tokens", "embedding"),
        ("model.norm", "final norm and head"),
    ],
)
def test_a_weight_that_is_no_number_is_an_error_that_names_the_place(path: str, named: str) -> None:
    found = loaded("llama")
    with torch.no_grad():
        found.model.get_submodule(path).weight[:] = torch.nan
    with pytest.raises(ModelError, match=named):
        measured(found)


def test_a_gradient_that_is_no_number_is_an_error_that_names_the_layer() -> None:
    found = loaded("llama")
    norm = found.model.model.layers[1].input_layernorm
    norm.register_full_backward_hook(lambda _, given, __: tuple(torch.full_like(each, torch.nan) for each in given))
    with pytest.raises(ModelError, match=r"gradients of layer [01]"):
        measured(found, token_budget=1)


def test_tokens_of_other_prompts_are_refused() -> None:
    found, prompts = loaded("llama"), prompts_of()
    with pytest.raises(ModelError, match="not those of the prompts"):
        list(extract_saliency(found, prompts.slice(1), tokenize(found.tokenizer, prompts), None))


def test_prompts_without_answers_have_no_rows() -> None:
    found, prompts = loaded("llama"), prompts_of()
    mute = prompts.set_column(
        prompts.schema.get_field_index("answer"), "answer", pa.nulls(prompts.num_rows, pa.string())
    )
    tokenized = tokenize(found.tokenizer, mute)
    assert list(extract_saliency(found, mute, tokenized, None)) == []
    assert saliency_rows(found, tokenized, None) == 0


def test_the_store_takes_the_rows_as_they_come(tmp_path: Path) -> None:
    found, prompts = loaded("gpt-oss"), prompts_of()
    tokenized = tokenize(found.tokenizer, prompts)
    pairs, store, keys = pairs_of(), Store(tmp_path), {"model": "tiny", "concept": "drugs"}
    rows = saliency_rows(found, tokenized, pairs)
    with store.writer("saliency", fingerprint="a", rows=rows, **keys) as writer:
        for layer in extract_saliency(found, prompts, tokenized, pairs):
            writer.add(layer)
    assert store.read("saliency", **keys).num_rows == rows


def test_progress_counts_every_prompt_up_and_down_every_layer() -> None:
    seen: list[int] = []
    measured(loaded("llama"), progress=seen.append, token_budget=30)
    assert sum(seen) == 2 * LAYERS * len(TEMPLATES) * (len(TERMS) - 1)


def test_a_padding_token_that_the_embedding_has_no_row_for_does_no_harm() -> None:
    usual, other = loaded("llama"), loaded("llama")
    other.tokenizer.add_special_tokens({"pad_token": "<a token of its own>"})
    assert other.tokenizer.pad_token_id >= other.model.get_input_embeddings().weight.shape[0]
    assert measured(other, token_budget=500) == measured(usual, token_budget=500)
    other.model.generation_config.pad_token_id = None
    assert _padding(other, frozenset([2])) == 2


def test_padding_has_no_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = 0
    own = descent.backward

    def watching(*positional: Any, batch: Any, gradients: dict[str, Tensor], **named: Any) -> Any:
        nonlocal seen
        below, sums = own(*positional, batch=batch, gradients=gradients, **named)
        if batch.mask is not None:
            for values in (*below.values(), *gradients.values()):
                assert not values[batch.mask == 0].any()
                assert values[batch.mask == 1].any()
                seen += 1
        return below, sums

    monkeypatch.setattr(descent, "backward", watching)
    measured(loaded("gemma3"), token_budget=500)
    assert seen > LAYERS


@pytest.mark.parametrize("device_map", ["cpu", "disk"])
def test_an_offloaded_model_gives_the_same_and_each_layer_is_fetched_twice(
    device_map: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = loaded("gpt-oss")
    expected = naive(found)
    where = {"model.embed_tokens": "cpu", "model.norm": "cpu", "model.rotary_emb": "cpu", "lm_head": "cpu"}
    places = where | {f"model.layers.{layer}": "disk" for layer in range(LAYERS)}
    if device_map == "disk":
        accelerate.dispatch_model(found.model, places, main_device="cpu", offload_dir=tmp_path)
    else:
        for layer in found.model.model.layers:
            accelerate.cpu_offload(layer, execution_device=torch.device("cpu"))
    layer = found.model.model.layers[1]
    assert layer.self_attn.q_proj.weight.device.type == "meta"
    loads = 0
    hook = layer.self_attn.q_proj._hf_hook
    own = hook.pre_forward

    def counting(*positional: Any, **named: Any) -> Any:
        nonlocal loads
        loads += 1
        return own(*positional, **named)

    Stack.of(found.model)
    monkeypatch.setattr(hook, "pre_forward", counting)
    prompts = prompts_of()
    tokenized = tokenize(found.tokenizer, prompts)
    tables = list(extract_saliency(found, prompts, tokenized, pairs_of(), token_budget=30))
    rows = [row for data in tables for row in data.to_pylist()]
    by_key = {tuple(row[name] for name in ("layer", "module", "target", "template", "term")): row for row in rows}
    assert_close(by_key, expected, 1e-5)
    assert loads <= 3, "once to see that the layers are a stack, once up and once down"
    assert layer.self_attn.q_proj.weight.device.type == "meta"


@pytest.mark.parametrize("tokens", [1, 2, 7])
@pytest.mark.parametrize("bias", [True, False])
def test_sums_of_a_matrix_equal_those_of_its_whole_gradient(tokens: int, bias: bool) -> None:
    torch.manual_seed(0)
    entered, gradient = torch.randn(3, tokens, 300), torch.randn(3, tokens, 1100)
    gradient[1, tokens - 1] = 0
    linear = nn.Linear(300, 1100, bias=bias)
    found = matrix_sums(entered, linear(entered).detach(), gradient, bias=bias)
    for prompt in range(3):
        whole = [gradient[prompt].double().T @ entered[prompt].double()]
        whole += [gradient[prompt].double().sum(dim=0)] if bias else []
        weights = [values.detach().double() for values in linear.parameters()]
        expected = (
            sum(values.abs().sum() for values in whole),
            sum(values.square().sum() for values in whole),
            sum((values * weight).sum() for values, weight in zip(whole, weights, strict=True)),
        )
        # Sums of |g| over a whole matrix in float32 would drift by more.
        np.testing.assert_allclose(found[:, prompt], expected, rtol=2e-6, atol=1e-3)


def test_a_module_that_does_more_than_multiply_by_its_weights_is_not_taken_for_one() -> None:
    class Squared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.full((4,), 1.5))

        def forward(self, values: Tensor) -> Tensor:
            return values * self.weight.square()

    values = torch.randn(2, 3, 4)
    assert scaled_by(Squared(), values, Squared()(values)) is None
    norm = nn.LayerNorm(4)
    assert scaled_by(norm, values, norm(values)) is not None

"""A sound model passes every check of `verify`; a model broken in one way fails the check that is about it."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from tiny_models import ARCHITECTURES, LAYERS, save_tiny, tiny_model, tiny_tokenizer
from torch import Tensor, nn
from typer.testing import CliRunner

from dagster_project.cli import app
from dagster_project.defs.resources import PROJECT
from extract import parity, verification
from extract.capabilities import architectures_markdown, slow_modules
from extract.loading import LoadedModel, load_model
from extract.models import ModelEntry
from extract.sweep import Effects
from extract.verification import few_prompts, verify
from warehouse.store import Store
from warehouse.tables import table
from warehouse.validation import validate

TEXTS = [row["text"] for row in few_prompts().to_pylist()]

Report = dict[str, dict[str, Any]]


def loaded(architecture: str = "llama", dtype: torch.dtype = torch.float32) -> LoadedModel:
    tokenizer = tiny_tokenizer(TEXTS)
    model = tiny_model(architecture, len(tokenizer))
    nn.Module.to(model, dtype=dtype)
    return LoadedModel(ModelEntry("tiny", Path("nowhere")), model, tokenizer)


def report(found: LoadedModel) -> Report:
    rows = verify(found)
    validate(table("verifications"), rows)
    return {row["aspect"]: row for row in rows.to_pylist()}


def failed(found: Report) -> set[str]:
    return {name for name, row in found.items() if row["verdict"] == "failed"}


def layer_of(found: LoadedModel, number: int) -> nn.Module:
    layer: nn.Module = found.model.model.layers[number]  # type: ignore[union-attr,operator,index,assignment]
    return layer


def hook_layer(found: LoadedModel, number: int, change: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Change what a layer returns, whoever calls it, given what it took."""

    def hook(_: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return change(args[0], output)

    layer_of(found, number).register_forward_hook(hook)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_sound_model_fails_nothing(architecture: str, dtype: torch.dtype) -> None:
    found = report(loaded(architecture, dtype))
    assert not failed(found)
    for name in ("replay", "replay_right", "replay_left", "head", "lesions", "patches", "saliency", "answers"):
        assert found[name]["verdict"] == "passed", name
        assert found[name]["measured"] <= found[name]["allowed"]
    assert found["layers"]["measured"] == LAYERS
    assert found["beginning_of_text"]["measured"] == 1


def test_exact_numbers_are_held_to_1e_5_and_others_to_the_model_s_own_floor() -> None:
    exact, half = report(loaded()), report(loaded(dtype=torch.bfloat16))
    assert exact["lesions"]["allowed"] == 1e-5
    assert half["lesions"]["allowed"] >= 2 * torch.finfo(torch.bfloat16).eps
    assert exact["padding_right"]["verdict"] == "passed"
    assert half["padding_right"]["verdict"] == "noted"
    assert half["padding_right"]["allowed"] is None


def test_the_floor_is_what_company_alone_changes() -> None:
    found = loaded(dtype=torch.bfloat16)
    # A layer that knows how many rows it works on: no other company gives what one row gives.
    hook_layer(found, 1, lambda _, left: left * (1 + 0.01 * (len(left) - 1)))
    rows = report(found)
    # Every stream of 16 copies is 15 % larger from layer 1 on; and that is what the sweep may be off by.
    assert rows["floor_activations"]["measured"] == pytest.approx(0.15, rel=0.2)
    assert rows["replay_right"]["verdict"] == "passed"


def test_padding_that_leaks_into_a_prompt_fails() -> None:
    found = loaded()
    hook_layer(found, 2, lambda _, left: left + 0.1 * left.sum(dim=1, keepdim=True))
    rows = report(found)
    assert "padding_right" in failed(rows)
    assert rows["padding_right"]["measured"] > 1e-3
    # Layers that look ahead are not run at chosen places: that is found out before anything is measured.
    assert rows["windows"]["verdict"] == "not supported"
    assert "look ahead" in rows["windows"]["detail"]


def test_a_layer_that_gives_something_else_each_time_fails_the_replay_at_that_layer() -> None:
    found = loaded()
    drawn = torch.Generator().manual_seed(0)
    hook_layer(found, 2, lambda _, left: left + 0.01 * torch.randn(left.shape[-1], generator=drawn))
    rows = report(found)
    assert {"replay", "replay_right", "lesions", "patches"} <= failed(rows)
    assert rows["replay"]["measured"] > 1e-3
    assert rows["replay"]["allowed"] == 1e-5


def test_a_head_that_reads_more_than_one_place_fails() -> None:
    found = loaded()
    found.model.get_output_embeddings().register_forward_hook(  # type: ignore[no-untyped-call]
        lambda _, args, logits: logits + args[0].mean(dim=1, keepdim=True).sum()
    )
    assert "head" in failed(report(found))


def test_a_residual_that_is_scaled_keeps_the_parts_from_being_told_apart() -> None:
    found = loaded()
    hook_layer(found, 2, lambda _, left: 1.01 * left)
    rows = report(found)
    assert not failed(rows)
    assert rows["parts"]["verdict"] == "not supported"
    assert "layer 2" in rows["parts"]["detail"]


def test_a_stream_that_is_changed_between_two_layers_fails_before_anything_is_measured() -> None:
    found = loaded()
    layer_of(found, 2).register_forward_pre_hook(lambda _, args: (1.01 * args[0], *args[1:]))
    rows = report(found)
    assert failed(rows) == {"stack"}
    assert "between layers 1 and 2" in rows["stack"]["detail"]
    assert "lesions" not in rows


def test_layers_that_are_no_plain_stack_fail_before_anything_is_measured() -> None:
    found = loaded()
    layers = found.model.model.layers  # type: ignore[union-attr]
    layers[3] = layers[2]  # type: ignore[index,operator]
    rows = report(found)
    assert failed(rows) == {"stack"}
    assert "once each and in order" in rows["stack"]["detail"]
    assert "lesions" not in rows


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_no_numbers_are_named_by_their_layer(value: float) -> None:
    found = loaded()
    with torch.no_grad():
        layer_of(found, 2).mlp.down_proj.weight[0, :3] = value  # type: ignore[union-attr,operator,index]
    rows = report(found)
    assert failed(rows) == {"parameters"}
    assert rows["parameters"]["measured"] == 3
    assert "model.layers.2.mlp.down_proj.weight (layer 2) holds 3" in rows["parameters"]["detail"]
    assert "lesions" not in rows


def test_numbers_that_are_not_finite_on_the_way_fail_and_are_no_crash() -> None:
    found = loaded()
    hook_layer(found, 1, lambda _, left: left / 0)
    rows = report(found)
    assert failed(rows)
    assert all(row["measured"] is None or row["measured"] == row["measured"] for row in rows.values())


def test_float16_fails() -> None:
    rows = report(loaded(dtype=torch.float16))
    assert "dtype" in failed(rows)
    assert "bfloat16" in rows["dtype"]["detail"]


def test_a_model_that_was_saved_in_float16_is_noted(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "tiny")
    load_model(ModelEntry("tiny", folder)).model.to(torch.float16).save_pretrained(folder)  # type: ignore[arg-type]
    rows = report(load_model(ModelEntry("tiny", folder)))
    assert rows["dtype"]["verdict"] == "noted"
    assert rows["dtype"]["detail"] == "Run in bfloat16. Its config names float16."


@pytest.mark.parametrize("name", ["lesions", "patches"])
def test_a_sweep_that_is_wrong_at_one_layer_fails_there(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = parity.sweep

    @torch.inference_mode()
    def wrong(*given: Any, **more: Any) -> Effects:
        effects = right(*given, **more)
        for outcome in effects.lesions.values() if name == "lesions" else ():
            outcome.log_probability[2] += 0.001
        for patch, values in effects.patches.items() if name == "patches" else ():
            values[2] += 0.001 * (patch.site == "delta")
        return effects

    monkeypatch.setattr(parity, "sweep", wrong)
    rows = report(loaded())
    assert failed(rows) == {name}
    assert "layer 2" in rows[name]["detail"]
    assert name == "lesions" or "delta:last" in rows[name]["detail"]


def test_saliency_that_differs_from_autograd_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    from extract import saliency_parity

    right = saliency_parity.Descent

    class Off(right):  # type: ignore[misc,valid-type]
        def run(self, *given: Any) -> Any:
            sums = super().run(*given)
            sums[1]["loss"][:] *= 1.001
            return sums

    monkeypatch.setattr(saliency_parity, "Descent", Off)
    rows = report(loaded())
    assert failed(rows) == {"saliency"}
    assert "layer 1" in rows["saliency"]["detail"]


def test_gradients_that_autograd_refuses_are_not_supported() -> None:
    found = loaded()
    # As a kernel without a derivative would.
    hook_layer(found, 1, lambda _, left: left.detach())
    layer_of(found, 1).register_forward_hook(_refuse_gradients)
    rows = report(found)
    assert rows["saliency"]["verdict"] == "not supported"
    assert "no derivative" in rows["saliency"]["detail"]


def _refuse_gradients(_: nn.Module, __: tuple[Tensor, ...], ___: Tensor) -> None:
    if torch.is_grad_enabled():
        raise RuntimeError("there is no derivative of this kernel")


def test_weights_that_were_frozen_are_compared_and_frozen_again() -> None:
    found = loaded()
    found.model.requires_grad_(False)
    assert report(found)["saliency"]["verdict"] == "passed"
    assert not any(weights.requires_grad for weights in found.model.parameters())


def test_answers_that_are_not_greedy_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    right = verification.extract_responses

    def wrong(*given: Any, **more: Any) -> Iterator[pa.Table]:
        first, *others = right(*given, **more)
        place = first.schema.get_field_index("response")
        changed = ["something else", *first["response"].to_pylist()[1:]]
        yield first.set_column(place, "response", pa.array(changed))
        yield from others

    monkeypatch.setattr(verification, "extract_responses", wrong)
    rows = report(loaded())
    assert failed(rows) == {"answers"}
    assert rows["answers"]["measured"] == 1


def test_two_tokens_that_begin_a_text_fail() -> None:
    from tokenizers.processors import TemplateProcessing

    found = loaded()
    twice = TemplateProcessing(single="<bos> <bos> $A", special_tokens=[("<bos>", 1)])
    found.tokenizer.backend_tokenizer.post_processor = twice
    rows = report(found)
    assert failed(rows) == {"beginning_of_text"}
    assert rows["beginning_of_text"]["measured"] == 2


def test_a_tokenizer_that_is_of_no_use_fails_and_the_layers_are_tried_all_the_same() -> None:
    found = loaded()
    smaller = tiny_model("llama", 40)
    rows = report(LoadedModel(found.entry, smaller, found.tokenizer))
    assert failed(rows) == {"vocabulary"}
    assert rows["lesions"]["verdict"] == "passed"
    assert rows["answers"]["verdict"] == "not supported"


def test_a_chat_template_that_is_asked_for_and_not_there_fails() -> None:
    found = loaded()
    rows = report(replace(found, entry=replace(found.entry, chat_template=True)))
    assert failed(rows) == {"tokenizer_offsets"}
    assert "no chat template" in rows["tokenizer_offsets"]["detail"]


def test_a_chat_template_is_noted_whether_it_is_used_or_not() -> None:
    found = loaded()
    found.tokenizer.chat_template = "<bos>{% for message in messages %}{{ message.content }}{% endfor %} ."
    assert "plain text, unless" in report(found)["chat_template"]["detail"]
    used = report(replace(found, entry=replace(found.entry, chat_template=True)))
    assert used["chat_template"]["measured"] == 1
    assert used["beginning_of_text"]["verdict"] == "passed"


def test_offloaded_weights_are_not_looked_at_and_their_gradients_not_compared(tmp_path: Path) -> None:
    entry = ModelEntry("tiny", save_tiny(tmp_path / "tiny", "qwen3"))
    rows = report(load_model(entry, device_map="offload", offload_folder=tmp_path / "layers"))
    assert rows["parameters"]["verdict"] == "noted"
    assert "offloaded" in rows["parameters"]["detail"]
    assert rows["saliency"]["verdict"] == "not supported"
    assert not failed(rows)


def test_a_model_is_as_before() -> None:
    found = loaded("gemma2")
    weights = {name: weight.clone() for name, weight in found.model.state_dict().items()}
    verify(found)
    assert all(torch.equal(weight, weights[name]) for name, weight in found.model.state_dict().items())
    assert all(each.grad is None and each.requires_grad for each in found.model.parameters())
    for module in found.model.modules():
        assert "forward" not in module.__dict__
        assert not module._forward_hooks
        assert not module._forward_pre_hooks


# The page of architectures


def test_the_page_of_architectures_is_what_they_do() -> None:
    written = (PROJECT / "docs" / "architectures.md").read_text(encoding="utf-8")
    assert written == "\n".join(architectures_markdown()) + "\n", "run `vesalius docs`"


def test_modules_are_slow_where_saliency_asks_for_prompts_alone() -> None:
    assert slow_modules(tiny_model("llama")) == []
    assert set(slow_modules(tiny_model("gpt-oss"))) >= {"sinks", "experts"}


# The command


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("warehouse", "home"):
        monkeypatch.setenv({"warehouse": "VESALIUS_WAREHOUSE", "home": "DAGSTER_HOME"}[name], str(tmp_path / name))
    monkeypatch.setenv("VESALIUS_MODELS", str(tmp_path / "models.toml"))
    return tmp_path


def test_the_command_prints_one_report_and_stores_it(place: Path) -> None:
    folder = save_tiny(place / "Tiny Llama")
    done = CliRunner().invoke(app, ["verify", str(folder)])
    assert done.exit_code == 0, done.output
    assert "tiny-llama: LlamaForCausalLM in float32 on cpu" in done.stdout
    assert "Nothing failed." in done.stdout
    stored = Store(place / "warehouse").read("verifications", model="tiny-llama").to_pylist()
    for row in stored:
        assert any(line.startswith(row["aspect"].replace("_", " ")) for line in done.stdout.splitlines())
        assert row["detail"] in done.stdout
    again = CliRunner().invoke(app, ["verify", str(folder), "--dtype", "bfloat16", "--warehouse", str(place / "other")])
    assert again.exit_code == 0, again.output
    found = Store(place / "other").read("verifications", model="tiny-llama").to_pylist()
    assert "Run in bfloat16. Its config names float32." in {row["detail"] for row in found}


def test_the_command_ends_with_code_1_where_a_check_fails_and_stores_that_too(place: Path) -> None:
    folder = save_tiny(place / "tiny")
    model = load_model(ModelEntry("tiny", folder)).model
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[0, 0] = torch.nan
    model.save_pretrained(folder)
    done = CliRunner().invoke(app, ["verify", str(folder)])
    assert done.exit_code == 1
    assert "Failed: parameters." in done.stdout
    assert "(layer 1)" in done.stdout
    stored = Store(place / "warehouse").read("verifications", model="tiny").to_pylist()
    assert [row["aspect"] for row in stored if row["verdict"] == "failed"] == ["parameters"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nothing"], "No model 'nothing'"),
        (["tiny", "--dtype", "float16"], "take one of float32, bfloat16"),
        (["tiny", "--device", "abacus"], "can't be brought to the device 'abacus'"),
    ],
)
def test_what_the_user_can_mend_is_one_message_and_code_2(place: Path, words: list[str], said: str) -> None:
    folder = save_tiny(place / "tiny")
    done = CliRunner().invoke(app, ["verify", *(str(folder) if word == "tiny" else word for word in words)])
    assert done.exit_code == 2, done.output
    assert said in done.stderr
    assert not (place / "warehouse").exists()

"""One sweep gives what one whole forward for each layer, prompt and lesion gives."""

import math
from dataclasses import replace
from pathlib import Path

import accelerate
import pytest
import torch
from naive import added, lesioned, module_of, patched, run
from tiny_models import ARCHITECTURES, LAYERS, tiny_model
from torch import Tensor
from transformers import PreTrainedModel

from extract.interventions import LESION_KINDS, LESION_PARTS, PATCH_POSITIONS, PATCH_SITES, Lesion, Patch
from extract.machine import Machine, make_machine
from extract.shelf import choose_donors
from extract.sweep import Effects, sweep
from extract.task import Pairs, Task
from warehouse.errors import ModelError

# Two templates: term after two tokens, of one or two tokens, then two or three more; one term longer than the others.
TEMPLATES = ([1, 10, 11], [1, 20]), ([12, 13], [21, 22, 23])
TERMS = ([30], [31], [32], [33, 34], [35, 36], [37, 38, 39])


def _task() -> Task:
    prompts, first, last, templates = [], [], [], []
    for template, (before, behind) in enumerate(zip(*TEMPLATES, strict=True)):
        for term in TERMS:
            prompts.append([*before, *term, *behind])
            first.append(len(before))
            last.append(len(before) + len(term) - 1)
            templates.append(template)
    return Task(
        prompts=prompts,
        term_first=torch.tensor(first),
        term_last=torch.tensor(last),
        templates=torch.tensor(templates),
        answers=torch.arange(40, 40 + len(prompts)),
        lesioned=torch.tensor([row % 6 != 2 for row in range(len(prompts))]),
        pairs=Pairs(
            clean=torch.tensor([2, 3, 6, 10]),
            corrupted=torch.tensor([0, 4, 7, 9]),
            answers=torch.tensor([[42, 40], [43, 44], [46, 47], [50, 49]]),
            first_difference=torch.tensor([3, 3, 2, 2]),
            term=torch.tensor([3, 4, 2, -1]),
            numbers=torch.arange(4),
        ),
    )


TASK = _task()
EVERY_LESION = tuple(Lesion(kind, part) for kind in LESION_KINDS for part in LESION_PARTS)
EVERY_PATCH = tuple(Patch(site, position) for site in PATCH_SITES for position in PATCH_POSITIONS)
SOME_LESIONS = (Lesion("identity"), Lesion("mean", "attention"), Lesion("resample"))
SOME_PATCHES = (Patch("resid", "token"), Patch("attn_out", "last"))


def _values(logits: Tensor, intact: Tensor, answer: int) -> list[float]:
    kl = torch.nn.functional.kl_div(logits.log_softmax(-1), intact.log_softmax(-1), log_target=True, reduction="sum")
    rank = (logits > logits[answer]).sum()
    return [float(logits[answer]), float(logits.log_softmax(-1)[answer]), float(rank), max(float(kl), 0.0)]


def _instead(model: PreTrainedModel, lesion: Lesion, layer: int, prompt: int, task: Task) -> tuple[Tensor, int]:
    """What a layer adds instead for a prompt, by the definition, and from which token on."""
    tokens, first, last = task.prompts[prompt], int(task.term_first[prompt]), int(task.term_last[prompt])
    own = added(model, tokens, layer, lesion.part)
    if lesion.kind == "identity":
        return torch.zeros_like(own), 0
    rows: list[Tensor] = [*own[:first]]
    same = [
        other for other in task.lesioned.nonzero()[:, 0].tolist() if task.templates[other] == task.templates[prompt]
    ]
    donor = int(choose_donors(task)[prompt])
    theirs = {other: added(model, task.prompts[other], layer, lesion.part) for other in {*same, donor}}
    for place in range(first, len(tokens)):
        from_end = len(tokens) - place
        if lesion.kind == "resample":
            begin, end = int(task.term_first[donor]), int(task.term_last[donor])
            there = min(begin + place - first, end) if place <= last else len(task.prompts[donor]) - from_end
            rows.append(theirs[donor][there])
        elif place <= last:
            spans = [theirs[other][int(task.term_first[other]) : int(task.term_last[other]) + 1] for other in same]
            rows.append(torch.cat(spans).mean(dim=0))
        else:
            rows.append(torch.stack([theirs[other][-from_end] for other in same]).mean(dim=0))
    return torch.stack(rows), first


def _assert_lesions(model: PreTrainedModel, effects: Effects, task: Task, tolerance: float = 1e-5) -> None:
    wanted = task.lesioned.nonzero()[:, 0].tolist()
    intact = {prompt: run(model, task.prompts[prompt])[0] for prompt in wanted}
    for place, prompt in enumerate(wanted):
        expected = _values(intact[prompt], intact[prompt], int(task.answers[prompt]))
        found = [float(values[place]) for values in vars(effects.intact).values()]
        assert found == pytest.approx(expected, abs=tolerance)
    for lesion, outcome in effects.lesions.items():
        for layer in range(outcome.logit.shape[0]):
            for place, prompt in enumerate(wanted):
                instead, first = _instead(model, lesion, layer, prompt, task)
                logits = lesioned(model, task.prompts[prompt], layer, lesion.part, instead, first)
                expected = _values(logits, intact[prompt], int(task.answers[prompt]))
                found = [float(values[layer, place]) for values in vars(outcome).values()]
                assert found == pytest.approx(expected, abs=tolerance), (lesion, layer, prompt)


def _assert_patches(model: PreTrainedModel, effects: Effects, task: Task, tolerance: float = 1e-5) -> None:
    pairs = task.pairs
    for pair in range(len(pairs)):
        clean, corrupted = task.prompts[int(pairs.clean[pair])], task.prompts[int(pairs.corrupted[pair])]
        good, bad = pairs.answers[pair].tolist()

        def difference(logits: Tensor, good: int = good, bad: int = bad) -> float:
            return float(logits[good] - logits[bad])

        assert float(effects.clean[pair]) == pytest.approx(difference(run(model, clean)[0]), abs=tolerance)
        assert float(effects.corrupted[pair]) == pytest.approx(difference(run(model, corrupted)[0]), abs=tolerance)
        for patch, found in effects.patches.items():
            tokens = {"last": [len(clean) - 1], "term": [int(pairs.term[pair])], "token": range(len(clean))}
            for column, token in enumerate(tokens[patch.position]):
                for layer in range(len(found)):
                    value = float(found[layer, pair, column])
                    if token < 0:
                        assert math.isnan(value)
                        continue
                    logits = patched(model, clean, corrupted, layer, patch.site, token)
                    assert value == pytest.approx(difference(logits), abs=tolerance), (patch, layer, pair, token)
            assert bool(found[:, pair, len(clean) :].isnan().all())


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_lesion_equals_a_whole_forward_with_a_hook(architecture: str, side: str) -> None:
    model = tiny_model(architecture)
    some = torch.arange(len(TASK.prompts)) % 3 != 2
    task = replace(TASK, lesions=EVERY_LESION if side == "right" else SOME_LESIONS, lesioned=some)
    _assert_lesions(model, sweep(make_machine(model), task, budget=40, side=side), task)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_patch_equals_a_whole_forward_with_a_hook(architecture: str, side: str) -> None:
    model = tiny_model(architecture)
    task = replace(TASK, patches=EVERY_PATCH if side == "right" else SOME_PATCHES)
    _assert_patches(model, sweep(make_machine(model), task, budget=40, side=side), task)


@pytest.mark.parametrize("budget", [1, 13, 10_000])
def test_all_at_once_in_any_budget_equals_each_alone(budget: int) -> None:
    model = tiny_model("gemma3")
    machine = make_machine(model)
    task = replace(TASK, lesions=EVERY_LESION, patches=EVERY_PATCH, reads=True, contributions=True)
    read: list[int] = []
    effects = sweep(machine, task, budget=budget, workers=2, reading=lambda layer, _: read.append(layer))
    assert read == list(range(-1, LAYERS))
    _assert_lesions(model, effects, task)
    _assert_patches(model, effects, task)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_stack_without_a_cache_gives_the_same(architecture: str) -> None:
    model = tiny_model(architecture)
    machine = make_machine(model)
    task = replace(TASK, lesions=EVERY_LESION, patches=EVERY_PATCH)
    plain = Machine(replace(machine.stack, cache=None), machine.head, machine.parts, {})
    fast, slow = sweep(machine, task, budget=60), sweep(plain, task, budget=60)
    for lesion in EVERY_LESION:
        for name, values in vars(fast.lesions[lesion]).items():
            torch.testing.assert_close(values, getattr(slow.lesions[lesion], name), atol=1e-5, rtol=1e-5)
    for patch in EVERY_PATCH:
        torch.testing.assert_close(fast.patches[patch], slow.patches[patch], atol=1e-5, rtol=1e-5, equal_nan=True)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_contributions_and_streams_are_read_as_hooks_see_them(architecture: str) -> None:
    model = tiny_model(architecture)
    task = replace(TASK, reads=True, contributions=True)
    parts = {"resid": "layer", "attn_out": "attention", "mlp_out": "mlp"}

    def check(layer: int, vectors: dict[str, dict[str, Tensor]]) -> None:
        if layer < 0:
            assert list(vectors) == ["resid"]
            return
        for prompt, tokens in enumerate(task.prompts):
            modules = [module_of(model, layer, part) for part in parts.values()]
            _, seen = run(model, tokens, keep=modules)
            for site, (_, left) in zip(parts, seen, strict=True):
                term = int(task.term_last[prompt])
                wanted = {"last": left[0, -1], "term": left[0, term], "mean": left[0, 1:].mean(dim=0)}
                for position, vector in wanted.items():
                    torch.testing.assert_close(vectors[site][position][prompt], vector, atol=1e-5, rtol=1e-5)

    sweep(make_machine(model), task, budget=60, reading=check)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_after_a_sweep_the_model_is_as_before(architecture: str) -> None:
    model = tiny_model(architecture)
    tokens = torch.tensor([TASK.prompts[0]])
    before = model(tokens, use_cache=False).logits
    weights = {name: weight.clone() for name, weight in model.state_dict().items()}
    flags = [weight.requires_grad for weight in model.parameters()]
    sweep(make_machine(model), replace(TASK, lesions=EVERY_LESION, patches=EVERY_PATCH), budget=60)
    assert torch.equal(model(tokens, use_cache=False).logits, before)
    assert all(torch.equal(weight, weights[name]) for name, weight in model.state_dict().items())
    assert flags == [weight.requires_grad for weight in model.parameters()]
    _assert_untouched(model)


def _assert_untouched(model: PreTrainedModel) -> None:
    for module in model.modules():
        assert "forward" not in module.__dict__
        assert not module._forward_hooks
        assert not module._forward_pre_hooks


@pytest.mark.parametrize("error", [RuntimeError("out"), KeyboardInterrupt()])
@pytest.mark.parametrize("layer", [-1, 1, LAYERS - 1])
def test_after_an_error_or_an_interrupt_the_model_is_as_before(error: BaseException, layer: int) -> None:
    model = tiny_model("gemma2")
    task = replace(TASK, lesions=EVERY_LESION, patches=EVERY_PATCH, reads=True, contributions=True)

    def fail(at: int, _: object) -> None:
        if at == layer:
            raise error

    with pytest.raises(type(error)):
        sweep(make_machine(model), task, budget=60, reading=fail)
    _assert_untouched(model)


def test_weights_that_are_no_numbers_are_named_by_their_layer() -> None:
    model = tiny_model("llama")
    machine = make_machine(model)
    with torch.no_grad():
        model.model.layers[2].mlp.down_proj.weight[0, 0] = torch.nan
    with pytest.raises(ModelError, match="Layer 2 gives numbers that are not finite"):
        sweep(machine, replace(TASK, lesions=EVERY_LESION), budget=60)
    _assert_untouched(model)


def test_a_model_of_one_layer_is_lesioned_and_patched() -> None:
    model = tiny_model("llama", layers=1)
    task = replace(TASK, lesions=EVERY_LESION, patches=EVERY_PATCH)
    effects = sweep(make_machine(model), task, budget=60)
    _assert_lesions(model, effects, task)
    _assert_patches(model, effects, task)


def test_parts_that_cannot_be_told_apart_are_refused_only_where_they_are_needed() -> None:
    model = tiny_model("llama")
    for layer in model.model.layers:
        layer.mlp.down_proj.register_forward_hook(lambda *_: None)
        layer.register_module("adapter", torch.nn.Linear(2, 2))
    machine = make_machine(model)
    assert "adapter" in machine.without["parts"]
    sweep(machine, replace(TASK, lesions=(Lesion("identity"),)), budget=60)
    with pytest.raises(ModelError, match="can't be told apart"):
        sweep(machine, replace(TASK, lesions=(Lesion("identity", "mlp"),)), budget=60)


def test_shares_of_the_work_sum_to_all_of_it() -> None:
    shares: list[float] = []
    task = replace(TASK, lesions=EVERY_LESION, patches=EVERY_PATCH)
    sweep(make_machine(tiny_model("llama")), task, budget=60, progress=shares.append)
    assert sum(shares) == pytest.approx(1)


def test_a_donor_is_another_prompt_of_the_template_and_of_the_same_length_if_there_is_one() -> None:
    task = TASK
    task = replace(task, lesions=EVERY_LESION)
    donors = choose_donors(task)
    for prompt, donor in enumerate(donors.tolist()):
        if not task.lesioned[prompt]:
            assert donor == -1
            continue
        assert donor != prompt
        assert task.templates[donor] == task.templates[prompt]
        assert task.lesioned[donor]
        alike = [
            other
            for other in task.lesioned.nonzero()[:, 0].tolist()
            if other != prompt
            and task.templates[other] == task.templates[prompt]
            and len(task.prompts[other]) == len(task.prompts[prompt])
        ]
        assert not alike or donor in alike
    assert torch.equal(donors, choose_donors(task))
    assert not torch.equal(donors, choose_donors(replace(task, seed=1)))


@pytest.mark.parametrize("place", ["memory", "disk"])
@pytest.mark.parametrize("architecture", ["llama", "gemma3", "gpt-oss"])
def test_an_offloaded_model_gives_the_same_and_each_layer_is_fetched_once(
    architecture: str, place: str, tmp_path: Path
) -> None:
    task = replace(TASK, lesions=EVERY_LESION, patches=EVERY_PATCH, reads=True)
    expected = sweep(make_machine(tiny_model(architecture)), task, budget=40)
    model = tiny_model(architecture)
    for layer in model.model.layers:
        if place == "memory":
            accelerate.cpu_offload(layer, execution_device=torch.device("cpu"))
        else:
            accelerate.disk_offload(layer, str(tmp_path / str(id(layer))), execution_device=torch.device("cpu"))
    machine = make_machine(model)
    weight = model.model.layers[1].self_attn.q_proj
    fetches: list[int] = []
    own = weight._hf_hook.pre_forward
    weight._hf_hook.pre_forward = lambda *args, **named: fetches.append(1) or own(*args, **named)
    found = sweep(machine, task, budget=40, workers=2)
    assert len(fetches) == 1
    assert weight.weight.device.type == "meta"
    for lesion in EVERY_LESION:
        assert torch.equal(found.lesions[lesion].logit, expected.lesions[lesion].logit)
    for patch in EVERY_PATCH:
        assert torch.equal(found.patches[patch].nan_to_num(), expected.patches[patch].nan_to_num())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_in_bfloat16_lesions_and_patches_move_no_more_than_another_batch_moves_the_model(architecture: str) -> None:
    model = tiny_model(architecture).bfloat16()
    task = replace(TASK, lesions=SOME_LESIONS, patches=SOME_PATCHES)
    machine = make_machine(model)
    whole, alone = (sweep(machine, task, budget=budget) for budget in (10_000, 1))
    exact = sweep(make_machine(tiny_model(architecture)), task, budget=40)
    floor = 0.05 * max(float(whole.intact.logit.abs().max()), 1.0)
    for lesion in SOME_LESIONS:
        for other in (alone, exact):
            moved = whole.lesions[lesion].logit - other.lesions[lesion].logit
            assert float(moved.abs().median()) <= floor
    for patch in SOME_PATCHES:
        moved = (whole.patches[patch] - alone.patches[patch]).nan_to_num()
        assert float(moved.abs().median()) <= floor

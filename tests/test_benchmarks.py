"""Benchmarks at toy size: they run, they find the same by every way, and they end where something differs."""

from pathlib import Path

import pyarrow as pa
import pytest
import torch

from benchmarks import deep_analyses, extraction, lesions, naive, offload, patching, saliency
from benchmarks.models import Shape, build_model, random_pairs, random_tokens, rounded
from benchmarks.paired import check_equal, paired_seconds, ratio
from benchmarks.scaling import Cost, slopes

TOY = Shape(layers=3, width=32, vocabulary=500)


def test_a_short_base_is_run_before_each_other_workload_and_counts_by_its_mean() -> None:
    order: list[str] = []
    workloads = {name: lambda name=name: order.append(name) for name in ("base", "one", "other")}
    seconds = paired_seconds(workloads, rounds=2, base="base", warm_up=False)
    assert order == ["base", *["base", "one", "base", "other"] * 2]
    assert {name: len(values) for name, values in seconds.items()} == {"base": 2, "one": 2, "other": 2}


def test_slopes_tell_what_one_more_costs_and_how_the_cost_grows() -> None:
    found = slopes([2, 4, 8], [Cost(seconds=3.0 * size, bytes=size**2) for size in (2, 4, 8)])
    assert found["seconds_each"] == pytest.approx(3)
    assert found["seconds_exponent"] == pytest.approx(1)
    assert found["bytes_exponent"] == pytest.approx(2)


def test_the_round_to_warm_up_does_not_count() -> None:
    done: list[str] = []
    seconds = paired_seconds({"one": lambda: done.append("one")}, rounds=3)
    assert (len(done), len(seconds["one"])) == (4, 3)


def test_a_ratio_is_the_median_of_rounds_with_samples_scaled_and_preparations_added() -> None:
    seconds = {"mine": [1.0, 2.0, 30.0], "before": [4.0, 4.0, 4.0], "base": [2.0, 2.0, 2.0]}
    assert ratio(seconds, "mine", "base") == 1.0
    assert ratio(seconds, "mine", "base", times=10, plus="before") == 12.0


@pytest.mark.parametrize("theirs", [torch.tensor([1.0, 2.001]), torch.tensor([1.0, torch.nan]), torch.tensor([1.0])])
def test_a_tool_that_finds_other_logits_ends_the_benchmark(theirs: torch.Tensor) -> None:
    check_equal("a tool", torch.tensor([1.0, 2.000001]), torch.tensor([1.0, 2.0]))
    with pytest.raises(SystemExit, match="a tool"):
        check_equal("a tool", theirs, torch.tensor([1.0, 2.0]))


def test_a_naive_lesion_of_the_last_layer_is_the_forward_of_a_model_without_it(tmp_path: Path) -> None:
    model = build_model(tmp_path, TOY).model
    tokens = random_tokens(TOY, 4, 8)
    found = naive.lesions(model, tokens, tokens[:, 0])
    model.model.layers = model.model.layers[:-1]
    expected = model(input_ids=tokens, use_cache=False).logits[:, -1].gather(1, tokens[:, :1])[:, 0]
    assert torch.allclose(found[-1], expected, atol=1e-6)
    assert not torch.allclose(found[0], expected, atol=1e-6)


def test_the_prompts_of_a_pair_differ_in_the_two_tokens_of_the_term_and_nowhere_else() -> None:
    clean, corrupted, _ = random_pairs(TOY, 50, 12, term=5)
    assert ((clean != corrupted) == torch.isin(torch.arange(12), torch.tensor([5, 6]))).all()
    assert int(corrupted.max()) < TOY.vocabulary


def test_lesions_are_timed_and_agree_with_the_naive_loop(tmp_path: Path) -> None:
    found = lesions.measure(tmp_path, TOY, rounds=1)
    assert found.keys() == {"ours", "naive", "shared_prefix", "with_activations"}
    assert all(value > 0 for value in found.values())


def test_patches_are_timed_and_agree_with_the_naive_loop(tmp_path: Path) -> None:
    found = patching.measure(tmp_path, TOY, rounds=1)
    assert {what: sorted(ratios) for what, ratios in found.items()} == {
        "grid": ["naive", "ours"],
        "last": ["naive", "ours"],
    }


def test_sampled_patches_touch_every_layer_once_and_only_tokens_that_tell() -> None:
    cells = patching.sampled_cells(12)
    assert [layer for layer, _ in cells] == list(range(12))
    assert all(patching.TERM <= token < patching.TOKENS for _, token in cells)
    assert len({token for _, token in cells}) > 4


def test_a_sweep_loads_an_offloaded_model_once_and_the_naive_loop_once_a_layer(tmp_path: Path) -> None:
    found = offload.measure(tmp_path, TOY, rounds=1)
    assert (found["ours"], found["naive"]) == (1.0, TOY.layers)


def test_activations_are_extracted_and_timed(tmp_path: Path) -> None:
    found = extraction.measure(tmp_path, Shape(2, 32), prompts=6, rounds=1)
    assert found.keys() == {"ours", "output_hidden_states"}
    assert list((tmp_path / "warehouse").rglob("*.parquet"))


def test_all_ways_to_saliency_give_the_same_gradients(tmp_path: Path) -> None:
    work = saliency.Work(build_model(tmp_path, TOY))
    expected = work.naive()
    saliency.check(work.ours(), expected)
    with pytest.raises(SystemExit, match="differ"):
        saliency.check({place: [2 * value for value in values] for place, values in expected.items()}, expected)


def test_a_stretched_model_goes_from_the_first_layer_to_the_last_in_even_steps() -> None:
    vectors = {-1: [[9.0, 9.0]], 0: [[0.0, 0.0]], 1: [[2.0, 4.0]], 2: [[4.0, 0.0]]}
    kind = pa.list_(pa.float32(), 2)
    parts = {
        layer: pa.table({"layer": pa.array([layer], pa.int16()), "vector": pa.array(rows, kind)})
        for layer, rows in vectors.items()
    }
    found = pa.concat_tables(deep_analyses.stretched(parts, 3, 5, "vector"))
    assert found["layer"].to_pylist() == [-1, 0, 1, 2, 3, 4]
    assert found["vector"].to_pylist() == [[9, 9], [0, 0], [1, 2], [2, 4], [3, 2], [4, 0]]
    without = list(deep_analyses.stretched({key: parts[key] for key in (0, 1, 2)}, 3, 4, None))
    assert [rows["vector"].to_pylist() for rows in without] == [[[0, 0]], [[2, 4]], [[2, 4]], [[4, 0]]]


def test_numbers_are_rounded_within_dictionaries() -> None:
    assert rounded({"L12": {"ours": 4.70051}}) == {"L12": {"ours": 4.701}}

"""The checkpoint loader: what fits a model, and that what does not fit changes nothing."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from model_zoo import CheckpointError, create_model, list_models, load_checkpoint, model_entry
from model_zoo.weights import checkpoints, keymaps, released_checkpoints, tables
from tests.model_zoo.plain import Plain, assert_holds, weights_of


class Wrapped(nn.Module):
    """A model whose own names begin with what training code often adds."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Plain()


def prefixed(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in weights.items()}


WRAPPINGS: dict[str, Callable[[dict[str, Tensor]], Mapping[str, Any]]] = {
    "bare": lambda w: w,
    "DistributedDataParallel": lambda w: {"model": prefixed(w, "module."), "epoch": 3},
    "PySlowFast": lambda w: {"epoch": 3, "model_state": w, "cfg": "a: 1", "optimizer_state": {}},
    "mmcv": lambda w: {"meta": {"epoch": 3}, "state_dict": prefixed(w, "backbone.")},
    "DeepSpeed": lambda w: {"module": w, "loss": torch.tensor(0.1)},
    "torch.compile": lambda w: {"model": prefixed(w, "_orig_mod.module.")},
    "pre-training": lambda w: prefixed(w, "encoder."),
    "nested": lambda w: {"model": {"state_dict": prefixed(w, "model.")}},
    "Caffe2": lambda w: {"blobs": {name: value.numpy() for name, value in w.items()}},
}


@pytest.mark.parametrize("wrap", WRAPPINGS.values(), ids=WRAPPINGS)
@pytest.mark.parametrize("build", [Plain, Wrapped])
def test_what_training_code_wraps_around_the_weights_is_taken_off(build, wrap):
    model = build()
    weights = weights_of(model)
    report = load_checkpoint(model, wrap(weights))
    assert_holds(model, weights)
    assert report.num_tensors == len(weights)
    assert report.head_loaded
    assert report.untouched == ()


def test_only_what_was_taken_off_is_noted():
    model = Wrapped()
    assert load_checkpoint(model, weights_of(model)).notes == ()
    wrapped = {"model": prefixed(weights_of(model), "module.")}
    assert load_checkpoint(model, wrapped).notes == (
        "taken from `model` of the file",
        "prefix `module.` removed from every name",
    )


def test_trained_weights_are_preferred_to_their_moving_average():
    model = Plain()
    weights = weights_of(model)
    average = {name: value * 2 for name, value in weights.items()}
    load_checkpoint(model, {"model_ema": average, "model": weights})
    assert_holds(model, weights)


def test_half_precision_files_become_the_models_precision():
    model = Plain().double()
    weights = weights_of(model)
    load_checkpoint(model, {name: value.half() for name, value in weights.items()})
    assert model.stem.weight.dtype == torch.float64
    torch.testing.assert_close(model.stem.weight.data, weights["stem.weight"].half().double())


def test_compiled_and_parallel_models_are_loaded_inside_their_wrappers():
    wraps: list[Callable[[nn.Module], Any]] = [
        lambda model: torch.compile(model, backend="eager"),
        nn.DataParallel,
    ]
    for wrap in wraps:
        model = Plain()
        weights = weights_of(model)
        load_checkpoint(wrap(model), weights)
        assert_holds(model, weights)


def test_the_whole_difference_is_told_and_nothing_is_changed():
    model = Plain()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    weights = weights_of(model)
    del weights["stem.bias"]
    weights |= {f"extra.{i}": torch.ones(1) for i in range(12)}
    weights["norm.weight"] = torch.ones(7)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(model, weights)
    listed = ", ".join(f"extra.{i}" for i in range(10))
    assert str(caught.value) == (
        "mapping does not fit the model: 1 missing: stem.bias; "
        f"12 unexpected: {listed}, ...; "
        "1 of another shape: norm.weight (wanted (4,), got (7,))"
    )
    assert_holds(model, before)


def test_a_checkpoint_without_weights_is_refused():
    without: list[dict[str, Any]] = [{}, {"model": {}}, {"epoch": 3}]
    for empty in without:
        with pytest.raises(CheckpointError, match="no weights in mapping"):
            load_checkpoint(Plain(), empty)


def test_other_classes_are_refused_unless_the_head_is_left_out():
    model = Plain()
    head = model.head.weight.clone()
    weights = weights_of(Plain(num_classes=7))
    with pytest.raises(CheckpointError, match=r"head\.weight \(wanted \(5, 4\)") as caught:
        load_checkpoint(model, weights)
    assert caught.value.hint == "build the model with num_classes=7, or load with_head=False"
    report = load_checkpoint(model, weights, with_head=False)
    assert not report.head_loaded
    assert report.untouched == ("head.weight", "head.bias")
    torch.testing.assert_close(model.head.weight, head, rtol=0, atol=0)
    torch.testing.assert_close(model.stem.weight.data, weights["stem.weight"], rtol=0, atol=0)


def test_files_without_batch_norms_count_of_batches_load():
    model = Plain()
    weights = weights_of(model)
    del weights["norm.num_batches_tracked"]
    report = load_checkpoint(model, weights)
    assert report.untouched == ("norm.num_batches_tracked",)


def test_a_model_without_storage_cannot_be_loaded():
    with torch.device("meta"):
        model = Plain()
    with pytest.raises(CheckpointError, match="meta device"):
        load_checkpoint(model, weights_of(Plain()))


def test_every_released_file_is_listed_once_for_a_variant_that_exists():
    files = [(released.file, released.variant) for released in checkpoints()]
    assert len(files) == len(set(files))
    assert {variant for _, variant in files} <= set(list_models())
    assert all(released.licence and released.source for released in checkpoints())
    assert {r.label_space for r in released_checkpoints("timesformer_base")} == {
        "kinetics400",
        "kinetics600",
        "ssv2",
        "howto100m",
    }


FAMILIES = sorted({model_entry(name).family for name in list_models()})


@pytest.mark.parametrize("family", FAMILIES)
def test_adapters_pass_our_own_layout_through(family):
    for name in list_models(family=family)[:2]:
        with torch.device("meta"):
            model = create_model(name)
            state = model.state_dict()
            conversion = keymaps.convert(dict(state), model)
        assert {k: v.shape for k, v in conversion.state.items()} == {
            k: v.shape for k, v in state.items()
        }


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_knows_its_head(family):
    name = list_models(family=family)[0]
    with torch.device("meta"):
        model = create_model(name)
    assert keymaps.head_names(model)


def test_tables_are_resized_along_one_axis():
    table = torch.arange(4.0).reshape(1, 4, 1)
    halved = tables.resize_1d(table, 2, mode="nearest")
    assert halved.flatten().tolist() == [0.0, 2.0]
    doubled = tables.resize_1d(table, 8, mode="linear")
    assert doubled.flatten().tolist() == [0.0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.0]
    kept = tables.resize_1d(table, 7, mode="nearest", num_prefix=1)
    assert kept.flatten().tolist() == [0.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0]


def test_grids_are_resized_in_two_dimensions_and_the_class_token_kept():
    grid = torch.arange(4.0).reshape(1, 4, 1)
    table = torch.cat((torch.full((1, 1, 1), 9.0), grid), dim=1)
    larger = tables.resize_2d(table, (2, 4), mode="nearest", num_prefix=1)
    assert larger.flatten().tolist() == [9, 0, 0, 1, 1, 2, 2, 3, 3]
    taller = tables.resize_2d(grid, (2, 2), mode="nearest", old_grid=(1, 4))
    assert taller.flatten().tolist() == [0, 2, 0, 2]
    assert tables.resize_2d(table.half(), (4, 4), num_prefix=1).dtype == torch.float16


def test_inflated_kernels_see_a_still_clip_as_the_image():
    kernel, image = torch.rand(2, 3, 3, 3), torch.rand(1, 3, 3, 3)
    expected = nn.functional.conv2d(image, kernel)
    still = image.unsqueeze(2).expand(-1, -1, 4, -1, -1)
    for inflate in (tables.inflate_mean, tables.inflate_centre):
        inflated = inflate(kernel, 4)
        assert inflated.shape == (2, 3, 4, 3, 3)
        seen = nn.functional.conv3d(still, inflated)
        torch.testing.assert_close(seen.squeeze(2), expected)
    assert tables.inflate_centre(kernel, 4)[:, :, [0, 1, 3]].abs().max() == 0


def test_a_head_of_710_classes_is_cut_to_kinetics_400():
    state = {"head.weight": torch.rand(710, 2), "head.bias": torch.rand(710)}
    cut = {name: value[:400] for name, value in state.items()}
    notes = tables.k710_head_as_k400(state, ("head.weight", "head.bias"))
    assert len(notes) == 1
    for name, value in state.items():
        torch.testing.assert_close(value, cut[name], rtol=0, atol=0)
    assert tables.k710_head_as_k400(state, ("head.weight",)) == []
    rows = tables.select_rows(torch.arange(5.0), [3, 0])
    assert rows.tolist() == [3.0, 0.0]

"""The checkpoint loader: what it takes, what it refuses, and that a refusal changes nothing."""

import argparse
import hashlib
import pickle
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from model_zoo import CheckpointError, create_model, list_models, load_checkpoint, model_entry
from model_zoo.weights import checkpoints, keymaps, released_checkpoints, tables
from model_zoo.weights.reading import read


class Plain(nn.Module):
    """A model of no family: a stem, a norm with a count, a head."""

    def __init__(self, num_classes: int = 5) -> None:
        super().__init__()
        self.stem = nn.Linear(3, 4)
        self.norm = nn.BatchNorm1d(4)
        self.head = nn.Linear(4, num_classes)


class Wrapped(nn.Module):
    """A model whose own names begin with what training code often adds."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Plain()


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """New values for every entry of `model`."""
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.rand(value.shape, generator=generator).to(value.dtype) + 1
        for name, value in model.state_dict().items()
    }


def assert_holds(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    assert model.state_dict().keys() == weights.keys()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, weights[name].to(value.dtype), rtol=0, atol=0)


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


def save_torchscript(weights: dict[str, Tensor], path: Path) -> None:
    model = Plain().eval()
    model.load_state_dict(weights)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch is giving TorchScript up; the files stay
        torch.jit.save(torch.jit.trace_module(Headed(model), {"forward": torch.ones(2, 3)}), path)


class Headed(nn.Module):
    def __init__(self, model: Plain) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        head: Tensor = self.model.head(self.model.norm(self.model.stem(x)))
        return head


def save_legacy(weights: dict[str, Tensor], path: Path) -> None:
    settings = argparse.Namespace(lr=0.1)
    checkpoint = {"model": weights, "args": settings, "best": np.float64(1.0)}
    torch.save(checkpoint, path, _use_new_zipfile_serialization=False)


def save_zip(weights: dict[str, Tensor], path: Path) -> None:
    settings = argparse.Namespace(lr=0.1)
    torch.save({"model": weights, "args": settings, "best": np.float64(1.0)}, path)


def save_caffe2(weights: dict[str, Tensor], path: Path) -> None:
    blobs: dict[str, Any] = {name: value.numpy() for name, value in weights.items()}
    blobs["lr"] = np.float32(0.1)
    path.write_bytes(pickle.dumps({"blobs": blobs}, protocol=2))


FORMATS: dict[str, Callable[[dict[str, Tensor], Path], None]] = {
    "new.pyth": save_zip,
    "old.pth": save_legacy,
    "hub.safetensors": save_file,
    "hub.bin": save_file,
    "clip.pt": save_torchscript,
    "slow.pkl": save_caffe2,
}


@pytest.mark.parametrize(("file", "save"), FORMATS.items(), ids=FORMATS)
def test_every_released_format_is_read(tmp_path, file, save):
    model = Plain()
    weights = weights_of(model)
    save(weights, tmp_path / file)
    report = load_checkpoint(model, tmp_path / file)
    assert_holds(model, weights)
    assert report.source == str(tmp_path / file)


def test_a_torchscript_archive_gives_what_torch_itself_reads_from_it(tmp_path):
    path = tmp_path / "clip.pt"
    weights = {name: value.half().float() for name, value in weights_of(Plain()).items()}
    save_torchscript(weights, path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = torch.jit.load(path).state_dict()
    ours = read(path)
    assert ours.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(ours[name], value, rtol=0, atol=0)


class Hostile:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self.path), "w"))


def save_hostile_archive(content: Any, path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(content, protocol=2))
        archive.writestr("archive/code/__torch__.py", "")


HOSTILE: dict[str, Callable[[Any, Path], object]] = {
    "zip": torch.save,
    "legacy": lambda content, path: torch.save(content, path, _use_new_zipfile_serialization=False),
    "bare pickle": lambda content, path: path.write_bytes(pickle.dumps(content)),
    "TorchScript": save_hostile_archive,
}


@pytest.mark.parametrize("save", HOSTILE.values(), ids=HOSTILE)
def test_a_file_that_holds_code_is_refused_and_its_code_not_run(tmp_path, save):
    trace = tmp_path / "was_run"
    save({"model": weights_of(Plain()), "extra": Hostile(trace)}, tmp_path / "hostile.pth")
    with pytest.raises(CheckpointError, match="not a readable checkpoint") as caught:
        load_checkpoint(Plain(), tmp_path / "hostile.pth")
    assert not trace.exists()
    assert "could run code" in str(caught.value.hint)


NO_CHECKPOINTS = {
    "empty": (b"", "download or save it again"),
    "web page": (b"\n<!DOCTYPE html><html>", "web page"),
    "LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
    "gzip": (b"\x1f\x8b\x08\x00aaaa", "compressed"),
    "text": (b"hello, this is no checkpoint at all", "unknown format"),
    "zeros": (bytes(1000), "unknown format"),
}


@pytest.mark.parametrize(("content", "hint"), NO_CHECKPOINTS.values(), ids=NO_CHECKPOINTS)
def test_what_is_no_checkpoint_is_refused_with_what_to_do(tmp_path, content, hint):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"weights\.pth") as caught:
        load_checkpoint(Plain(), path)
    assert hint in str(caught.value.hint)


def test_a_missing_file_and_a_directory_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"No such file.*: .*none\.pth"):
        load_checkpoint(Plain(), tmp_path / "none.pth")
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(CheckpointError, match="not a directory") as caught:
        load_checkpoint(Plain(), tmp_path)
    assert caught.value.hint == "give one of its files: model.safetensors"


@pytest.mark.parametrize(("file", "save"), FORMATS.items(), ids=FORMATS)
def test_a_damaged_file_is_refused_and_changes_nothing(tmp_path, file, save):
    model = Plain()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    whole = tmp_path / file
    save(weights_of(model), whole)
    content = whole.read_bytes()
    cut = tmp_path / f"cut_{file}"
    for length in range(1, len(content), max(1, len(content) // 60)):
        cut.write_bytes(content[:length])
        with pytest.raises(CheckpointError):
            load_checkpoint(model, cut)
    assert_holds(model, before)


@pytest.mark.parametrize(("file", "save"), FORMATS.items(), ids=FORMATS)
def test_altered_bytes_never_raise_anything_but_our_error(tmp_path, file, save):
    whole = tmp_path / file
    save(weights_of(Plain()), whole)
    content = bytearray(whole.read_bytes())
    altered = tmp_path / f"altered_{file}"
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(content), 150):
        changed = content.copy()
        changed[place] ^= int(rng.integers(1, 256))
        altered.write_bytes(changed)
        try:
            load_checkpoint(Plain(), altered)
        except CheckpointError:
            continue


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


def test_the_sha256_is_checked_before_the_file_is_read(tmp_path):
    path = tmp_path / "weights.pth"
    model = Plain()
    torch.save(weights_of(model), path)
    actual = hashlib.sha256(path.read_bytes()).hexdigest()
    load_checkpoint(model, path, expected_sha256=actual.upper())
    with pytest.raises(CheckpointError, match=f"wanted SHA-256 {'0' * 64}, .* has: {actual}"):
        load_checkpoint(model, path, expected_sha256="0" * 64)
    with pytest.raises(CheckpointError, match="only a file"):
        load_checkpoint(model, weights_of(model), expected_sha256=actual)


def test_a_model_without_storage_cannot_be_loaded():
    with torch.device("meta"):
        model = Plain()
    with pytest.raises(CheckpointError, match="meta device"):
        load_checkpoint(model, weights_of(Plain()))


def test_a_known_file_that_does_not_fit_says_what_it_was_released_for(tmp_path):
    path = tmp_path / "TimeSformer_divST_16_448_SSv2.pyth"
    torch.save({"model_state": weights_of(Plain())}, path)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(nn.Linear(2, 2), path)
    assert "released for timesformer_hr (ssv2, 16 frames of 448 px)" in str(caught.value.hint)


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

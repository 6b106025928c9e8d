"""Files: every released format is read, and what is no checkpoint or holds code is refused."""

import argparse
import hashlib
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from model_zoo import CheckpointError, load_checkpoint
from model_zoo.weights.reading import read
from tests.model_zoo.plain import Plain, assert_holds, weights_of


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


def test_a_known_file_that_does_not_fit_says_what_it_was_released_for(tmp_path):
    path = tmp_path / "TimeSformer_divST_16_448_SSv2.pyth"
    torch.save({"model_state": weights_of(Plain())}, path)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(nn.Linear(2, 2), path)
    assert "released for timesformer_hr (ssv2, 16 frames of 448 px)" in str(caught.value.hint)

"""Models of the user's own modules and of third parties' entry points."""

import importlib.metadata
import sys
from typing import Any

import pytest
import torch

from model_zoo import UnknownModelError, create_model, list_models, model_entry


def num_classes(model: Any) -> Any:
    """Of a model with a linear head."""
    return model.head.out_features


OWN = '''
from torch import nn
from model_zoo import Options
from model_zoo._registry import Family, register_model


class Net(nn.Module):
    """A net of mine.

    More of it.
    """

    def __init__(self, num_classes: int = 9, num_frames: int = 4, *, width: int = 3) -> None:
        super().__init__()
        self.head = nn.Linear(width, num_classes)
        self.num_frames = num_frames

    def forward(self, clips):
        return self.head(clips.mean((2, 3, 4)))


def from_options(options):
    return Net(options.num_classes)


@register_model(
    family=Family(title="Mine", paper="none", repository="none", licence="MIT"),
    clip=(2, 8, 8),
    num_classes=3,
)
def registered(options: Options) -> Net:
    """Registered as the zoo's own."""
    return Net(options.num_classes)


def needs_more(options, depth):
    return Net()


def no_model(num_frames):
    return num_frames


CONSTANT = 1
'''


@pytest.fixture
def own_module(monkeypatch, tmp_path):
    name = "vbench_test_own_models"
    (tmp_path / f"{name}.py").write_text(OWN)
    (tmp_path / f"{name}_broken.py").write_text("import no_such_dependency\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield name
    for loaded in (name, f"{name}_broken"):
        sys.modules.pop(loaded, None)


def test_the_users_class_is_built_with_the_parameters_that_it_has(own_module):
    entry = model_entry(f"{own_module}:Net")
    assert entry.name == f"{own_module}:Net"
    assert entry.clip == (4, 224, 224)
    assert entry.num_classes == 9
    assert entry.summary == "A net of mine."
    assert not entry.has_attention
    model = create_model(f"{own_module}:Net", num_frames=2, num_classes=5)
    assert model.num_frames == 2
    assert model(torch.zeros(1, 3, 2, 8, 8)).shape == (1, 5)


def test_the_users_functions_may_take_the_options(own_module):
    assert num_classes(create_model(f"{own_module}:from_options")) == 400
    entry = model_entry(f"{own_module}:registered")
    assert entry.clip == (2, 8, 8)
    assert entry.name == f"{own_module}:registered"
    assert num_classes(create_model(entry.name)) == 3


@pytest.mark.parametrize(
    ("attribute", "message"),
    [
        ("nothing", "nothing to build at .*no attribute 'nothing'"),
        ("CONSTANT", "no callable but a int"),
        ("needs_more", "cannot fill: depth, options"),
    ],
)
def test_what_cannot_be_built_is_told(own_module, attribute, message):
    with pytest.raises(UnknownModelError, match=message):
        model_entry(f"{own_module}:{attribute}")


def test_what_builds_no_model_is_told(own_module):
    with pytest.raises(UnknownModelError, match=r"must give a torch\.nn\.Module, not a int"):
        create_model(f"{own_module}:no_model")


def test_a_missing_module_is_told_but_its_own_missing_import_is_not_hidden(own_module):
    with pytest.raises(UnknownModelError, match="No module named 'no_such_module'") as caught:
        model_entry("no_such_module.inner:Net")
    assert "PYTHONPATH" in str(caught.value.hint)
    with pytest.raises(ModuleNotFoundError, match="no_such_dependency"):
        model_entry(f"{own_module}_broken:Net")


def test_third_parties_add_models_through_entry_points(monkeypatch, own_module):
    points = [
        importlib.metadata.EntryPoint("their_net", f"{own_module}:registered", "vbench.models"),
        importlib.metadata.EntryPoint("their_class", f"{own_module}:Net", "vbench.models"),
    ]

    def entry_points(*, group: str, name: str | None = None) -> list[Any]:
        assert group == "vbench.models"
        return [point for point in points if name in (None, point.name)]

    monkeypatch.setattr("model_zoo._registry.entry_points", entry_points)
    assert {"their_net", "their_class", "timesformer_base"} <= set(list_models())
    assert model_entry("their_net").clip == (2, 8, 8)
    assert model_entry("their_net").name == "their_net"
    assert num_classes(create_model("their_net")) == 3
    assert num_classes(create_model("their_class")) == 9

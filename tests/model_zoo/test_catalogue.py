"""The zoo as a whole: what is listed is what is built, and listing it costs nothing."""

import importlib
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

import model_zoo
from model_zoo import (
    ATTENTIONS,
    Options,
    UnknownModelError,
    UnsupportedInputError,
    create_model,
    list_models,
    model_entry,
)
from model_zoo._registry import ModelEntry, catalogue, options_for

ENTRIES = dict(catalogue())
FILES = sorted(path.stem for path in Path(model_zoo.__file__).parent.glob("[!_]*.py"))


def test_the_catalogue_read_as_text_is_what_the_modules_register():
    registered: dict[str, ModelEntry] = {}
    for file in FILES:
        module = importlib.import_module(f"model_zoo.{file}")
        for name, value in vars(module).items():
            entry = getattr(value, "model_entry", None)
            if isinstance(entry, ModelEntry) and entry.module == module.__name__:
                registered[name] = entry
    assert registered == ENTRIES


def test_every_architecture_file_has_a_variant():
    assert {entry.family for entry in ENTRIES.values()} == set(FILES)


@pytest.mark.parametrize("name", ENTRIES)
def test_a_name_begins_with_its_file_and_says_what_it_is(name):
    entry = ENTRIES[name]
    longest = max((file for file in FILES if f"{name}_".startswith(f"{file}_")), key=len)
    assert entry.family == longest
    assert entry.name == name
    assert entry.summary.endswith(".")
    assert entry.title
    assert entry.licence
    assert "arXiv:" in entry.paper or "doi" in entry.paper.lower() or "://" in entry.paper
    assert min(entry.clip) >= 1


def num_classes_of(logits: Any) -> Any:
    if isinstance(logits, Mapping):
        return {head: value.shape[1] for head, value in logits.items()}
    return logits.shape[1]


def outputs_of(num_classes: Any, logits: Any) -> Any:
    """Of a model whose one vector holds the classes of all heads, their sum."""
    if isinstance(num_classes, Mapping) and not isinstance(logits, Mapping):
        return sum(num_classes.values())
    return num_classes


@pytest.mark.parametrize("name", ENTRIES)
def test_every_variant_builds_without_storage_and_classifies_its_own_clip(name):
    entry = ENTRIES[name]
    with torch.device("meta"):
        model = create_model(name)
        logits = model(torch.empty(2, 3, *entry.clip))
    assert num_classes_of(logits) == outputs_of(entry.num_classes, logits)
    tensors = list(logits.values()) if isinstance(logits, Mapping) else [logits]
    assert all(tensor.shape[0] == 2 and tensor.is_meta for tensor in tensors)


def test_listing_the_zoo_does_not_import_torch():
    code = (
        "import sys, model_zoo\n"
        "names = model_zoo.list_models()\n"
        "assert names and model_zoo.model_entry(names[0]).summary\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
        "model_zoo.load_checkpoint\n"
        "assert 'torch' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_names_are_listed_by_pattern_and_by_family():
    assert list_models() == sorted(list_models())
    assert set(ENTRIES) <= set(list_models())
    assert list_models("timesformer_*_joint") == [
        "timesformer_base_joint",
        "timesformer_hr_joint",
        "timesformer_large_joint",
        "timesformer_tiny_joint",
    ]
    assert list_models("*_joint", family="vivit") == []
    assert len(list_models(family="timesformer")) == 13


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(UnknownModelError, match="unknown model: timesformer_bose") as caught:
        create_model("timesformer_bose")
    assert caught.value.hint == "did you mean `timesformer_base`?"
    with pytest.raises(UnknownModelError) as caught:
        model_entry("zzzzzz")
    assert caught.value.hint == "`vbench models` lists all"


def test_what_is_not_asked_for_is_the_variants_own():
    entry = model_entry("timesformer_hr")
    assert options_for(entry) == Options(
        num_frames=16, height_px=448, width_px=448, num_classes=400, attention="sdpa"
    )
    assert options_for(
        entry, num_frames=4, resolution=(112, 160), num_classes=174, attention="eager"
    ) == Options(num_frames=4, height_px=112, width_px=160, num_classes=174, attention="eager")
    assert options_for(entry, resolution=224).width_px == 224


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attention": "fast"}, "unknown attention: fast"),
        ({"num_frames": 0}, "num_frames must be at least 1, not 0"),
        ({"resolution": (224, -1)}, "width_px must be at least 1, not -1"),
        ({"resolution": 0}, "height_px must be at least 1, not 0"),
        ({"num_classes": 0}, "num_classes must be at least 1, not 0"),
        ({"num_classes": {"verb": 9, "noun": 0}}, "num_classes must be at least 1, not {.*0}"),
        ({"num_classes": {}}, "num_classes must be at least 1, not {}"),
    ],
)
def test_what_no_model_can_take_is_refused(options, message):
    with pytest.raises(UnsupportedInputError, match=message):
        create_model("timesformer_tiny", **options)


def test_an_unknown_attention_names_the_known_ones():
    with pytest.raises(UnsupportedInputError) as caught:
        create_model("timesformer_tiny", attention="fast")
    assert caught.value.hint == f"known: {', '.join(ATTENTIONS)}"


def test_a_missing_attribute_of_the_package_is_still_missing():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = model_zoo.nothing


@pytest.mark.parametrize("name", ["mvitv2_small", "uniformer_small", "timesformer_tiny"])
def test_one_classifier_holds_the_classes_of_several_heads_one_after_another(name):
    with torch.device("meta"):
        model = create_model(name, num_classes={"verb": 97, "noun": 300})
        assert num_classes_of(model(torch.empty(1, 3, *model_entry(name).clip))) == 397

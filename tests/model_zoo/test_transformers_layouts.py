"""Files of Hugging Face transformers' models, held against that library itself.

`golden/transformers.json` holds names, shapes and logits of its models with the weights and clips
of `tests.detfill`, one entry a model and version. Where it is installed,
``python -m tests.model_zoo.test_transformers_layouts`` writes the entries of its version again, and
the last test compares with the library as it is.
"""

import importlib
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from model_zoo import CheckpointError, Options, load_checkpoint
from model_zoo.layers.tubelet_vit import TubeletViTConfig
from model_zoo.timesformer import TimeSformer, TimeSformerConfig
from model_zoo.videomae import VideoMAE
from model_zoo.vivit import JointViViT, ViViTConfig
from tests.detfill import clip, fill, fill_model
from tests.golden.make_zoo_golden import condense_names
from tests.model_zoo.reference import assert_same_logits, expanded_names

FILE = Path(__file__).parents[1] / "golden" / "transformers.json"
GOLDEN: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
INPUT_SHAPE = (2, 3, 4, 32, 32)
SIZE = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "num_labels": 5}
CLIP = {"num_frames": 4, "image_size": 32}

# Their class, and the settings of its config beside size and clip.
THEIRS: dict[str, tuple[str, dict[str, Any]]] = {
    "videomae": ("VideoMAEForVideoClassification", {"intermediate_size": 48}),
    "videomae_pretraining": (
        "VideoMAEForPreTraining",
        {"intermediate_size": 48, "use_mean_pooling": False, "decoder_num_hidden_layers": 1},
    ),
    "timesformer_divided": (
        "TimesformerForVideoClassification",
        {"intermediate_size": 96, "attention_type": "divided_space_time"},
    ),
    "timesformer_joint": (
        "TimesformerForVideoClassification",
        {"intermediate_size": 96, "attention_type": "joint_space_time"},
    ),
    "vivit": ("VivitForVideoClassification", {"intermediate_size": 48}),
}


def theirs(case: str) -> Any:
    """A model of the installed library, filled."""
    library = importlib.import_module("transformers")
    name, settings = THEIRS[case]
    model_class = getattr(library, name)
    return fill_model(model_class(model_class.config_class(**SIZE, **CLIP, **settings)))


def logits_of(model: Any) -> Tensor:
    with torch.inference_mode():
        logits: Tensor = model(clip(INPUT_SHAPE).transpose(1, 2)).logits
    return logits


def ours(case: str) -> Any:
    """The same network of ours, in float64, with the epsilons of theirs."""
    options = Options(num_frames=4, height_px=32, width_px=32, num_classes=5)
    if case.startswith("timesformer"):
        scheme: Any = case.removeprefix("timesformer_")
        config = TimeSformerConfig(dim=24, depth=2, num_heads=3, scheme=scheme)
        return TimeSformer(config, options).double().eval()
    if case == "vivit":
        joint = ViViTConfig(dim=24, depth=2, num_heads=3, mlp_dim=48)
        return JointViViT(joint, options).double().eval()
    sizes = TubeletViTConfig(dim=24, depth=2, num_heads=3, mlp_dim=48)
    model = VideoMAE(sizes, options).double().eval()
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = 1e-12
    model.fc_norm.eps = 1e-5
    return model


def file_of(entry: str) -> dict[str, Tensor]:
    """What a file of the entry's model holds."""
    shapes = expanded_names(GOLDEN[entry]["state_dict"])
    return fill({name: torch.zeros(shape).double() for name, shape in shapes.items()})


LATEST = max(entry for entry in GOLDEN if entry.startswith("videomae@"))
CLASSIFIERS = sorted(name for name in GOLDEN if "pretraining" not in name)
PRETRAINED = sorted(GOLDEN.keys() - CLASSIFIERS)
SAVE: dict[str, Callable[[dict[str, Tensor], Path], Any]] = {
    "pytorch_model.bin": torch.save,
    "model.safetensors": save_file,
}


def test_both_major_versions_are_held():
    assert {entry.partition("@")[0] for entry in GOLDEN} == THEIRS.keys()
    assert {entry.partition("@")[2].partition(".")[0] for entry in GOLDEN} == {"4", "5"}


@pytest.mark.parametrize("file", SAVE)
@pytest.mark.parametrize("entry", CLASSIFIERS)
def test_a_file_gives_the_librarys_logits_in_our_model(tmp_path, entry, file):
    model = ours(entry.partition("@")[0])
    SAVE[file](file_of(entry), tmp_path / file)

    report = load_checkpoint(model, tmp_path / file)

    assert report.head_loaded
    assert report.untouched == ()
    with torch.inference_mode():
        assert_same_logits(model(clip(INPUT_SHAPE)), GOLDEN[entry]["logits"])


@pytest.mark.parametrize("bare", [False, True], ids=["with decoder", "encoder saved alone"])
@pytest.mark.parametrize("entry", PRETRAINED)
def test_a_pretraining_file_gives_its_encoder_and_leaves_the_classifier(entry, bare):
    file = file_of(entry)
    classifier = file_of(entry.replace("videomae_pretraining", "videomae"))
    if bare:  # as `VideoMAEModel` is saved
        prefix = "videomae."
        file = {k.removeprefix(prefix): v for k, v in file.items() if k.startswith(prefix)}
    model, expected = ours("videomae"), ours("videomae")
    load_checkpoint(expected, classifier)
    before = {name: value.clone() for name, value in model.state_dict().items()}

    report = load_checkpoint(model, file)

    kept = ("fc_norm.weight", "fc_norm.bias", "head.weight", "head.bias")
    assert report.untouched == kept
    assert not report.head_loaded
    for name, value in model.state_dict().items():
        wanted = before[name] if name in kept else expected.state_dict()[name]
        assert torch.equal(value, wanted), name


def test_a_classifier_of_the_first_token_is_another_network():
    file = {name: value for name, value in file_of(LATEST).items() if "fc_norm" not in name}
    file |= {"videomae.layernorm.weight": torch.ones(24), "videomae.layernorm.bias": torch.ones(24)}
    with pytest.raises(CheckpointError, match="the file has one of the first token") as caught:
        load_checkpoint(ours("videomae"), file)
    assert "use_mean_pooling=False" in str(caught.value.hint)


def test_other_classes_are_told_and_the_rest_loads_without_the_head():
    for entry in CLASSIFIERS:
        file = file_of(entry)
        file["classifier.weight"] = torch.zeros(7, 24)
        model = ours(entry.partition("@")[0])
        with pytest.raises(CheckpointError, match=r"weight \(wanted \(5, 24\), got \(7, 24"):
            load_checkpoint(model, file)
        assert not load_checkpoint(model, file, with_head=False).head_loaded


def test_a_missing_projection_does_not_fit():
    file = file_of(LATEST)
    del file["videomae.encoder.layer.1.attention.attention.key.weight"]
    with pytest.raises(CheckpointError, match=r"not in a layout .*blocks\.1\.attn\.key\.weight"):
        load_checkpoint(ours("videomae"), file)


@pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None,
    reason="pip install 'vbench[models]': no transformers",
)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", [case for case in THEIRS if "pretraining" not in case])
def test_the_installed_library_gives_the_logits_of_our_model(case):
    library_model, model = theirs(case), ours(case)
    load_checkpoint(model, library_model.state_dict())
    with torch.inference_mode():
        difference = logits_of(library_model) - model(clip(INPUT_SHAPE))
    assert difference.abs().max() < 1e-9


def write_golden() -> None:
    """Put the entries of the installed version into the golden file."""
    version = importlib.import_module("transformers").__version__
    for case in THEIRS:
        model = theirs(case)
        names = [[name, list(value.shape)] for name, value in model.state_dict().items()]
        entry: dict[str, Any] = {"state_dict": condense_names(names)}
        if "pretraining" not in case:
            flat = logits_of(model).flatten()
            entry["logits"] = {
                "first16": flat[:16].tolist(),
                "sum": flat.sum().item(),
                "l2": flat.norm().item(),
            }
        GOLDEN[f"{case}@{version}"] = entry
    FILE.write_text(json.dumps(GOLDEN, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_golden()

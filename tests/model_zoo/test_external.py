"""Models of other libraries.

The libraries are played by small modules with their interface, so that every test runs wherever the
suite does; the last ones compare with the real libraries where those are installed.
"""

import importlib.util
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from model_zoo import (
    MissingLibraryError,
    UnknownModelError,
    UnsupportedInputError,
    create_model,
    list_models,
    load_checkpoint,
    model_entry,
)

LIBRARIES = ("timm", "torchvision", "transformers")


def built(name: str, **options: Any) -> Any:
    """`create_model`, of a type whose attributes mypy does not know."""
    return create_model(name, **options)


class Pooled(nn.Module):
    """Averages all but the channels and classifies; keeps what it was called with."""

    main_input_name = "pixel_values_videos"

    def __init__(self, num_classes: int, *, channels_at: int = 1, has_attention: bool = True):
        super().__init__()
        self.head = nn.Linear(3, num_classes)
        self.channels_at = channels_at
        self.shape: tuple[int, ...] = ()
        if has_attention:
            self.fused_attn = True

    def forward(self, x: Tensor) -> Tensor:
        self.shape = tuple(x.shape)
        logits: Tensor = self.head(x.movedim(self.channels_at, 1).flatten(2).mean(2))
        return logits


@pytest.fixture
def fake_torchvision(monkeypatch):
    video = SimpleNamespace()

    def weights(crop: Any, num_categories: int, **meta: Any) -> Any:
        meta["categories"] = ["c"] * num_categories
        transforms = SimpleNamespace(keywords={"crop_size": crop})
        return SimpleNamespace(DEFAULT=SimpleNamespace(transforms=transforms, meta=meta))

    known = {
        "r3d_18": weights((112, 112), 400, min_temporal_size=4, min_size=(32, 32)),
        "resnet18": weights(224, 1000, min_size=(1, 1)),
        "vit_b_16": weights(224, 1000, min_size=(224, 224)),
    }
    asked: dict[str, Any] = {}

    def get_model(name: str, *, weights: None, num_classes: int, **sized: Any) -> nn.Module:
        asked.update(name=name, **sized)
        return Pooled(num_classes)

    models = SimpleNamespace(
        video=video,
        list_models=lambda module: ["r3d_18"] if module is video else ["resnet18", "vit_b_16"],
        get_model_weights=known.__getitem__,
        get_model=get_model,
    )
    torchvision = ModuleType("torchvision")
    torchvision.models = models  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchvision", torchvision)
    return asked


@pytest.fixture
def fake_timm(monkeypatch, fake_torchvision):
    asked: dict[str, Any] = {}

    def create(name: str, *, pretrained: bool, num_classes: int = 1000, **sized: Any) -> Any:
        assert not pretrained
        if sized.get("img_size") == (17, 17):
            raise AssertionError("17 is not a multiple of 16")
        asked.update(name=name, **sized)
        model = Pooled(num_classes, has_attention=name == "vit")
        model.pretrained_cfg = {  # type: ignore[assignment]
            "input_size": (3, 224, 224),
            "num_classes": 1000,
            "fixed_input_size": name == "vit",
        }
        return model

    timm = ModuleType("timm")
    timm.list_models = lambda: ["vit", "resnet"]  # type: ignore[attr-defined]
    timm.create_model = create  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "timm", timm)
    return asked


@pytest.fixture
def fake_transformers(monkeypatch, fake_torchvision):
    asked: dict[str, Any] = {}

    class Config(SimpleNamespace):
        pass

    def for_model(name: str, **changed: Any) -> Config:
        own: dict[str, Any] = {"num_frames": 16, "image_size": 224, "tubelet_size": 2}
        if name == "jepa":
            own = {"frames_per_clip": 64, "crop_size": 256, "tubelet_size": [4, 16, 16]}
        return Config(**own | changed)

    def from_config(config: Config, *, attn_implementation: str) -> Any:
        asked.update(vars(config), kernel=attn_implementation)
        model = Pooled(config.num_labels, channels_at=2)
        return Keyword(model)

    class Keyword(nn.Module):
        main_input_name = "pixel_values_videos"

        def __init__(self, model: nn.Module) -> None:
            super().__init__()
            self.model = model

        def forward(self, *, pixel_values_videos: Tensor) -> Any:
            return SimpleNamespace(logits=self.model(pixel_values_videos).unsqueeze(1))

    transformers = ModuleType("transformers")
    transformers.AutoConfig = SimpleNamespace(for_model=for_model)  # type: ignore[attr-defined]
    auto_class = SimpleNamespace(from_config=from_config)
    transformers.AutoModelForVideoClassification = auto_class  # type: ignore[attr-defined]
    transformers.Mae = type("Mae", (), {"_supports_sdpa": True})  # type: ignore[attr-defined]
    transformers.Jepa = type("Jepa", (), {"_supports_sdpa": False})  # type: ignore[attr-defined]
    auto = ModuleType("transformers.models.auto.modeling_auto")
    names = {"mae": "Mae", "jepa": "Jepa"}
    auto.MODEL_FOR_VIDEO_CLASSIFICATION_MAPPING_NAMES = names  # type: ignore[attr-defined]
    for module in (transformers, ModuleType("transformers.models"), auto):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(
        sys.modules, "transformers.models.auto", ModuleType("transformers.models.auto")
    )
    return asked


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_missing_library_is_told_with_how_to_install_it(monkeypatch, fake_torchvision, library):
    monkeypatch.setitem(sys.modules, library, None)
    for ask in (model_entry, create_model, list_models):
        with pytest.raises(MissingLibraryError, match=f"{library} is not installed") as caught:
            ask(f"{library}:*")
        assert caught.value.hint == "pip install 'vbench[models]'"


def test_torchvision_is_imported_beside_another_build_of_torch(monkeypatch, tmp_path):
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from torchvision import _meta_registrations\n"
        "from types import SimpleNamespace\n"
        "video = object()\n"
        "models = SimpleNamespace(video=video, list_models=lambda module: [])\n"
    )
    (package / "_meta_registrations.py").write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')\n"
    )
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        assert list_models("torchvision:*") == []
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]


def test_an_image_model_of_timm_takes_one_frame(fake_timm):
    entry = model_entry("timm:vit")
    assert (entry.clip, entry.num_classes, entry.label_space) == ((1, 224, 224), 1000, "imagenet1k")
    assert entry.name == "timm:vit"
    assert entry.has_attention
    assert not model_entry("timm:resnet").has_attention
    model = create_model("timm:vit", resolution=(32, 48), num_classes=5)
    assert fake_timm["img_size"] == (32, 48)
    assert model(torch.zeros(2, 3, 1, 32, 48)).shape == (2, 5)
    assert model.library_model.shape == (2, 3, 32, 48)
    with pytest.raises(UnsupportedInputError, match="1 frame, not 4"):
        model(torch.zeros(2, 3, 4, 32, 48))
    with pytest.raises(UnsupportedInputError, match="1 frame, not 8"):
        create_model("timm:vit", num_frames=8)
    with pytest.raises(UnsupportedInputError, match="vit for 17 x 17 px: 17 is not a multiple"):
        create_model("timm:vit", resolution=17)


def test_attention_of_timm_is_chosen_for_the_model_alone(fake_timm):
    assert built("timm:vit").library_model.fused_attn is True
    assert built("timm:vit", attention="eager").library_model.fused_attn is False


def test_video_and_image_models_of_torchvision_are_told_apart(fake_torchvision):
    video, image = model_entry("torchvision:r3d_18"), model_entry("torchvision:resnet18")
    assert (video.clip, video.label_space) == ((16, 112, 112), "kinetics400")
    assert (image.clip, image.label_space) == ((1, 224, 224), "imagenet1k")
    model = create_model("torchvision:r3d_18", num_frames=4, resolution=(32, 64))
    assert model(torch.zeros(2, 3, 4, 32, 64)).shape == (2, 400)
    assert model.library_model.shape == (2, 3, 4, 32, 64)
    with pytest.raises(UnsupportedInputError, match=r"at least 4x32x32 .* not 2x112x112"):
        create_model("torchvision:r3d_18", num_frames=2)
    create_model("torchvision:vit_b_16", resolution=32)
    assert fake_torchvision["image_size"] == 32
    with pytest.raises(UnsupportedInputError, match="square frames, not 32 x 64 px"):
        create_model("torchvision:vit_b_16", resolution=(32, 64))


def test_video_models_of_transformers_are_built_from_a_config(fake_transformers):
    assert model_entry("transformers:mae").clip == (16, 224, 224)
    assert model_entry("transformers:jepa").clip == (64, 256, 256)
    model = built("transformers:mae", num_frames=4, resolution=32, num_classes=7)
    assert fake_transformers["num_frames"] == 4
    assert fake_transformers["image_size"] == 32
    assert model(torch.zeros(2, 3, 4, 32, 32)).shape == (2, 7)
    assert model.library_model.model.shape == (2, 4, 3, 32, 32)
    with pytest.raises(UnsupportedInputError, match="multiple of 4 frames, not 6"):
        create_model("transformers:jepa", num_frames=6)


@pytest.mark.parametrize(
    ("name", "attention", "kernel"),
    [("mae", "sdpa", "sdpa"), ("mae", "eager", "eager"), ("jepa", "sdpa", "eager")],
)
def test_attention_of_transformers_is_what_the_model_has(
    fake_transformers, name, attention, kernel
):
    assert model_entry(f"transformers:{name}").has_attention is (name == "mae")
    create_model(f"transformers:{name}", attention=attention)
    assert fake_transformers["kernel"] == kernel


def test_models_of_a_library_are_listed_and_misspelt_ones_suggested(fake_timm, fake_transformers):
    assert list_models("timm:*") == ["timm:resnet", "timm:vit"]
    assert list_models("torchvision:r*") == ["torchvision:r3d_18", "torchvision:resnet18"]
    assert list_models("transformers:m*") == ["transformers:mae"]
    assert list_models("nothing:*") == []
    with pytest.raises(UnknownModelError, match="timm has no model: resnit") as caught:
        create_model("timm:resnit")
    assert caught.value.hint == "did you mean `timm:resnet`?"


def test_checkpoints_of_a_library_load_into_its_model(fake_timm):
    model = built("timm:vit")
    weights = {"head.weight": torch.rand(1000, 3), "head.bias": torch.rand(1000)}
    assert load_checkpoint(model, {"state_dict": weights}).head_loaded
    torch.testing.assert_close(model.library_model.head.weight.data, weights["head.weight"])


def needs(*libraries: str) -> pytest.MarkDecorator:
    missing = [name for name in libraries if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(
        bool(missing), reason=f"pip install 'vbench[models]': no {', '.join(missing)}"
    )


@needs("torchvision")
def test_torchvisions_own_weights_give_its_logits_in_our_r2plus1d():
    torch.manual_seed(0)
    theirs, ours = built("torchvision:r2plus1d_18"), create_model("r2plus1d_18")
    load_checkpoint(ours, theirs.library_model.state_dict())
    clips = torch.randn(1, 3, 4, 56, 56)
    with torch.inference_mode():
        torch.testing.assert_close(ours.eval()(clips), theirs.eval()(clips))


@needs("timm", "torchvision", "transformers")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name",
    ["timm:deit_tiny_patch16_224", "timm:convnext_tiny", "torchvision:swin3d_t"]
    + [f"transformers:{name}" for name in ("timesformer", "videomae", "vivit", "vjepa2")],
)
def test_models_of_the_real_libraries_classify_their_default_clip(name):
    entry = model_entry(name)
    with torch.device("meta"):
        logits = create_model(name)(torch.empty(2, 3, *entry.clip))
    assert logits.shape == (2, entry.num_classes)

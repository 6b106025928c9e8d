"""Classifiers of timm, torchvision and transformers, behind the zoo's interface.

A library is imported when one of its models is asked for. Models are built with random weights:
nothing is downloaded.
"""

import importlib
import operator
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from types import ModuleType
from typing import Any, Final

import torch
from torch import Tensor, nn

from model_zoo._errors import MissingLibraryError, UnknownModelError, UnsupportedInputError
from model_zoo._registry import ModelEntry, Options
from model_zoo.layers.attention import forced_kernel

Build = Callable[[Options], nn.Module]
INSTALL: Final = "pip install 'vbench[models]'"


@dataclass(frozen=True, kw_only=True, slots=True)
class Library:
    """What a library offers.

    Attributes:
        names: Gives the names of its classifiers.
        resolve: Gives the function that builds one.
    """

    names: Callable[[], Iterable[str]]
    resolve: Callable[[str], Build]


class LibraryModel(nn.Module):
    """A library's model behind the zoo's interface.

    Checkpoints are loaded into `library_model`, whose names are the library's.
    """

    def __init__(self, model: nn.Module, *, attention: str) -> None:
        super().__init__()
        self.library_model = model
        self.attention = attention

    def forward(self, clips: Tensor) -> Tensor:
        """Classify: (B, 3, T, H, W) -> (B, num_classes)."""
        with forced_kernel(self.attention):
            logits = self.run(clips)
        return getattr(logits, "logits", logits).flatten(1)  # VideoPrism gives (B, 1, num_classes)

    def run(self, clips: Tensor) -> Any:
        """Call the library's model on clips in its own layout."""
        return self.library_model(clips)


class ImageModel(LibraryModel):
    """Takes clips of one frame."""

    def run(self, clips: Tensor) -> Any:
        """Call the model on the one frame, (B, 3, H, W)."""
        if clips.shape[2] != 1:
            raise UnsupportedInputError(
                f"an image model takes clips of 1 frame, not {clips.shape[2]}"
            )
        return self.library_model(clips.squeeze(2))


class FramesFirstModel(LibraryModel):
    """Takes clips as transformers does."""

    def run(self, clips: Tensor) -> Any:
        """Call the model on (B, T, 3, H, W)."""
        model = self.library_model
        return model(**{str(model.main_input_name): clips.transpose(1, 2)})


def described(build: Build, entry: ModelEntry) -> Build:
    """`build` with what is known of its model before it is built."""
    build.model_entry = entry  # type: ignore[attr-defined]
    return build


def _entry(library: str, name: str, **known: Any) -> ModelEntry:
    module = sys.modules[library]
    return ModelEntry(
        name=f"{library}:{name}",
        family=library,
        title=name,
        summary=f"{name} of {library} {getattr(module, '__version__', '')}".strip() + ".",
        paper="see the library",
        module=library,
        **known,
    )


def _require_known(library: str, name: str, known: Iterable[str]) -> None:
    known = list(known)
    if name not in known:
        close = get_close_matches(name, known, n=1)
        raise UnknownModelError(
            f"{library} has no model: {name}",
            hint=f"did you mean `{library}:{close[0]}`?" if close else None,
        )


def _import(library: str) -> ModuleType:
    try:
        return importlib.import_module(library)
    except ModuleNotFoundError as error:
        if error.name != library:
            raise MissingLibraryError(f"{library} needs {error.name}", hint=INSTALL) from error
        raise MissingLibraryError(f"{library} is not installed", hint=INSTALL) from error


def _import_torchvision() -> ModuleType:
    """Import torchvision, also where its compiled operators belong to another build of torch.

    Its wheel for CUDA cannot load them beside a CPU build of torch and then fails on describing
    them. No classifier uses them, so that description is left out.
    """
    try:
        return _import("torchvision")
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    descriptions = "torchvision._meta_registrations"
    sys.modules[descriptions] = ModuleType(descriptions)
    return _import("torchvision")


def _import_timm() -> ModuleType:
    _import_torchvision()
    return _import("timm")


def _import_transformers() -> ModuleType:
    with suppress(MissingLibraryError):
        _import_torchvision()
    return _import("transformers")


def _timm(name: str) -> Build:
    """An image classifier of timm."""
    timm = _import_timm()
    _require_known("timm", name, timm.list_models())
    with torch.device("meta"):
        sample = timm.create_model(name, pretrained=False)
    config = sample.pretrained_cfg

    def build(options: Options) -> nn.Module:
        size = (options.height_px, options.width_px)
        sized = {"img_size": size} if config.get("fixed_input_size") else {}
        classes = options.one_head()
        _require_one_frame(options)
        try:
            model = timm.create_model(name, pretrained=False, num_classes=classes, **sized)
        except (AssertionError, TypeError, ValueError) as error:
            raise UnsupportedInputError(
                f"timm cannot build {name} for {size[0]} x {size[1]} px: {error}"
            ) from error
        for module in _with_fused_attention(model):
            module.fused_attn = options.attention != "eager"  # type: ignore[assignment]
        return ImageModel(model, attention=options.attention)

    return described(
        build,
        _entry(
            "timm",
            name,
            repository="huggingface/pytorch-image-models",
            licence="Apache-2.0",
            clip=(1, *config["input_size"][1:]),
            num_classes=config["num_classes"],
            label_space="imagenet1k" if config["num_classes"] == 1000 else "see the library",
            has_attention=bool(_with_fused_attention(sample)),
        ),
    )


def _with_fused_attention(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if hasattr(module, "fused_attn")]


def _require_one_frame(options: Options) -> None:
    if options.num_frames != 1:
        raise UnsupportedInputError(
            f"an image model takes clips of 1 frame, not {options.num_frames}"
        )


def _torchvision_names() -> list[str]:
    models = _import_torchvision().models
    return [*models.list_models(module=models), *models.list_models(module=models.video)]


def _torchvision(name: str) -> Build:
    """A video or image classifier of torchvision."""
    _require_known("torchvision", name, _torchvision_names())
    models = sys.modules["torchvision"].models
    is_video = name in models.list_models(module=models.video)
    weights = models.get_model_weights(name).DEFAULT
    crop = weights.transforms.keywords["crop_size"]
    height, width = (crop, crop) if isinstance(crop, int) else crop
    # A ViT is built for its size; the others' smallest is known with their weights.
    takes_size = name.startswith("vit_")
    smallest = (weights.meta.get("min_temporal_size", 1), *weights.meta.get("min_size", (1, 1)))

    def build(options: Options) -> nn.Module:
        asked = (options.num_frames, options.height_px, options.width_px)
        if not is_video:
            _require_one_frame(options)
        if not takes_size and any(map(operator.lt, asked, smallest)):
            raise UnsupportedInputError(
                f"{name} needs at least {'x'.join(map(str, smallest))} (frames, height, width), "
                f"not {'x'.join(map(str, asked))}"
            )
        sized = {"image_size": _square(options)} if takes_size else {}
        model = models.get_model(name, weights=None, num_classes=options.one_head(), **sized)
        wrapper = LibraryModel if is_video else ImageModel
        return wrapper(model, attention=options.attention)

    return described(
        build,
        _entry(
            "torchvision",
            name,
            repository="pytorch/vision",
            licence="BSD-3-Clause",
            clip=(16 if is_video else 1, height, width),
            num_classes=len(weights.meta["categories"]),
            label_space="kinetics400" if is_video else "imagenet1k",
            has_attention=False,
        ),
    )


def _square(options: Options) -> int:
    if options.height_px != options.width_px:
        raise UnsupportedInputError(
            f"the model takes square frames, not {options.height_px} x {options.width_px} px"
        )
    return options.height_px


def _transformers_names() -> list[str]:
    _import_transformers()
    auto = importlib.import_module("transformers.models.auto.modeling_auto")
    return list(auto.MODEL_FOR_VIDEO_CLASSIFICATION_MAPPING_NAMES)


def _transformers(name: str) -> Build:
    """A video classifier of transformers, from its default config; `name` is its model type."""
    _require_known("transformers", name, _transformers_names())
    transformers = sys.modules["transformers"]
    auto = importlib.import_module("transformers.models.auto.modeling_auto")
    default = transformers.AutoConfig.for_model(name)
    model_class = getattr(transformers, auto.MODEL_FOR_VIDEO_CLASSIFICATION_MAPPING_NAMES[name])
    has_sdpa = bool(getattr(model_class, "_supports_sdpa", False))
    frames = "num_frames" if hasattr(default, "num_frames") else "frames_per_clip"
    size = "image_size" if hasattr(default, "image_size") else "crop_size"
    tubelet = getattr(default, "tubelet_size", 1)
    stride = tubelet if isinstance(tubelet, int) else tubelet[0]

    def build(options: Options) -> nn.Module:
        if options.num_frames % stride:
            raise UnsupportedInputError(
                f"{name} takes a multiple of {stride} frames, not {options.num_frames}"
            )
        config = transformers.AutoConfig.for_model(
            name,
            num_labels=options.one_head(),
            **{frames: options.num_frames, size: _square(options)},
        )
        kernel = "sdpa" if has_sdpa and options.attention != "eager" else "eager"
        model = transformers.AutoModelForVideoClassification.from_config(
            config, attn_implementation=kernel
        )
        return FramesFirstModel(model, attention=options.attention)

    return described(
        build,
        _entry(
            "transformers",
            name,
            repository="huggingface/transformers",
            licence="Apache-2.0",
            clip=(getattr(default, frames), getattr(default, size), getattr(default, size)),
            num_classes=400,
            label_space="kinetics400",
            has_attention=has_sdpa,
        ),
    )


LIBRARIES: Final[Mapping[str, Library]] = {
    "timm": Library(names=lambda: _import_timm().list_models(), resolve=_timm),
    "torchvision": Library(names=_torchvision_names, resolve=_torchvision),
    "transformers": Library(names=_transformers_names, resolve=_transformers),
}

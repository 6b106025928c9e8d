"""Released layouts at full size: official names and shapes, wrapped as official code saves them.

On the meta device, so that a file of any size costs nothing.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from model_zoo import create_model
from model_zoo.weights import checkpoints, keymaps
from model_zoo.weights.keymaps import Conversion
from model_zoo.weights.unwrap import unwrap
from tests.model_zoo.reference import expanded_names, facts, shapes_of

State = dict[str, Tensor]
Built = tuple[str, dict[str, Any]]  # a variant and its options

AIM: dict[str, Built] = {
    "aim__vitb16_k400_8f": ("aim_base_16", {}),
    "aim__vitb16_k400_16f": ("aim_base_16", {"num_frames": 16}),
    "aim__vitb16_k400_32f": ("aim_base_16", {"num_frames": 32}),
    "aim__vitl14_k400_8f": ("aim_large_14", {}),
    "aim__vitl14_k400_32f": ("aim_large_14", {"num_frames": 32}),
    "aim__vitb16_ssv2_8f": ("aim_base_16_ssv2", {}),
}
ST_ADAPTER: dict[str, Built] = {
    "stadapter__vitb16_k400_12x384": ("st_adapter_base_16", {}),
    "stadapter__vitb16_ssv2_24x384": ("st_adapter_base_16_ssv2", {}),
}
CAST: dict[str, Built] = {
    "cast__b16_k400": ("cast_base_16", {}),
    "cast__b16_ssv2": ("cast_base_16_ssv2", {}),
    "cast__b16_ek100": ("cast_base_16_ek100", {}),
}


def of(golden: str) -> State:
    """The official entries, without values."""
    shapes = expanded_names(facts(golden)["state_dict"])
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


def prefixed(prefix: str, state: State) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


def on_meta(built: Built) -> nn.Module:
    name, options = built
    with torch.device("meta"):
        return create_model(name, **options)


def converted(file: Mapping[str, Any], model: nn.Module) -> Conversion:
    """What the loader would compare with the model."""
    state, _ = unwrap(file, model.state_dict().keys(), "a file")
    return keymaps.convert(state, model)


# As mmcv's runner, ST-Adapter's `save_model`, DeepSpeed and CAST's `save_model` write them.
WRAPPED: list[tuple[dict[str, Built], Callable[[State], Mapping[str, Any]]]] = [
    (AIM, lambda s: {"meta": {"epoch": 30}, "state_dict": s, "optimizer": {"state": {}}}),
    (AIM, lambda s: {"meta": {}, "state_dict": prefixed("module.", s)}),
    (ST_ADAPTER, lambda s: {"model": s, "optimizer": {}, "loss_scaler": {}, "next_epoch": 12}),
    (CAST, lambda s: {"module": s, "optimizer": None, "global_steps": 9, "dp_world_size": 16}),
    (CAST, lambda s: {"model": s, "optimizer": {}, "epoch": 49, "scaler": {}}),
]


@pytest.mark.parametrize(
    ("golden", "built", "wrap"),
    [(golden, built, wrap) for files, wrap in WRAPPED for golden, built in files.items()],
)
def test_a_released_file_fits_its_variant_entry_by_entry(golden, built, wrap):
    model = on_meta(built)

    conversion = converted(wrap(of(golden)), model)

    shapes = {name: tuple(tensor.shape) for name, tensor in conversion.state.items()}
    assert shapes == shapes_of(model)
    assert not conversion.untouched


def clip_archive(golden: str) -> State:
    """OpenAI's archive: the visual tower, and a text tower that names its blocks alike."""
    text = {
        "positional_embedding": (77, 512),
        "text_projection": (512, 512),
        "logit_scale": (),
        "token_embedding.weight": (49408, 512),
        "transformer.resblocks.0.attn.in_proj_weight": (1536, 512),
        "ln_final.weight": (512,),
    }
    tower = prefixed("visual.", of(golden))
    return tower | {name: torch.empty(shape, device="meta") for name, shape in text.items()}


BEGINNINGS = [
    ("clip__vitb16_visual", "aim_base_16"),
    ("clip__vitb16_visual", "aim_base_16_ssv2"),
    ("clip__vitl14_visual", "aim_large_14"),
    ("clip__vitb16_visual", "st_adapter_base_16_ssv2"),
    ("clip__vitb16_visual", "cast_base_16"),
    ("clip__vitb16_visual", "cast_base_16_ek100"),
]


@pytest.mark.parametrize(("golden", "name"), BEGINNINGS)
def test_clips_archive_is_the_tower_that_training_begins_from(golden, name):
    model = on_meta((name, {}))
    own = shapes_of(model)

    conversion = converted(clip_archive(golden), model)

    shapes = {entry: tuple(tensor.shape) for entry, tensor in conversion.state.items()}
    assert shapes == {entry: own[entry] for entry in shapes}
    # The tower's projection to the space shared with text has no place in any of them.
    assert len(shapes) == len(expanded_names(facts(golden)["state_dict"])) - 1
    assert keymaps.matching(own, conversion.untouched) == own.keys() - shapes.keys()


LINK = re.compile(r"drive\.google\.com/file/d/[\w-]{33}")


def test_files_whose_source_states_no_name_are_listed_by_their_link():
    linked = [released for released in checkpoints() if "drive.google.com" in released.file]
    assert all(LINK.fullmatch(released.file) for released in linked)
    assert {released.variant for released in linked} >= {
        "aim_base_16",
        "aim_large_14",
        *(name for name, _ in (ST_ADAPTER | CAST).values()),
        *(f"videomae_{size}" for size in ("small", "base", "large", "huge")),
    }


CLIPS = sorted(
    {
        (released.variant, released.num_frames, released.resolution_px)
        for released in checkpoints()
        if not released.note.startswith("image model")  # whose kernels any video's clips inflate
    }
)


@pytest.mark.parametrize(("name", "num_frames", "resolution_px"), CLIPS)
def test_a_variant_can_be_built_for_the_clips_of_its_released_files(
    name, num_frames, resolution_px
):
    on_meta((name, {"num_frames": num_frames, "resolution": resolution_px}))

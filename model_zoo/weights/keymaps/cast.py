"""CAST's checkpoints, and the two experts that its training begins from, a file each.

Follows `load_bidir_weights` of KHU-VLL/CAST@51eb871, util_tools/utils.py: OpenAI's CLIP archive
for space, a VideoMAE checkpoint for time. Those that CAST's README links for Kinetics-400 and
Something-Something V2 are VideoMAE's fine-tuned ones; where their classifier fits, CAST's begins
from it.
"""

import re
from typing import Final

from torch import Tensor, nn

from model_zoo.weights.keymaps import Conversion
from model_zoo.weights.keymaps.clip import visual_tower
from model_zoo.weights.keymaps.videomae import in_original_names

HEAD: Final = ("head.*", "head_verb.*", "head_noun.*")

CLIP: Final = ("clip_*", "blocks.*.clip_*")
VIDEOMAE: Final = ("patch_embed.*", "blocks.*.norm?.*", "blocks.*.attn.*", "blocks.*.mlp.*")
ADDED: Final = ("*Adapter.*", "*cross*", "vmae_fc_norm.*", *HEAD)

PRETRAINING: Final = ("decoder.", "encoder_to_decoder.", "encoder.norm.", "mask_token")


def convert(state: dict[str, Tensor], model: nn.Module) -> Conversion:
    """Give an expert's file CAST's names."""
    tower = visual_tower(state)
    if tower is not None:
        return Conversion(
            state={_in_cast(name): tensor for name, tensor in tower.items() if name != "proj"},
            notes=("CLIP's visual tower as the spatial expert; its projection `proj` left out",),
            untouched=(*VIDEOMAE, *ADDED),
        )
    state, notes = in_original_names(state)
    if "fc_norm.weight" in state:
        return _from_tuned(state, model, notes)
    if any(name.startswith("encoder.") for name in state):
        return Conversion(
            state={
                name.removeprefix("encoder."): tensor
                for name, tensor in state.items()
                if not name.startswith(PRETRAINING)
            },
            notes=(
                *notes,
                "VideoMAE's encoder as the temporal expert; its norm and decoder left out",
            ),
            untouched=(*CLIP, *ADDED),
        )
    return Conversion(state=state)


def _from_tuned(state: dict[str, Tensor], model: nn.Module, notes: list[str]) -> Conversion:
    """A fine-tuned VideoMAE, with its classifier where CAST has one of the same classes."""
    own = model.state_dict()
    head = [name for name in ("head.weight", "head.bias") if name in state]
    fits = all(name in own and own[name].shape == state[name].shape for name in head)
    dropped = ("fc_norm.",) if fits else ("fc_norm.", "head.")
    classifier = "kept as the start of CAST's" if fits else "left out"
    return Conversion(
        state={name: value for name, value in state.items() if not name.startswith(dropped)},
        notes=(
            *notes,
            f"VideoMAE as the temporal expert; its norm left out, its classifier {classifier}",
        ),
        untouched=(*CLIP, *ADDED),
    )


def _in_cast(name: str) -> str:
    in_block = re.fullmatch(r"transformer\.resblocks\.(\d+)\.(.+)", name)
    return f"blocks.{in_block[1]}.clip_{in_block[2]}" if in_block else f"clip_{name}"

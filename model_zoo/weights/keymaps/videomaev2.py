"""VideoMAE V2's files: pre-training files and ports laid out as VideoMAE's, heads of 710 classes.

Source: OpenGVLab/VideoMAEv2@29eab1e, run_class_finetuning.py. Distilled files and those tuned
further need nothing. The 710 Kinetics classes begin with Kinetics-400 in UniFormer's order, as
UMT's do; a model of 400 classes gets them in Kinetics-400's own, which is alphabetical. Heads of
Kinetics-600 and 700 are not taken out of 710 classes: the official lists put them in the orders of
misc/label_map_k600.txt and label_map_k700.txt, which are not those datasets' own.
"""

import functools
import tomllib
from pathlib import Path
from typing import Final

from torch import Tensor, nn

from model_zoo.weights.keymaps import Conversion
from model_zoo.weights.keymaps.videomae import encoder_alone, in_original_names
from model_zoo.weights.tables import select_rows

HEAD_ENTRIES: Final = ("head.weight", "head.bias")


def convert(state: dict[str, Tensor], model: nn.Module) -> Conversion:
    """Take a port's names back, the encoder out of pre-training, and 400 of 710 classes."""
    state, notes = in_original_names(state)
    conversion = encoder_alone(state)
    state, notes = dict(conversion.state), [*notes, *conversion.notes]
    if len(model.state_dict()["head.weight"]) == 400 and _has_710_classes(state):
        state |= {name: select_rows(state[name], _rows_of_kinetics400()) for name in HEAD_ENTRIES}
        notes.append(
            "the 400 classes of Kinetics-400, in its own order, taken out of 710, as the official "
            "loader does"
        )
    return Conversion(state=state, notes=notes, untouched=conversion.untouched)


def _has_710_classes(state: dict[str, Tensor]) -> bool:
    return all(name in state and len(state[name]) == 710 for name in HEAD_ENTRIES)


@functools.cache
def _rows_of_kinetics400() -> list[int]:
    text = Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")
    rows: list[int] = tomllib.loads(text)["kinetics400"]
    return rows

"""Read a checkpoint file of any format without running code that it may hold."""

import argparse
import json
import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from model_zoo._errors import CheckpointError


def read(path: Path) -> Any:
    """What the file holds, on the CPU."""
    if not path.is_file():
        raise CheckpointError(f"no such checkpoint file: {path}")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, json.JSONDecodeError) as error:
            raise CheckpointError(f"not a safetensors file: {path}", hint=str(error)) from error
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise CheckpointError(f"not a readable checkpoint: {path}", hint=str(error)) from error

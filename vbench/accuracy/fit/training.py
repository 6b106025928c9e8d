"""The loop: a model, its optimizer, a checkpoint from which it goes on as if never stopped."""

import contextlib
import csv
import os
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import model_zoo
from vbench.accuracy.fit.batches import Batch, Lists, batch
from vbench.accuracy.fit.optimizer import Optimizer
from vbench.accuracy.fit.recipe import Recipe
from vbench.accuracy.planning import entry_of
from vbench.accuracy.transforms import to_clips
from vbench.accuracy.worker import by_head
from vbench.core import store
from vbench.core.errors import UsageError

CHECKPOINT_FILE: Final = "checkpoint.pt"
LOSSES_FILE: Final = "losses.csv"
WEIGHTS_FILE: Final = "model.safetensors"
SAVE_EVERY: Final = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """What one step gave.

    Attributes:
        step: From 1.
        losses: Cross-entropy of each head.
    """

    step: int
    loss: float
    losses: dict[str, float]
    learning_rate: float


def trainable(name: str, heads: Mapping[str, object]) -> model_zoo.ModelEntry:
    """The entry of a model made for the benchmark, whose one classifier takes any of its heads.

    Raises:
        UsageError: It is made for something else.
    """
    entry = entry_of(name)
    if entry.label_space != "motion":
        raise UsageError(
            f"{name} has no heads for: {', '.join(heads)}",
            hint="those that have end in _nano: `vbench models '*_nano'`",
        )
    return entry


class Training:
    """A fit in a folder: begun, or gone on with.

    Attributes:
        step: Steps taken.
    """

    def __init__(
        self, name: str, recipe: Recipe, run_dir: Path, lists: Lists, *, device: str = "cpu"
    ) -> None:
        entry = trainable(name, lists.heads)
        self.recipe, self.run_dir, self.device = recipe, run_dir, torch.device(device)
        self.heads: dict[str, int] = dict(lists.heads)
        self.num_frames = entry.clip[0]
        self._lists = lists
        self._identity = f"{name} {recipe.as_json()} {lists.split}".rstrip()
        torch.manual_seed(recipe.seed)
        model = model_zoo.create_model(name, num_classes=self.heads)
        self.model = model.to(self.device).train()
        self.optimizer = Optimizer(self.model, recipe, num_outputs=sum(self.heads.values()))
        self.step = 0
        if (run_dir / CHECKPOINT_FILE).exists():
            self._restore()

    def run(self) -> Iterator[Step]:
        """Take the steps that are left; saved every hundred, at the end, and if interrupted."""
        with self._losses() as write:
            try:
                while self.step < self.recipe.steps:
                    taken = self._take()
                    write(taken)
                    if self.step % SAVE_EVERY == 0:
                        self.save()
                    yield taken
            finally:
                self.save()

    def _take(self) -> Step:
        recipe = self.recipe
        rate = recipe.learning_rate_at(self.step)
        # Of the step alone, so that a resumed fit drops out what an undisturbed one does.
        torch.manual_seed((recipe.seed << 32) + self.step + 1)
        made = batch(self.step, recipe, self._lists, num_frames=self.num_frames)
        losses = self._losses_of(made)
        loss = torch.stack([recipe.head_weights[h] * x for h, x in losses.items()]).sum()
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip_norm)
        self.optimizer.step(rate)
        self.step += 1
        return Step(
            step=self.step,
            loss=loss.item(),
            losses={head: value.item() for head, value in losses.items()},
            learning_rate=rate,
        )

    def _losses_of(self, made: Batch) -> dict[str, Tensor]:
        clips = to_clips(torch.from_numpy(made.clips).to(self.device), self._lists.spatial)
        logits = by_head(self.model(clips), self.heads)
        return {
            head: F.cross_entropy(logits[head], torch.from_numpy(classes).to(self.device))
            for head, classes in made.labels.items()
        }

    def save(self) -> None:
        """Keep the state in one step, so that a kill leaves the last one whole.

        Raises:
            StoreError: It cannot be written.
        """
        state = {
            "identity": self._identity,
            "step": self.step,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        partial = self.run_dir / f".{CHECKPOINT_FILE}.part"
        try:
            torch.save(state, partial)
            partial.replace(self.run_dir / CHECKPOINT_FILE)
        except (OSError, RuntimeError) as error:  # a full disk is a RuntimeError of torch
            partial.unlink(missing_ok=True)
            raise store.cannot_write(self.run_dir, error) from None

    def _restore(self) -> None:
        path = self.run_dir / CHECKPOINT_FILE
        state = self._read(path)
        if state["identity"] != self._identity:
            raise UsageError(
                f"{self.run_dir} holds another fit: {state['identity'].partition(' ')[0]}",
                hint="write elsewhere with --out",
            )
        self.step = state["step"]
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])

    def _read(self, path: Path) -> dict[str, Any]:
        hint = "delete it to begin again, or write elsewhere with --out"
        try:
            found: object = torch.load(path, map_location=self.device, weights_only=True)
        except (OSError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
            reason = str(error).partition("\n")[0]
            raise UsageError(f"cannot read {path}: {reason}", hint=hint) from None
        if isinstance(found, dict) and set(found) == {"identity", "step", "model", "optimizer"}:
            return found
        raise UsageError(f"{path} holds no fit", hint=hint)

    @contextlib.contextmanager
    def _losses(self) -> Iterator[Any]:
        """Append to the loss curve, after dropping what comes after the checkpoint."""
        path = self.run_dir / LOSSES_FILE
        kept = path.read_text(encoding="utf-8").splitlines() if path.exists() and self.step else []
        lines = kept[: 1 + self.step] or [",".join(self._columns)]
        store.write_text(path, "\n".join(lines) + "\n")
        with path.open("a", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")

            def write(taken: Step) -> None:
                values = (taken.loss, *taken.losses.values(), taken.learning_rate)
                try:
                    writer.writerow((taken.step, *(f"{value:.6g}" for value in values)))
                    file.flush()
                except OSError as error:
                    raise store.cannot_write(self.run_dir, error) from None

            yield write

    @property
    def _columns(self) -> tuple[str, ...]:
        return ("step", "loss", *(f"{head}_loss" for head in self.heads), "learning_rate")

    def export(self, metadata: Mapping[str, str]) -> Path:
        """Write the weights alone, with what made them, as safetensors.

        Raises:
            StoreError: They cannot be written.
        """
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        path = self.run_dir / WEIGHTS_FILE
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        state = {name: value.contiguous().cpu() for name, value in self.model.state_dict().items()}
        try:
            save_file(state, partial, metadata=dict(metadata))
            partial.replace(path)
        except (OSError, SafetensorError) as error:
            partial.unlink(missing_ok=True)
            raise store.cannot_write(self.run_dir, error) from None
        return path

"""`vbench train`: fit a nano model to the motion benchmark; the same command goes on."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import vbench
from vbench.cli import console, making, options
from vbench.core.errors import UsageError

if TYPE_CHECKING:
    from vbench.accuracy.datasets import Dataset
    from vbench.accuracy.fit.batches import Lists
    from vbench.accuracy.fit.recipe import Recipe
    from vbench.accuracy.fit.training import Training
    from vbench.accuracy.transforms import Spatial

REPORT_EVERY = 50  # steps


def train(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A name from `vbench models '*_nano'`.")
    ],
    dataset: Annotated[
        str, typer.Option("--dataset", metavar="NAME", help="Only motion can be trained on.")
    ] = "motion",
    root: Annotated[
        Path | None, typer.Option("--root", metavar="DIR", help="Default: the user's cache.")
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            "--split", metavar="NAME", help="One list; default: train_easy, train_medium."
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", metavar="N", min=1, help="Default: the recipe's.")
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option("--batch-size", metavar="N", min=2, help="Clips, reversals among them."),
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", metavar="X", help="The highest.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Of everything random.")] = 0,
    threads: Annotated[
        int | None, typer.Option("--threads", metavar="N", min=1, help="Of a CPU; default: all.")
    ] = None,
    device: options.Device = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Default: results/train-MODEL.")
    ] = None,
    json: options.AsJson = False,
) -> None:
    """Fit a small model to the built-in benchmark, by the recipe that all of them share.

    Writes losses.csv, loss.png, a checkpoint from which the same command goes on, and the weights.

    Example: vbench train vivit_nano --steps 500
    """
    if dataset != "motion":
        raise UsageError(f"only motion can be trained on, not {dataset}", hint="--dataset motion")
    from vbench.accuracy.datasets import DATASETS
    from vbench.accuracy.fit.metadata import encoded_heads
    from vbench.accuracy.fit.recipe import recipe_with
    from vbench.cli.eval import resolved_device

    recipe = recipe_with(
        steps=steps, batch_clips=batch_size, learning_rate=learning_rate, seed=seed
    )
    made_here = DATASETS[dataset].made_here
    assert made_here is not None
    folder = root or made_here.default_root()
    run_dir = out or Path("results") / "-".join(("train", model, *((split,) if split else ())))
    where = resolved_device(device)
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    with _opened(model, recipe, run_dir, folder, split=split, device=where) as training:
        seconds = _run(training, model)
        weights = training.export(
            {
                "model": model,
                "command": command(model, recipe, threads, split),
                "recipe": recipe.as_json(),
                "heads": encoded_heads(training.heads),
                "made_by": _versions(),
                "data": (folder / "motion.json").read_text(encoding="utf-8").strip(),
            }
        )
    facts = {
        "weights": str(weights),
        "steps": recipe.steps,
        "seconds of this run": round(seconds, 1),
        "loss curve": str(_drawn(run_dir, model, training.heads)),
    }
    if json:
        console.data(facts)
    else:
        console.table(f"{model} on {dataset}", ("fact", "value"), list(facts.items()))
    tested = f" --split {split.removeprefix('train_')}" if split else ""
    console.note(f"to score it: vbench eval {model} --checkpoint {weights}{tested}")


def command(model: str, recipe: "Recipe", threads: int | None, split: str | None = None) -> str:
    """What makes the same weights again, wherever the folders lie."""
    words = [f"vbench train {model} --steps {recipe.steps} --batch-size {recipe.batch_clips}"]
    words.append(f"--learning-rate {recipe.learning_rate:g} --seed {recipe.seed}")
    words += [f"--threads {threads}"] if threads is not None else []
    words += [f"--split {split}"] if split else []
    return " ".join(words)


def _versions() -> str:
    import torch

    from vbench.measure.environment import git_commit

    return f"vbench {vbench.__version__} {git_commit() or ''}, torch {torch.__version__}"


@contextmanager
def _opened(
    model: str,
    recipe: "Recipe",
    run_dir: Path,
    folder: Path,
    *,
    split: str | None,
    device: str,
) -> "Iterator[Training]":
    """The fit in its folder, which is held for it alone, with what it is trained on."""
    from vbench.accuracy.fit.training import LOSSES_FILE, Training, trainable
    from vbench.accuracy.motion.labels import HEADS
    from vbench.core.store import RunWriter

    frames, side_px, _ = trainable(model, HEADS).clip
    lists = _lists(folder, split, num_frames=frames, side_px=side_px)
    with RunWriter(run_dir, file=LOSSES_FILE, task="fit"):
        yield Training(model, recipe, run_dir, lists, device=device)


def _lists(folder: Path, split: str | None, *, num_frames: int, side_px: int) -> "Lists":
    """Both training lists, or one as both, made and decoded where that was not done before.

    Raises:
        UsageError: The one is no list for training.
    """
    from vbench.accuracy.datasets.motion import protocol
    from vbench.accuracy.fit import frames
    from vbench.accuracy.fit.batches import Lists
    from vbench.accuracy.motion.lists import SPLITS

    known = [name for name, kind in SPLITS.items() if kind.is_training]
    if split not in (None, *known):
        raise UsageError(f"no list to train on: {split}", hint=f"those are: {', '.join(known)}")
    spatial = protocol(num_frames, side_px).spatial
    names = (split,) if split else ("train_easy", "train_medium")
    read = [_decoded(folder, name, spatial) for name in names]
    easy, *medium = (frames.load(dataset, spatial) for dataset in read)
    return Lists(
        easy=easy,
        medium=medium[0] if medium else easy,
        heads={head: len(classes) for head, classes in read[0].heads.items()},
        reversals=read[0].reversals,
        spatial=spatial,
        split=split or "",
    )


def _decoded(folder: Path, split: str, spatial: "Spatial") -> "Dataset":
    """A list whose frames lie beside it, made and decoded where that was not done before."""
    from vbench.accuracy import datasets
    from vbench.accuracy.fit import frames

    making.ensure("motion", folder, split)
    found = datasets.load("motion", root=folder, split=split)
    if not frames.path_of(found, spatial).exists():
        with console.progress(f"decoding {split}", total=len(found.videos)) as step:
            for key in frames.decode(found, spatial):
                step(key)
    return found


def _run(training: "Training", model: str) -> float:
    """Take what steps are left under a progress bar; gives the seconds that it took."""
    started_s = time.perf_counter()
    left = training.recipe.steps - training.step
    if training.step and left:
        console.note(f"going on after step {training.step} in {training.run_dir}")
    losses: dict[str, float] = {}
    try:
        with console.progress(model, total=-(-left // REPORT_EVERY)) as report:
            for taken in training.run():
                for head, loss in taken.losses.items():  # smoothed over some 50 steps
                    losses[head] = 0.98 * losses.get(head, loss) + 0.02 * loss
                if taken.step % REPORT_EVERY == 0 or taken.step == training.recipe.steps:
                    words = ", ".join(f"{head} {loss:.3f}" for head, loss in losses.items())
                    report(f"step {taken.step}: cross-entropy of {words}")
    except KeyboardInterrupt:
        console.note(f"interrupted at step {training.step}; the same command goes on")
        raise
    return time.perf_counter() - started_s


def _drawn(run_dir: Path, model: str, heads: Mapping[str, int]) -> Path:
    from vbench.report import loss_curve

    return loss_curve.draw(
        run_dir / "losses.csv", run_dir / "loss.png", title=model, num_classes=heads
    )

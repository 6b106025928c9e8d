"""`vbench eval`: the accuracy of a model under its own protocol, and how sure it is."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import model_zoo
from vbench.cli import console, eval_cost, eval_table, making, options
from vbench.core.errors import UsageError, VbenchError
from vbench.core.types import Record

if TYPE_CHECKING:
    from vbench.accuracy.evaluate import Evaluation
    from vbench.accuracy.planning import Plan
    from vbench.accuracy.summary import Summary


def eval_(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A name from `vbench models`.")],
    dataset: Annotated[
        str, typer.Option("--dataset", metavar="NAME", help="A name from `vbench data list`.")
    ] = "motion",
    root: Annotated[
        Path | None,
        typer.Option(
            "--root", metavar="DIR", help="Folder of the videos; motion is made where it is not."
        ),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            "--checkpoint", metavar="FILE", help="Trained weights; nano models have some."
        ),
    ] = None,
    random_weights: Annotated[
        bool, typer.Option("--random-weights", help="Evaluate without a checkpoint.")
    ] = False,
    annotations: Annotated[
        Path | None,
        typer.Option("--annotations", metavar="PATH", help="File or folder, if not below --root."),
    ] = None,
    split: Annotated[
        str | None, typer.Option("--split", metavar="NAME", help="Default: the dataset's own.")
    ] = None,
    subset: Annotated[
        str | None,
        typer.Option("--subset", metavar="N|P%", help="So many videos, spread over the classes."),
    ] = None,
    per_class: Annotated[
        int | None, typer.Option("--per-class", metavar="N", min=1, help="So many of each class.")
    ] = None,
    subset_file: Annotated[
        Path | None,
        typer.Option("--subset-file", metavar="FILE", help="These videos, a key or id a line."),
    ] = None,
    replace_missing: Annotated[
        bool, typer.Option("--replace-missing", help="Choose among the videos that are there.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Of the subset.")] = 0,
    protocol: Annotated[
        str | None,
        typer.Option("--protocol", metavar="NAME", help="Default: the one published for this."),
    ] = None,
    frames: Annotated[
        int | None, typer.Option("--frames", metavar="N", min=1, help="Default: the model's own.")
    ] = None,
    resolution: Annotated[
        int | None, typer.Option("--resolution", metavar="PX", min=1, help="Side of the crop.")
    ] = None,
    label_space: Annotated[
        str | None,
        typer.Option("--label-space", metavar="NAME", help="Whose classes the checkpoint has."),
    ] = None,
    class_names: Annotated[
        Path | None,
        typer.Option("--class-names", metavar="FILE", help="Names of its outputs, one a line."),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            "--precision", metavar="P", help="Default: the protocol's on a GPU, fp32 on a CPU."
        ),
    ] = None,
    attention: Annotated[
        str, typer.Option("--attention", metavar="A", help="As for `vbench profile`.")
    ] = "sdpa",
    batch_size: Annotated[
        int | None,
        typer.Option("--batch-size", metavar="N", min=1, help="Views in one forward pass."),
    ] = None,
    device: options.Device = None,
    workers: Annotated[
        int | None, typer.Option("--workers", metavar="N", min=1, help="Decoding processes.")
    ] = None,
    timeout: Annotated[
        float, typer.Option("--timeout", metavar="S", help="Longest time to decode one video.")
    ] = 120.0,
    controls: Annotated[
        bool | None,
        typer.Option(
            "--controls/--no-controls",
            help="Also score clips shuffled, reversed, and still; default on motion.",
        ),
    ] = None,
    cost: Annotated[
        bool, typer.Option("--cost/--no-cost", help="Also measure what a video costs.")
    ] = True,
    submission: Annotated[
        Path | None,
        typer.Option(
            "--submission", metavar="FILE", help="Also write EPIC-KITCHENS-100's result file."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and how sure it would be.")
    ] = False,
    results: options.Results = Path("results"),
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Run folder, instead of by name.")
    ] = None,
    json: options.AsJson = False,
) -> None:
    """Score a model on labelled videos; the same command resumes an interrupted one.

    Example: vbench eval videomamba_tiny --dataset ssv2 --root ssv2 --checkpoint FILE --subset 1000
    """
    from vbench.accuracy import submission as result_files
    from vbench.accuracy.planning import Asked, entry_of, plan, refuse_other_heads
    from vbench.accuracy.subsets import SubsetSpec, read_keys

    entry = entry_of(model)
    if checkpoint is None and not random_weights:
        checkpoint = model_zoo.shipped_checkpoint(entry.name)
    if (checkpoint is None) != random_weights:
        raise UsageError(
            "an accuracy needs trained weights",
            hint="give --checkpoint FILE, or --random-weights to see chance",
        )
    if precision not in (None, "fp32", "tf32", "bf16", "fp16"):
        raise UsageError(f"unknown precision: {precision}", hint="known: fp32, tf32, bf16, fp16")
    asked = Asked(
        model=model,
        dataset=dataset,
        root=root,
        device=resolved_device(device),
        checkpoint=checkpoint,
        annotations=annotations,
        split=split,
        subset=SubsetSpec(
            count=subset,
            per_class=per_class,
            keys=read_keys(subset_file) if subset_file else None,
            seed=seed,
        ),
        replace_missing=replace_missing,
        protocol=protocol,
        num_frames=frames,
        size_px=resolution,
        label_space=label_space,
        class_names=class_names,
        precision=precision,  # type: ignore[arg-type]
        attention=attention,
        batch_views=batch_size,
        with_controls=controls,
        keeps_probabilities=submission is not None,
    )
    result_files.refuse(dataset, submission)
    refuse_other_heads(asked)
    making.ensure(dataset, asked.folder, split)
    planned = plan(asked)
    if dry_run:
        eval_table.print_plan(planned, json=json)
        return
    run_dir = out or results / planned.default_name
    record = eval_cost.measured(planned.spec, run_dir) if cost else None
    summary = run(planned, run_dir, workers=workers, timeout_s=timeout, cost=record)
    if json:
        console.data({"run_dir": str(run_dir), "summary": summary, "cost": record})
    else:
        eval_table.print_summary(summary)
    if not summary.num_decoded:
        raise VbenchError(f"none of {summary.num_videos} videos could be read")
    if submission is not None:
        submit(submission, run_dir)


def submit(path: Path, run_dir: Path) -> None:
    """Write the result file of a challenge from the records of an evaluation."""
    from vbench.accuracy import submission
    from vbench.accuracy.evaluate import read_videos

    written = submission.write(path, read_videos(run_dir)[0])
    console.note(f"scores of {written} segments: {path}")


def resolved_device(asked: str | None) -> str:
    """The device that ``auto`` and ``cuda`` stand for here.

    Raises:
        UsageError: It is ``meta``.
        UnavailableError: It is not there.
    """
    if asked == "cpu":
        return asked
    if asked == "meta":
        raise UsageError("nothing can be scored on the meta device", hint="use --device cpu")
    from vbench.core.types import BenchSpec
    from vbench.measure.sweep import chosen_device, runner_for

    with runner_for(BenchSpec(name="eval", models=("none",))) as runner:
        return chosen_device(asked or "auto", runner.inspect())


def run(
    plan: "Plan",
    run_dir: Path,
    *,
    workers: int | None,
    timeout_s: float,
    cost: Record | None = None,
) -> "Summary":
    """Evaluate what is pending under a progress bar, and keep the summary beside the records."""
    import msgspec

    from vbench.accuracy.evaluate import opened
    from vbench.accuracy.summary import summarise
    from vbench.core import evaluations, store

    views = plan.views_per_video
    of_video = None if cost is None else evaluations.cost_of_video(cost, num_views=views)
    with opened(plan, run_dir) as evaluation:
        announce(evaluation)
        total = len(plan.videos) - len(evaluation.records)
        try:
            with console.progress(plan.spec.model, total=total) as step:
                for record in evaluation.run(num_workers=workers, timeout_s=timeout_s):
                    step(f"{record.key}: {record.error}" if record.error else record.key)
        except KeyboardInterrupt:
            console.note(
                f"interrupted; {len(evaluation.records)} of {len(plan.videos)} videos are kept in "
                f"{run_dir}, the same command goes on"
            )
            raise
        at = evaluated_at(run_dir, has_run=total > 0)
        summary = summarise(plan.spec, evaluation.records, evaluated_at_utc=at, cost=of_video)
        text = msgspec.json.format(msgspec.json.encode(summary)).decode()
        store.write_text(run_dir / evaluations.SUMMARY_FILE, text + "\n")
    return summary


def evaluated_at(run_dir: Path, *, has_run: bool) -> str | None:
    """Now, or what an earlier summary says where nothing was left to do."""
    from vbench.core import evaluations
    from vbench.measure import system

    path = run_dir / evaluations.SUMMARY_FILE
    if has_run or not path.exists():
        return system.now_utc()
    return evaluations.read_summary(run_dir).evaluated_at_utc


def announce(evaluation: "Evaluation") -> None:
    """Say what runs and where it is kept."""
    plan, spec = evaluation.plan, evaluation.plan.spec
    done = len(evaluation.records)
    console.note(
        f"{spec.dataset} {spec.split}, {spec.subset}: {len(plan.videos)} videos, {done} of them "
        f"done before; writing {evaluation.run_dir}"
    )
    console.note(f"{spec.protocol}; {spec.precision} on {spec.device}")
    if evaluation.torn_lines:
        lines = ", ".join(map(str, evaluation.torn_lines))
        console.note(f"kept but not read, half-written by a killed run: line {lines}")

"""Evaluations made up for tests of the report: folders as `vbench eval` leaves them."""

import json
from typing import Any

from tests.report.fabricate import record, write_run
from vbench.core.evaluations import EVALUATION_FILE, SUMMARY_FILE

CPU = "Some CPU @ 2.50GHz"


def score(value, metric="top1", head="class", *, half=0.02, **changes):
    return {
        "metric": metric,
        "head": head,
        "videos": "decoded",
        "num_videos": 2000,
        "value": value,
        "interval": {
            "low": max(value - half, 0.0),
            "high": min(value + half, 1.0),
            "method": "wilson",
        },
        "list_interval": None,
        "baseline": None,
        "condition": "",
        "p_value": None,
    } | changes


def cost(macs=36e9, latency_s=0.4, **changes):
    return {
        "num_views": 3,
        "batch_views": 4,
        "precision": "fp32",
        "device_name": CPU,
        "num_threads": 2,
        "macs_per_video": macs,
        "latency_per_video_s": latency_s,
        "latency_per_video_low_s": None if latency_s is None else 0.95 * latency_s,
        "latency_per_video_high_s": None if latency_s is None else 1.05 * latency_s,
        "energy_per_video_j": None,
        "energy_source": None,
    } | changes


def protocol(name="videomamba ssv2", *, frames=8, clips=1, crops=3, stride=1):
    return {
        "name": name,
        "rule": "segments",
        "num_frames": frames,
        "frame_stride": stride,
        "num_clips": clips,
        "spatial": {"crop_px": 224, "num_crops": crops},
        "aggregate": "probability_mean",
    }


def evaluation(folder, model="videomamba_tiny", family="VideoMamba", scores=(), **changes):
    """Write one evaluation; keys of its spec and of its summary may be changed."""
    spec: dict[str, Any] = {
        "model": model,
        "dataset": "ssv2",
        "split": "validation",
        "subset": "2000",
        "list_sha256": "a" * 64,
        "subset_sha256": "b" * 64,
        "protocol": protocol(),
        "checkpoint": f"{model}.pth",
        "checkpoint_sha256": "0123456789abcdef" * 4,
        "precision": "fp32",
        "device": "cpu",
    }
    spec |= {key: changes.pop(key) for key in list(changes) if key in spec}
    listed = list(scores) or [score(0.65, baseline=0.02)]
    summary = {
        "schema_version": 1,
        "eval_id": "0123456789ab",
        "spec": spec,
        "num_videos": 2001,
        "num_decoded": 2000,
        "num_failed": 1,
        "num_absent": 0,
        "scores": listed,
        "published": [],
        "warnings": [],
        "family": family,
        "evaluated_at_utc": "2026-11-22T01:02:03+00:00",
        "cost": cost(),
    } | changes
    folder.mkdir(parents=True, exist_ok=True)
    (folder / EVALUATION_FILE).write_text(json.dumps(spec))
    (folder / SUMMARY_FILE).write_text(json.dumps(summary))
    if summary["cost"] is not None:
        taken = record(model, metrics={"macs": 12e9, "latency_s": [0.13] * 8}, device="cpu")
        write_run(folder, [taken], spec=None)
    return folder


def motion(folder, model="videomamba_tiny", family="VideoMamba", *, direction=0.93, **changes):
    """An evaluation on the built-in dataset: two heads, a direction, controls."""
    scores = [
        score(0.88, head="verb", baseline=0.1),
        score(0.95, head="noun", baseline=0.12),
        score(0.99, "top5", "verb"),
        score(0.97, "pair", "verb"),
        score(direction, "direction", "verb", baseline=0.5),
        score(0.80, "direction", "verb", videos="held-out pairs", num_videos=200, baseline=0.5),
    ]
    for condition, of_verb, of_noun, of_direction in (
        ("shuffled", 0.45, 0.94, 0.51),
        ("reversed", 0.87, 0.95, direction),
        ("static", 0.43, 0.94, 0.50),
    ):
        scores += [
            score(of_verb, head="verb", condition=condition),
            score(of_noun, head="noun", condition=condition),
            score(of_direction, "direction", "verb", condition=condition, baseline=0.5),
        ]
    settings = {
        "dataset": "motion",
        "split": "test",
        "protocol": protocol("custom protocol", crops=1),
    }
    return evaluation(folder, model, family, scores, **settings | changes)

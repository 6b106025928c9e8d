"""Condense facts of official implementations into `golden/zoo`, small enough to read in a diff.

Usage: python tests/golden/make_zoo_golden.py FACTS_DIR

The facts files hold what was measured on the official code: parameter counts, every state-dict
name and shape, operation counts and reference logits. Only this command writes `golden/zoo`.
"""

import json
import re
import sys
from itertools import product
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent / "zoo"


def condense_names(entries: list[list[Any]]) -> dict[str, str]:
    """Map `layers.*.weight [3, 4]` to the numbers that stand for the stars, as `0-11`."""
    groups: dict[str, list[tuple[int, ...]]] = {}
    for name, shape, *_ in entries:
        template = re.sub(r"(?<![^.])\d+(?![^.])", "*", name)
        numbers = tuple(int(n) for n in re.findall(r"(?<![^.])\d+(?![^.])", name))
        groups.setdefault(f"{template} {shape}", []).append(numbers)
    return {key: _ranges(numbers) for key, numbers in groups.items()}


def _ranges(tuples: list[tuple[int, ...]]) -> str:
    if tuples == [()]:
        return ""
    axes = [sorted(set(axis)) for axis in zip(*tuples, strict=True)]
    runs = all(axis == list(range(axis[0], axis[-1] + 1)) for axis in axes)
    if runs and sorted(tuples) == list(product(*axes)):
        return " ".join(f"{axis[0]}-{axis[-1]}" for axis in axes)
    return ",".join(".".join(map(str, numbers)) for numbers in tuples)


def _point(point: dict[str, Any]) -> dict[str, Any]:
    # Two generations of facts files: logits at the top, or one entry an output of the model.
    outputs = point.get("outputs") or [point]
    if isinstance(outputs, dict):
        outputs = [value | {"head": name} for name, value in outputs.items()]
    keep = ("head", "first16", "sum", "l2", "argmax")
    setting = {
        key: point[key]
        for key in (
            "constructor",
            "num_frames",
            "input_resolution",
            "flags",
            "config",
            "reduced",
            "layout",
            "params",
        )
        if key in point
    }
    return {
        "setting": setting,
        "note": point.get("note"),
        "input_shape": point["input_shape"],
        "clip_tag": point.get("clip_tag", "clip"),
        "outputs": [{k: output[k] for k in keep if k in output} for output in outputs],
    }


def _trainable(params: Any) -> dict[str, Any]:
    """Only of a model that the official training keeps partly frozen."""
    if not isinstance(params, dict):
        return {}
    count = params.get("trainable", params.get("trainable_when_backbone_frozen", params["all"]))
    return {"trainable_params": count} if count < params["all"] else {}


def condense(facts: dict[str, Any]) -> dict[str, Any]:
    """What the tests need of one facts file."""
    source = facts.get("source") or {"repo": facts.get("repo"), "commit": facts.get("commit")}
    state = facts.get("state_dict") or facts.get("state_dict_released_layout") or []
    flops = facts.get("flops") or {}
    params = facts.get("param_count")
    return {
        "name": facts.get("name"),
        "source": f"{source.get('repo')}@{str(source.get('commit'))[:7]}",
        "params": params.get("all") if isinstance(params, dict) else params,
        **_trainable(params),
        "entries": len(state),
        "state_dict": condense_names(state),
        "macs": {
            key: flops[key]
            for key in ("input", "input_shape", "total_without_norms", "matmul_like_only", "total")
            if key in flops
        },
        "points": [_point(point) for point in facts.get("golden") or []],
    }


def main() -> None:
    """Rewrite every golden file from the facts folder named on the command line."""
    HERE.mkdir(exist_ok=True)
    for path in sorted(Path(sys.argv[1]).glob("*__*.json")):
        facts = json.loads(path.read_text(encoding="utf-8"))
        if facts.get("config") or facts.get("golden"):
            text = json.dumps(condense(facts), indent=1)
            # lists of numbers on one line: a diff then shows a point a line
            text = re.sub(r"\[\s+([^\[\]{}]*?)\s+\]", lambda m: f"[{' '.join(m[1].split())}]", text)
            (HERE / path.name).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

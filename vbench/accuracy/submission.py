"""Result files of challenges, in the form that their servers and scripts read.

EPIC-KITCHENS-100: a zip archive with ``test.json``, version 0.2 (``utils/challenge.py`` of
epic-kitchens/C1-Action-Recognition@d125b92). Scores are log-probabilities, of which the official
scoring takes softmax.
"""

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from vbench.accuracy.types import VideoRecord
from vbench.core.errors import UsageError

DATASET: Final = "epic_kitchens100"
# Levels of supervision (epic-kitchens/sls), as create_submission.py presets them, but for the
# training data: public images and videos, labels with times, the training split.
LEVELS: Final = {"sls_pt": 2, "sls_tl": 3, "sls_td": 3}


def refuse(dataset: str, path: Path | None) -> None:
    """Say before an evaluation that its result file, if one is wanted, cannot be written.

    Raises:
        UsageError: The dataset has no challenge here, or the folder is not there.
    """
    if path is None:
        return
    if dataset != DATASET:
        raise UsageError(f"a result file is written for {DATASET}, not for: {dataset}")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"no such folder: {path.absolute().parent}")


def write(path: Path, records: Sequence[VideoRecord]) -> int:
    """Write the scores of every segment that was read; gives their number.

    Raises:
        UsageError: The records hold no probabilities, or the file cannot be written.
    """
    kept = [record for record in records if record.log_probabilities]
    if not kept:
        raise UsageError("these records hold no probabilities", hint="evaluate with --submission")
    results = {
        record.key: {
            head: {str(place): value for place, value in enumerate(scores)}
            for head, scores in record.log_probabilities.items()
        }
        for record in sorted(kept, key=lambda record: record.key)
    }
    document = {"version": "0.2", "challenge": "action_recognition", **LEVELS, "results": results}
    try:
        with zipfile.ZipFile(path, "w", compression=zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("test.json", msgspec.json.encode(document))
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from None
    return len(kept)

"""The evaluating process: a model on its device, and views from decoding processes.

What libraries print goes to the log. Decoding processes are started before the device is touched.
"""

import contextlib
import itertools
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import model_zoo
from vbench.accuracy import controls
from vbench.accuracy.datasets import Video
from vbench.accuracy.decoding import Decoded, DecodingPool, Result
from vbench.accuracy.evaluation import (
    Batch,
    EvalRequest,
    EvalSpec,
    Failed,
    Finished,
    Loaded,
    Message,
)
from vbench.accuracy.scoring import log_probabilities, score_heads
from vbench.accuracy.transforms import to_clips
from vbench.accuracy.types import SCHEMA_VERSION, HeadScore, VideoRecord
from vbench.accuracy.windows import parts
from vbench.core.errors import UnavailableError, UsageError, VbenchError

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
VALUE = "value"  # the one output of a model for a regression task
AS_IS = ""  # the condition of clips that nothing is done to
Logits = dict[str, NDArray[np.float32]]  # of views by head: (V, num_outputs)


def serve(request_json: bytes, *, pipe: int) -> None:
    """Do what is asked and send it, a line a message; whatever goes wrong is one message."""
    request = msgspec.json.decode(request_json, type=EvalRequest)
    with os.fdopen(pipe, "wb") as stream:

        def send(message: Message) -> None:
            stream.write(msgspec.json.encode(message) + b"\n")
            stream.flush()

        try:
            evaluate(request, send)
        except (model_zoo.ZooError, UsageError) as error:
            send(Failed(kind="usage", message=str(error), hint=error.hint))
        except VbenchError as error:
            is_unavailable = isinstance(error, UnavailableError)
            send(
                Failed(
                    kind="unavailable" if is_unavailable else "error",
                    message=str(error),
                    hint=error.hint,
                )
            )
        else:
            send(Finished())


def evaluate(request: EvalRequest, send: Any) -> None:
    """Evaluate every batch of the request."""
    spec = request.spec
    device = usable_device(spec.device)
    pool = DecodingPool(
        Path(request.root),
        spec.protocol,
        num_workers=request.num_workers,
        timeout_s=request.timeout_s,
    )
    with contextlib.closing(pool):
        scorer = Scorer(spec, device)
        notes = scorer.load(request.checkpoint_path)
        pool.wait_until_ready()
        send(Loaded(device_name=device_name(device), torch=str(torch.__version__), notes=notes))
        results = pool.results(
            [part for batch in request.batches for video in batch for part in parts(video)]
        )
        for batch in request.batches:
            send(Batch(records=scorer.batch(batch, results)))


def usable_device(name: str) -> torch.device:
    """The device of that name.

    Raises:
        UnavailableError: It is not there.
    """
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UnavailableError(f"no such CUDA device: {name}", hint="use --device cpu")
    return device


def device_name(device: torch.device) -> str:
    """Marketing name of a GPU, else the kind of device."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


class Scorer:
    """A model on its device, and what becomes of a batch of videos."""

    def __init__(self, spec: EvalSpec, device: torch.device) -> None:
        self.spec = spec
        self.device = device
        is_tf32 = spec.precision == "tf32"
        torch.backends.cuda.matmul.allow_tf32 = is_tf32
        torch.backends.cudnn.allow_tf32 = is_tf32
        torch.backends.cudnn.benchmark = False
        torch.manual_seed(spec.seed)
        self.model = self._built().eval().to(device)

    def _built(self) -> nn.Module:
        spec, protocol = self.spec, self.spec.protocol
        outputs = spec.num_outputs
        one = next(iter(outputs.values())) if len(outputs) == 1 else None
        return model_zoo.create_model(
            spec.model,
            num_frames=protocol.num_frames,
            resolution=protocol.spatial.crop_px,
            num_classes=outputs if one is None else one,
            attention=spec.attention,
        )

    def load(self, checkpoint: str | None) -> tuple[str, ...]:
        """Load the checkpoint, if there is one; gives what was done to it."""
        if checkpoint is None:
            return ("random weights",)
        report = model_zoo.load_checkpoint(
            self.model, checkpoint, expected_sha256=self.spec.checkpoint_sha256
        )
        if report.untouched and not report.head_loaded:
            raise UsageError(
                f"the checkpoint has no classifier: {checkpoint}",
                hint="a model is evaluated with the head that it was trained with",
            )
        return report.notes

    def batch(
        self, videos: tuple[Video, ...], results: Iterator[Result]
    ) -> tuple[VideoRecord, ...]:
        """Decode, run and score the videos of one batch, each in as many parts as it has windows.

        Unreadable parts are zeros in the batch, so that they change no other video's numbers.
        """
        whole = [part for video in videos for part in parts(video)]
        size = self.spec.videos_per_batch
        groups = [whole[i : i + size] for i in range(0, len(whole), size)]
        seen = iter([part for group in groups for part in self._seen(group, results)])
        return tuple(
            self._record(video, _joined(list(itertools.islice(seen, len(parts(video))))))
            for video in videos
        )

    def _seen(self, videos: Sequence[Video], results: Iterator[Result]) -> list["_Seen"]:
        """Decode and run what shares a pass."""
        protocol = self.spec.protocol
        side = protocol.spatial.crop_px
        shape = (3, protocol.num_frames, side, side)
        num_views = self.spec.videos_per_batch * protocol.num_views
        clips = torch.zeros((_rounded_up(num_views, self.spec.chunk_views), *shape),
                            device=self.device)  # fmt: skip
        taken: list[Result] = []
        for position in range(len(videos)):
            result = next(results)
            if result.views is not None:
                cut = torch.from_numpy(result.views).to(self.device)
                first = position * protocol.num_views
                clips[first : first + protocol.num_views] = to_clips(cut, protocol.spatial)
            taken.append(result)
        start_s = time.perf_counter()
        outputs = {AS_IS: self._forward(clips)}
        model_s = (time.perf_counter() - start_s) / len(videos)
        for control in self.spec.controls:
            outputs[control] = self._forward(self._controlled(clips, control, videos))
        return [
            _Seen(
                decoded=result.decoded,
                wait_s=result.wait_s,
                model_s=model_s,
                outputs=self._of_video(outputs, position),
            )
            for position, result in enumerate(taken)
        ]

    def _controlled(self, clips: Tensor, control: str, videos: Sequence[Video]) -> Tensor:
        changed = clips.clone()
        for position, video in enumerate(videos):
            mine = self._views_of(position)
            key = f"{video.key}{video.windows or ''}"
            changed[mine] = controls.controlled(clips[mine], control, key)
        return changed

    def _views_of(self, position: int) -> slice:
        num_views = self.spec.protocol.num_views
        return slice(position * num_views, (position + 1) * num_views)

    def _of_video(self, outputs: dict[str, Logits], position: int) -> dict[str, Logits]:
        mine = self._views_of(position)
        return {
            control: {head: logits[mine] for head, logits in heads.items()}
            for control, heads in outputs.items()
        }

    def _forward(self, clips: Tensor) -> Logits:
        """Logits of every view by head, in passes of equal shape."""
        parts: list[dict[str, Tensor]] = []
        with torch.inference_mode(), self._autocast():
            for chunk in clips.split(self.spec.chunk_views):
                parts.append(by_head(self.model(chunk), self.spec.num_outputs))
        return {
            head: torch.cat([part[head].float() for part in parts]).cpu().numpy()
            for head in parts[0]
        }

    def _autocast(self) -> AbstractContextManager[object]:
        dtype = DTYPES.get(self.spec.precision)
        if dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=dtype)

    def _record(self, video: Video, seen: "_Seen") -> VideoRecord:
        decoded, outputs, model_s = seen.decoded, seen.outputs, seen.model_s
        common: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "key": video.key,
            "labels": video.labels,
            "group": video.group,
            "slices": video.slices,
            "target": video.target,
            "num_frames": decoded.num_frames,
            "damage": decoded.damage,
            "decode_s": decoded.decode_s,
            "wait_s": seen.wait_s,
        }
        if decoded.slot is None:
            return VideoRecord(status="unreadable", error=decoded.error, **common)
        own = outputs[AS_IS]
        if not all(np.isfinite(v).all() for heads in outputs.values() for v in heads.values()):
            error = "the model's output is not finite"
            return VideoRecord(status="error", error=error, model_s=model_s, **common)
        if video.target is not None:
            value = float(own[VALUE][:, 0].mean())
            return VideoRecord(status="ok", value=value, model_s=model_s, **common)
        if self.spec.keeps_probabilities:
            common["log_probabilities"] = log_probabilities(
                own, self.spec.columns, self.spec.protocol.aggregate
            )
        heads = {control: self._scored(heads, control, video) for control, heads in outputs.items()}
        return VideoRecord(
            status="ok", heads=heads.pop(AS_IS), controls=heads, model_s=model_s, **common
        )

    def _scored(self, logits: Logits, control: str, video: Video) -> dict[str, HeadScore]:
        spec = self.spec
        labels = controls.expected_labels(video.labels, spec.reversals, control)
        return score_heads(
            logits, spec.columns, labels, spec.protocol.aggregate, reversals=spec.reversals
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Seen:
    """A video, or a window of one, after the model.

    Attributes:
        outputs: By condition.
    """

    decoded: Decoded
    wait_s: float
    model_s: float
    outputs: dict[str, Logits]


def _joined(seen: Sequence[_Seen]) -> _Seen:
    """The windows of a video as one: the views of those that could be read."""
    if len(seen) == 1:
        return seen[0]
    read = [one for one in seen if one.decoded.slot is not None]
    lost = [one.decoded.error for one in seen if one.decoded.slot is None]
    signs = [one.decoded.damage for one in read if one.decoded.damage]
    if lost:
        signs.append(f"{len(lost)} of {len(seen)} windows cannot be read: {lost[0]}")
    best = (read or seen)[0]
    decoded = replace(
        best.decoded,
        decode_s=sum(one.decoded.decode_s for one in seen),
        damage="; ".join(dict.fromkeys(signs)) or None,
    )
    outputs = {
        condition: {
            head: np.concatenate([one.outputs[condition][head] for one in read or seen])
            for head in heads
        }
        for condition, heads in best.outputs.items()
    }
    return _Seen(
        decoded=decoded,
        wait_s=sum(one.wait_s for one in seen),
        model_s=sum(one.model_s for one in seen),
        outputs=outputs,
    )


def by_head(output: Any, num_outputs: Mapping[str, int]) -> dict[str, Tensor]:
    """A model's output by head; one vector holds the classes of all heads, one after another."""
    if isinstance(output, dict):
        return output
    return dict(zip(num_outputs, output.split(list(num_outputs.values()), dim=1), strict=True))


def _rounded_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple

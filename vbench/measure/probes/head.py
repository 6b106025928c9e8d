"""The classifier: what another number of classes would change, as papers train on several sets."""

import torch

import model_zoo
from vbench.core.metrics import Metric
from vbench.measure.probes import Samples, probe
from vbench.measure.subject import Subject


@probe(
    Metric(
        name="num_classes",
        kind="counted",
        better="neither",
        describe="classes of the model's head; absent with several heads",
    ),
    Metric(
        name="params_per_class",
        kind="counted",
        better="neither",
        describe="parameters that one more class adds",
    ),
    devices=("meta",),
    default=False,
    order=15,
)
def head(subject: Subject) -> Samples:
    """Compare the model with the same of one class more, both without storage."""
    classes = model_zoo.model_entry(subject.case.model).num_classes
    if not isinstance(classes, int):
        return Samples(values={})
    clip = subject.case.clip
    with torch.device("meta"):
        wider = model_zoo.create_model(
            subject.case.model,
            num_frames=clip.num_frames,
            resolution=(clip.height_px, clip.width_px),
            num_classes=classes + 1,
        )
    added = sum(p.numel() for p in wider.parameters())
    added -= sum(p.numel() for p in subject.model.parameters())
    return Samples(values={"num_classes": [classes], "params_per_class": [added]})

"""Records of videos as an evaluation would write them."""

from vbench.accuracy.types import NOUN_BASE, SCHEMA_VERSION, HeadScore, VideoRecord


def head(label, *top, rank=None, margin=0.5, views=None):
    if rank is None:
        rank = top.index(label) + 1 if label in top else 10
    return HeadScore(
        top=top,
        label_rank=rank,
        label_probability=1 / rank,
        margin=margin,
        view_top=views or (top[0],),
    )


def video(key, label, *top, group=None, slices=(), views=None, margin=0.5):
    return VideoRecord(
        schema_version=SCHEMA_VERSION,
        key=key,
        status="ok",
        labels={"class": label},
        heads={"class": head(label, *top, views=views, margin=margin)},
        group=group,
        slices=slices,
    )


def action(key, verb, noun, best_verb, best_noun, group=None):
    label, best = verb * NOUN_BASE + noun, best_verb * NOUN_BASE + best_noun
    return VideoRecord(
        schema_version=SCHEMA_VERSION,
        key=key,
        status="ok",
        labels={"verb": verb, "noun": noun},
        heads={
            "verb": head(verb, best_verb),
            "noun": head(noun, best_noun),
            "action": head(label, best),
        },
        group=group,
    )


def failure(key, label):
    return VideoRecord(
        schema_version=SCHEMA_VERSION,
        key=key,
        status="unreadable",
        labels={"class": label},
        error="no frames",
    )

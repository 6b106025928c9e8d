"""Motion: a benchmark that is generated here, with a noun axis and a verb axis.

labels -> schedule (each attribute over time) -> render, marks (frames) -> lists -> build (MP4)

A verb is a motion that no single frame and no unordered set of frames tells from its reversal:
every attribute is uniform at every frame whatever the verb, and reversing time maps the clips of
a verb onto those of its partner. So a model without a sense of time scores exactly one half on
`direction`, which of the two partners it is. The clips are periodic in time and on a torus in
space, which gives exact augmentations: rolling keeps every label, reversal swaps partners.

Lists on request hold twenty verbs (``extended``), how often a verb happens as a label (``rate``; no
frame tells it, though an unordered set may), and nouns without a colour (``shape``, ``texture``),
each with one to train on. They keep all of the above.
"""

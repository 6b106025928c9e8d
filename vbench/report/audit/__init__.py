"""The audit: published operation and parameter counts beside what is counted, and why they differ.

A verdict is computed from records and the printed number alone; nothing is typed in by hand.
"""

from vbench.report.audit.ledger import Entry, judge, unsettled
from vbench.report.audit.page import render, sentences

__all__ = ["Entry", "judge", "render", "sentences", "unsettled"]

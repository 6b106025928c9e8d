"""How a case is named to a reader."""

from vbench.core.types import Record
from vbench.core.units import plain


def case_label(record: Record) -> str:
    """Name a record's case, with the batch that ran."""
    label = plain(record.case)
    if record.case.batch_size == "auto" and record.batch_size is not None:
        label = label.replace(" bauto", f" b{record.batch_size} (auto)")
    if record.case.autocast:
        label += " autocast"
    return label

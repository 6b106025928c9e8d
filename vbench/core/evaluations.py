"""What `vbench eval` leaves in its folder, for those who read it and score nothing themselves."""

from typing import Final

EVALUATION_FILE: Final = "evaluation.json"

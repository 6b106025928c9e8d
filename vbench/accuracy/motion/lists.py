"""The lists of the benchmark: how hard their clips are, and which classes they have.

The first six are the benchmark. Those on request turn one screw of it: more verbs, how often a verb
happens as a label of its own, nouns without a colour.
"""

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from vbench.accuracy.motion.labels import BASE, EXTENDED, RATED, Vocabulary
from vbench.accuracy.motion.schedule import Difficulty

COLUMNS: Final = (
    "clip_id", "verb", "verb_class", "noun", "noun_class", "start_timestamp", "stop_timestamp",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """A list of clips.

    Attributes:
        is_training: Without the pairs that are held out, and as many clips as for training.
        clips_per_file: More than 1 for segments of longer videos.
        vocabulary: The classes of its clips.
        on_request: Made only if it is named.
    """

    difficulty: Difficulty
    is_training: bool = False
    clips_per_file: int = 1
    vocabulary: Vocabulary = BASE
    on_request: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """Of its annotations."""
        return (*COLUMNS, "rate", "rate_class") if self.vocabulary.rates else COLUMNS


EASY: Final = Difficulty()
MEDIUM: Final = Difficulty(num_movers=2)
HARD: Final = Difficulty(num_movers=5, noise=0.04, background="texture", jitter=0.01)
SHAPE: Final = Difficulty(noun_mode="shape")
TEXTURE: Final = Difficulty(noun_mode="texture")


def _on_request(name: str, difficulty: Difficulty, vocabulary: Vocabulary) -> dict[str, Split]:
    """A list to be tested on, and one to be trained on."""
    test = Split(difficulty=difficulty, vocabulary=vocabulary, on_request=True)
    return {name: test, f"train_{name}": replace(test, is_training=True)}


SPLITS: Final = MappingProxyType(
    {
        "easy": Split(difficulty=EASY),
        "medium": Split(difficulty=MEDIUM),
        "hard": Split(difficulty=HARD),
        "untrimmed": Split(difficulty=EASY, clips_per_file=12),
        "train_easy": Split(difficulty=EASY, is_training=True),
        "train_medium": Split(difficulty=MEDIUM, is_training=True),
        **_on_request("extended", EASY, EXTENDED),
        **_on_request("rate", EASY, RATED),
        **_on_request("shape", SHAPE, BASE),
        **_on_request("texture", TEXTURE, BASE),
    }
)

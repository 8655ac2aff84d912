"""How a run works, as opposed to the settings that its results depend on."""

from __future__ import annotations

from dataclasses import dataclass, field

from mtcnn_fast.checks import at_least, flag
from mtcnn_fast.datasets import Problems

BLOCK = 1024


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RunOptions:
    """How a run makes samples and measures recall. Neither samples nor recall depend on it.

    Raises TypeError or ValueError for a count below 1 and for a flag that is none.
    """

    workers: int | None = None
    """Number of threads; None: the processors that this process may use."""
    progress: bool = False
    """Whether a bar on stderr shows the progress. The bar needs tqdm."""
    problems: Problems = field(default_factory=Problems)
    """Is told of every row and picture that cannot be used, and of every picture that is used in part."""
    block: int = BLOCK
    """Source pictures per shard of a store. A store can be completed only with the `block` that it was begun with."""
    retry: bool = True
    """Whether a finished shard is made anew if a picture that it lacks can be used by now, because a share was away.
    False: the store stays as it is."""

    def __post_init__(self) -> None:
        if self.workers is not None:
            at_least("workers", self.workers, 1)
        at_least("block", self.block, 1)
        flag("progress", self.progress)
        flag("retry", self.retry)

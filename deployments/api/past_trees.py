"""Trees as they stood, the last few that were asked for: they are asked for by pages."""

from threading import Timer

from blocks.past import Moment, Past
from blocks.past_tree import PastBranches

MOST_HELD, SECONDS_HELD = 4, 60.0


class PastTrees:
    """Each may be gigabytes large, and is let go after a while, whether another one is asked for or not."""

    def __init__(self, seconds: float = SECONDS_HELD) -> None:
        self._seconds = seconds
        self._held: dict[tuple[Past, Moment], PastBranches] = {}

    def __call__(self, past: Past, at: Moment) -> PastBranches:
        tree = self._held.get((past, at))
        return self._made(past, at) if tree is None else tree

    def _made(self, past: Past, at: Moment) -> PastBranches:
        tree = self._held[past, at] = PastBranches(past.leaves(at))
        for others in list(self._held)[:-MOST_HELD]:
            self._held.pop(others, None)
        let_go = Timer(self._seconds, self._held.pop, ((past, at), None))
        let_go.daemon = True
        let_go.start()
        return tree

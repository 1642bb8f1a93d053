"""Strikes a loader process once: COLLECT_STRIKE is "MODULE:CLASS.METHOD before|after NTH ACTION MARK", see crashing.py.

On PYTHONPATH it is imported by every Python process; only loaders heed it, and of them the first
that makes MARK, which holds its pid then.
"""

import os
import sys
from pathlib import Path

if "blocks.loader" in sys.orig_argv and "COLLECT_STRIKE" in os.environ:
    target, when, nth, action, mark = os.environ["COLLECT_STRIKE"].split(" ")
    if not Path(mark).exists():
        sys.path.insert(0, str(Path(__file__).parents[1]))
        import crashing

        act = crashing.act

        def once(action: str) -> None:
            Path(mark).write_text(str(os.getpid()))
            act(action)

        async def once_in_loop(action: str) -> None:
            once(action)

        crashing.act, crashing.act_in_loop = once, once_in_loop
        crashing.strike(target, when, int(nth), action)

"""Losses far outside the range in which they ran: worth a note, since the cause is in that step's batch or rate."""

from __future__ import annotations

import statistics
from collections import deque

RUNNING = 200
"""Logged losses that make up the range."""
LEAST = 20
"""Logged losses before which there is no range yet."""
DEVIATIONS = 8.0


class Spikes:
    """Notes a spike once, however many losses it lasts."""

    def __init__(self) -> None:
        self._losses: deque[float] = deque(maxlen=RUNNING)
        self._above = False

    def observe(self, loss: float) -> str | None:
        """Return a line when `loss` begins a spike, or None, and count it."""
        line = None
        known = self._losses
        if len(known) >= LEAST:
            mean, deviation = statistics.fmean(known), statistics.pstdev(known)
            limit = mean + DEVIATIONS * deviation
            above = deviation > 0 and loss > limit
            if above and not self._above:
                line = (
                    f"the loss jumped to {loss:.4g}: beyond {limit:.4g}, which is {DEVIATIONS:g} deviations above the "
                    f"mean of the last {len(known)} that were logged"
                )
            self._above = above
        if not self._above:  # a range that takes in its own spikes would not see the next one
            known.append(loss)
        return line

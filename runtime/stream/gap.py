"""The book of a stream's samples: which were heard, which were lost and replaced by silence.

Positions are samples of the source since it began, lost ones included, so that they stay on the source's clock.
"""

from __future__ import annotations

from collections import deque


class Gaps:
    """Counts samples heard and lost, and remembers where silence stands for lost ones.

    Heard + lost is the source's clock, heard + made up is how far the stream has come. The two are the same unless the
    source has taken a loss back, which was late and not lost: then the stream stays ahead until the next loss.
    """

    def __init__(self) -> None:
        self.heard = 0
        self.lost = 0  # as the source says
        self.made_up = 0  # samples of silence in place of lost ones
        self._stretches: deque[tuple[int, int]] = deque()  # made up, (start, stop), those a coming window may touch

    @property
    def clock(self) -> int:
        """Samples since the source began."""
        return self.heard + self.lost

    @property
    def position(self) -> int:
        """Samples that the stream has taken in, made-up ones included."""
        return self.heard + self.made_up

    @property
    def ahead(self) -> int:
        """Silence in place of what turned out not to be lost: the next loss is set off against it."""
        return self.made_up - self.lost

    def hear(self, count: int) -> None:
        """Count samples that the source sent."""
        self.heard += count

    def lose(self, lost: int) -> int:
        """Take in the source's total of lost samples; returns how many samples of silence are to be put in now."""
        self.lost = lost
        missing = max(0, self.lost - self.made_up)
        if missing:
            start = self.position
            if self._stretches and self._stretches[-1][1] == start:
                start = self._stretches.pop()[0]
            self.made_up += missing
            self._stretches.append((start, self.position))
        return missing

    def share(self, start: float, stop: float) -> float:
        """Made-up share of what lies between two positions, those before the stream and to come left out.

        Later calls must not begin earlier than this one: what lies before `start` is forgotten.
        """
        start, stop = max(0.0, start), min(stop, self.position)
        while self._stretches and self._stretches[0][1] <= start:
            self._stretches.popleft()
        made_up = sum(max(0.0, min(stop, end) - max(start, begin)) for begin, end in self._stretches)
        return made_up / (stop - start) if made_up else 0.0

"""Temperatures that fall."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from vsg_ppl.errors import GameError


@dataclass(frozen=True)
class Annealing:
    """A temperature that falls by a factor; each stage starts where the last one ended.

    ε of Theorem 4.2 is proportional to the temperature, so a Nash equilibrium is a limit.

    Attributes:
        start: the first temperature; the spread of the game's rewards by default.
        stop: the last temperature, in units of reward.
        factor: between 0 and 1.
        target_gap: stop early once the Nash gap is at most this; ``None`` to go on to ``stop``.

    >>> list(Annealing(start=1.0, stop=0.2, factor=0.5, target_gap=None).stages(spread=3.0))
    [1.0, 0.5, 0.25, 0.2]
    """

    start: float | None = None
    stop: float = 1e-6
    factor: float = 0.5
    target_gap: float | None = 1e-3

    def __post_init__(self) -> None:
        if not 0 < self.factor < 1:
            raise GameError(f"an annealing factor is between 0 and 1, and this is {self.factor}")
        if not self.stop > 0 or (self.start is not None and not self.start >= self.stop):
            raise GameError(
                f"annealing from {self.start} to {self.stop}: temperatures are positive and fall"
            )

    def stages(self, spread: float) -> Iterator[float]:
        """The temperatures, for a game whose rewards spread over ``spread``."""
        temperature = self.start if self.start is not None else max(spread, self.stop)
        while temperature > self.stop:
            yield temperature
            temperature *= self.factor
        yield self.stop

"""What all methods of learning are told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf, nan
from pathlib import Path
from typing import Any, Literal, SupportsFloat, TypedDict

import torch
from torch import Tensor

from vsg_ppl.errors import GameError
from vsg_ppl.guides.networks import LEAK
from vsg_ppl.learning import Policies

Start = Literal["networks", "uniform"]

Schedule = Callable[[int], float]
"""A number by episode."""

Watch = Callable[[Policies], Mapping[str, Tensor]]
"""Looks at policies, and says numbers by name, (K,)."""

UNIFORM_STEPS = 100
"""Steps of even random actions with which ``start="uniform"`` begins."""


class Options(TypedDict, total=False):
    """The options that all methods have; `Settings` says what they are."""

    episodes: int
    steps: int | None
    plays: int
    seed: int
    start: Start | float
    gamma: float | None
    hidden: tuple[int, ...]
    learning_rate: float
    leak: float
    batch: int
    memory: int
    follow: float
    scale: float
    device: str
    checkpoint: Path | str | None
    every: float
    watch: Watch | None
    watch_every: int
    progress: bool


@dataclass(frozen=True)
class Settings:
    """What all methods of learning are told.

    Attributes:
        episodes: to play.
        steps: of an episode; the game's horizon by default.
        plays: K experiments at once, each with learners of its own; they share nothing but the
            stream of random numbers.
        seed: of that stream.
        start: "uniform" lets all play `UNIFORM_STEPS` even random steps first; "networks" begins
            with the networks as they are drawn; a number in (−1, 1) with policies near that action,
            of the range from −1 to 1.
        gamma: the learners' discount; with 0 each step is an experiment of its own. By default the
            game's, and 0 if the game does not discount: say it where an undiscounted game has
            states that actions change. Where actions are numbers learners do not see the time, and
            count what comes after the last step as if play went on.
        hidden: sizes of hidden layers.
        learning_rate: of Adam.
        leak: slope of the networks' rectifiers below zero; 0 for plain ones.
        batch: draws for each step of learning.
        memory: steps remembered.
        follow: how fast target networks follow.
        scale: learners see rewards times this. Temperatures are in the units they see: those of
            `Cooling` are made for rewards of size 10.
        device: of networks and memories; the game itself is played on the CPU.
        checkpoint: a file to keep the run in. If it is there already, the run goes on from it, to
            the very numbers of a run that was never stopped. Ctrl-C then waits for the end of the
            episode. Other settings are refused, and another game or another environment: a game is
            known by its values, an environment by its class and spaces, code is not looked at.
        every: seconds between two writings of that file.
        watch: look at the policies on the way; what it returns, numbers by name, (K,), is in
            `Learning.watched`. It changes nothing of what is drawn at random after it.
        watch_every: episodes between two looks; the last is at the end.
        progress: show a progress bar.

    Raises:
        GameError: a number out of its range, or a device that there is not.

    >>> Settings(gamma=0.9).plays
    1
    """

    episodes: int = 200
    steps: int | None = None
    plays: int = 1
    seed: int = 0
    start: Start | float = "uniform"
    gamma: float | None = None
    hidden: tuple[int, ...] = (64, 64)
    learning_rate: float = 1e-2
    leak: float = LEAK
    batch: int = 64
    memory: int = 100_000
    follow: float = 0.01
    scale: float = 1.0
    device: str = "cpu"
    checkpoint: Path | str | None = None
    every: float = 120.0
    watch: Watch | None = None
    watch_every: int = 10
    progress: bool = False

    def __post_init__(self) -> None:
        for name in ("episodes", "plays", "batch", "memory", "watch_every"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise GameError(
                    f"{name} is {getattr(self, name)!r}; a whole number, at least 1, is needed"
                )
        if not isinstance(self.hidden, list | tuple) or not all(
            isinstance(size, int) and size > 0 for size in self.hidden
        ):
            raise GameError(f"hidden is {self.hidden!r}", hint="`hidden=(64, 64)`.")
        if isinstance(self.start, int):
            object.__setattr__(self, "start", float(self.start))
        if self.gamma is not None and not 0 <= self.gamma < 1:
            raise GameError(f"gamma is {self.gamma}, not in [0, 1)")
        near = isinstance(self.start, float) and -1 < self.start < 1
        if not near and self.start not in ("networks", "uniform"):
            hint = '"uniform", "networks", or a number in (−1, 1).'
            raise GameError(f"the start is {self.start!r}", hint=hint)
        for name in ("scale", "learning_rate"):
            if not getattr(self, name) > 0:
                raise GameError(f"the {name} is {getattr(self, name)}; it must be positive")
        if not 0 <= self.leak < 1:
            raise GameError(f"the leak is {self.leak}, not in [0, 1)")
        if not 0 < self.follow <= 1:
            raise GameError(f"follow is {self.follow}, not in (0, 1]")
        _check_device(self.device)

    @property
    def discount(self) -> float:
        """γ, once it is known."""
        return self.gamma or 0.0


def schedule(
    name: str, given: Schedule | float, *, zero: bool = False, most: float = inf
) -> Schedule:
    """A number by episode, or the same number always; who asks for a wrong one is told.

    Args:
        name: what it is called.
        given: the number, or a function of the episode.
        zero: whether it may be 0.
        most: how large it may be.

    Raises:
        GameError: it is not positive, or negative where ``zero`` is allowed; not finite; too large.

    >>> schedule("temperature", 0.1)(7)
    0.1
    """

    def checked(episode: int) -> float:
        value: Any = given(episode) if callable(given) else given
        number = float(value) if isinstance(value, SupportsFloat) else nan
        if not ((number > 0 or (zero and number == 0)) and number <= most and number < inf):
            least = "must not be negative" if zero else "must be positive"
            when = f" in episode {episode + 1}" if callable(given) else ""
            raise GameError(
                f"the {name} is {value}{when}; it {least}"
                + (" and finite" if most == inf else f", nor more than {most:g}")
            )
        return number

    if not callable(given):
        checked(0)
    return checked


def _check_device(device: str) -> None:
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().split("\n")[0]
        raise GameError(f"the device is {device!r}: {reason}", hint='"cpu" or "cuda".') from error

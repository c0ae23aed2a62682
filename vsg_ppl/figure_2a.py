"""Figure 2a of the paper, run again: learning the differential game."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, ClassVar

from vsg_ppl.errors import GameError
from vsg_ppl.learning import Learning
from vsg_ppl.mai import Cooling
from vsg_ppl.models.differential import Differential
from vsg_ppl.reproduce import ALL, SCHEDULES, Panel, Reproduction, options_of

ABOVE = 9.0
"""A mean reward above this, over the last episodes, counts as the narrow hill found."""

STARTS: dict[str, Any] = {"uniform": "uniform", "bad": -0.5, "networks": "networks"}
"""How learners begin: with even random steps; near the top of the wide hill; as drawn."""

PAYOFFS: dict[str, float] = {"printed": 3.0, "code": 3.0**0.5}
"""Width of the wide hill: inside the square, as printed, or outside, as in all public code."""

GAMES: dict[str, dict[str, Any]] = {
    "paper": {},
    "swapped": {"peak": -5.0, "basin": 5.0},
    "moved": {"peak": (6.0, -3.0), "basin": (-4.0, 2.0)},
    "three": {"n_agents": 3},
    "unequal": {"share": 0.5, "cost": 0.01},
    "two-dimensional": {"dims": 2},
}
"""The paper's game, and others that the same recipe must face untouched."""


@dataclass(frozen=True, kw_only=True)
class Figure2a(Reproduction):
    """Learning the differential game.

    Attributes:
        starts: of `STARTS`.
        schedules: of `SCHEDULES`.
        payoffs: of `PAYOFFS`.
        games: of `GAMES`.

    Raises:
        GameError: a method or a condition that there is not.

    >>> figure = Figure2a(methods=("mai", "sac"), seeds=1, episodes=1)
    >>> [learning.method for learning in figure.run()[0].learnings]
    ['mai', 'sac']
    """

    name: ClassVar[str] = "figure-2a"

    starts: tuple[str, ...] = ("uniform",)
    schedules: tuple[str, ...] = ("falling",)
    payoffs: tuple[str, ...] = ("printed",)
    games: tuple[str, ...] = ("paper",)

    def __post_init__(self) -> None:
        super().__post_init__()
        for what, given, there in (
            ("start", self.starts, STARTS),
            ("schedule", self.schedules, SCHEDULES),
            ("payoff", self.payoffs, PAYOFFS),
            ("game", self.games, GAMES),
        ):
            for one in given:
                if one not in there:
                    raise GameError(f"the {what} is '{one}'", hint=f"one of {', '.join(there)}.")

    def conditions(self) -> list[dict[str, Any]]:
        """Every start with every schedule, payoff and game."""
        found = product(self.starts, self.schedules, self.payoffs, self.games)
        return [
            dict(zip(("start", "schedule", "payoff", "game"), row, strict=True)) for row in found
        ]

    def learn(self, method: str, condition: Mapping[str, Any], **options: Any) -> Learning:
        """Let one method learn under one condition."""
        game = Differential(width=PAYOFFS[condition["payoff"]], **GAMES[condition["game"]])
        asked = options_of(method, condition["schedule"], Cooling().last)
        return ALL[method](game, start=STARTS[condition["start"]], **asked, **options)

    def judge(self, learning: Learning) -> dict[str, Any]:
        """How many experiments found the narrow hill, with a 95 % interval; where they ended."""
        hill = of_the_first(learning)
        final = hill.final().double()
        low, middle, high = (float(final.quantile(q)) for q in (0.1, 0.5, 0.9))
        return {
            "success": hill.success(ABOVE),
            "final_median": middle,
            "final_low": low,
            "final_high": high,
        }

    def curves(self, panel: Panel) -> list[dict[str, Any]]:
        """Rewards, and the line above which an experiment succeeded."""
        learnings = [of_the_first(learning) for learning in panel.learnings]
        return [{"learnings": learnings, "title": panel.title, "above": ABOVE}]


def of_the_first(learning: Learning) -> Learning:
    """With the rewards of the first agent, who is paid the hill whatever the others are paid."""
    return replace(learning, rewards=learning.rewards[..., :1])

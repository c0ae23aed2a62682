"""Figure 2b of the paper, run again: learning to route, and how far from equilibrium it ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import permutations
from typing import Any, ClassVar

import torch
from scipy.stats import ttest_ind
from torch import Tensor

from vsg_ppl.errors import GameError
from vsg_ppl.learning import Learning, Policies
from vsg_ppl.mai import Cooling
from vsg_ppl.methods import METHODS
from vsg_ppl.models.routing import NETWORKS, Routing
from vsg_ppl.reproduce import ALL, SCHEDULES, VARIANTS, Panel, Reproduction, options_of
from vsg_ppl.routing import expected_nash_conv, routing_equilibrium, visitation
from vsg_ppl.settings import Schedule

DRAWS = 100
"""Of every policy in every state, for the moments of what it plays."""

COOLING = Cooling(first=5.0, last=0.0005, rate=0.1)
"""Colder in the end than for the differential game: whoever plays at random pays for it here."""

WARM = 0.02
"""Temperature that fades with the episodes left.

Without it policies are sure too soon, and some give up paths that they should use.
"""

LEARNING_RATE = 3e-3
"""Of .01, .003 and .001 the best for MADDPG, and for MAI no worse than .01."""

LEAK = 0.0
"""Plain rectifiers: all four methods end nearer to equilibrium than with those that leak."""

OWN: dict[str, dict[str, Any]] = {
    "mai": {"opponents": "observed", "conditional": False},
    "masql": {"batch": 16, "particles": 8},
}
"""Rivals' interests are not aligned: MAI expects of them what they did, and plays its marginal, for
what is executed of a conditional policy has the opponent model's spread. MASQL has fewer draws, for
as it is it would take hours."""


@dataclass(frozen=True, kw_only=True)
class Figure2b(Reproduction):
    """Learning the routing game; the paper does not say which, so the library's own.

    All methods see rewards times ``scale`` n_agents, have the same networks and step sizes, and
    gamma 0: nobody moves the traffic's states.

    Attributes:
        network: of `NETWORKS`.
        agents: numbers of agents, a condition each.
        schedules: of `SCHEDULES`.
        scale: by which rewards are multiplied for each agent.
        watch_every: episodes between two looks at what all agents play.

    Raises:
        GameError: a method, a network or a condition that there is not.

    >>> figure = Figure2b(methods=("iddpg",), network="pigou", agents=(2,), seeds=1, episodes=1)
    >>> sorted(figure.run()[0].learnings[0].watched)
    ['nash_conv', 'reward']
    """

    name: ClassVar[str] = "figure-2b"

    methods: tuple[str, ...] = tuple(METHODS)
    seeds: int = 10
    network: str = "ladder6"
    agents: tuple[int, ...] = (10,)
    schedules: tuple[str, ...] = ("falling",)
    scale: float = 20.0
    watch_every: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.network not in NETWORKS:
            there = ", ".join(NETWORKS)
            raise GameError(f"the network is '{self.network}'", hint=f"one of {there}.")
        for schedule in self.schedules:
            if schedule not in SCHEDULES:
                there = ", ".join(SCHEDULES)
                raise GameError(f"the schedule is '{schedule}'", hint=f"one of {there}.")
        if "mai-exclusive" in self.methods:
            raise GameError("here MAI fits no opponent model, so there is no mai-exclusive")
        for n in self.agents:
            if n < 2:
                raise GameError(f"{n} agents; at least 2 are needed")

    def conditions(self) -> list[dict[str, Any]]:
        """Every number of agents with every schedule."""
        return [{"agents": n, "schedule": how} for n in self.agents for how in self.schedules]

    def learn(self, method: str, condition: Mapping[str, Any], **options: Any) -> Learning:
        """Let one method learn under one condition."""
        game = Routing(self.network, n_agents=condition["agents"])
        asked = options_of(method, condition["schedule"], COOLING.last)
        if method not in ("maddpg", "iddpg"):
            asked = {"temperature": falling(self.episodes), **asked}
        if method in VARIANTS:  # of MAI as it is here, but for one thing
            asked |= OWN["mai"] | VARIANTS[method]
        else:
            asked |= OWN.get(method, {})
        shared = {
            "gamma": 0.0,
            "scale": self.scale * condition["agents"],
            "learning_rate": LEARNING_RATE,
            "leak": LEAK,
            "watch": watching(game, self.seeds),
            "watch_every": self.watch_every,
        }
        return ALL[method](game, **{**shared, **asked, **options})

    def judge(self, learning: Learning) -> dict[str, Any]:
        """Reward and NashConv, in the end and on the way: means and 95 % intervals."""
        game = learning.game
        weights = visitation(game)
        at_rest = routing_equilibrium(game).splits
        best = weights @ game.rewards(game.states, at_rest).mean(-1) / weights.sum()
        found: dict[str, Any] = {"equilibrium_reward": float(best)}
        for what, values in learning.watched.items():
            for name, each in ((what, values[-1]), (f"{what}_on_the_way", values.mean(0))):
                found[name] = float(each.mean())
                if len(each) > 1:
                    reach = float(1.96 * each.std() / len(each) ** 0.5)
                    found |= {
                        f"{name}_low": found[name] - reach,
                        f"{name}_high": found[name] + reach,
                    }
        return found

    def compared(self, panel: Panel) -> dict[str, Any]:
        """By how much one method is nearer to equilibrium than another (Welch, 95 %).

        In the end, and on the mean of all looks on the way.
        """
        if self.seeds < 2:
            return {}
        watched = {learning.method: learning.watched["nash_conv"] for learning in panel.learnings}
        ends = {method: values[-1] for method, values in watched.items()}
        ways = {method: values.mean(0) for method, values in watched.items()}
        return {"nash_conv": _nearer(ends), "nash_conv_on_the_way": _nearer(ways)}

    def curves(self, panel: Panel) -> list[dict[str, Any]]:
        """The reward of a step, and NashConv."""
        labels = {"reward": "expected reward of a step", "nash_conv": "NashConv of a step"}
        return [
            {
                "learnings": panel.learnings,
                "title": panel.title,
                "watched": what,
                "label": label,
                "logarithmic": what == "nash_conv",
            }
            for what, label in labels.items()
        ]


def falling(episodes: int) -> Schedule:
    """The temperature by episode: `COOLING`, and `WARM` that is gone at the end.

    >>> [round(falling(200)(episode), 4) for episode in (0, 100, 200)]
    [5.0205, 0.0107, 0.0005]
    """
    return lambda episode: COOLING(episode) + WARM * max(0.0, 1 - episode / episodes)


def _nearer(found: Mapping[str, Tensor]) -> list[dict[str, Any]]:
    rows = []
    for one, other in permutations(found, 2):
        test = ttest_ind(found[other].numpy(), found[one].numpy(), equal_var=False)
        low, high = test.confidence_interval(0.95)
        nearer = float(found[other].mean() - found[one].mean())
        rows.append(
            {
                **{"method": one, "than": other, "nearer_by": nearer},
                **{"low": float(low), "high": float(high)},
            }
        )
    return rows


def watching(game: Routing, plays: int) -> Callable[[Policies], dict[str, Tensor]]:
    """What is looked at: expected reward and NashConv of a step, (K,) each.

    Agents act at random and independently; an agent's own randomness costs it the variance of its
    flows, which both numbers count.

    Args:
        game: a routing game.
        plays: K.
    """
    states, weights = game.states, visitation(game)
    seen = torch.stack(list(states), -1).float()
    asked = seen.repeat(DRAWS, 1).repeat_interleave(plays, 0)

    def watch(policies: Policies) -> dict[str, Tensor]:
        drawn = torch.stack([policies[agent](asked) for agent in game.agents], -2).double()
        drawn = drawn.unflatten(0, (DRAWS, len(seen), plays)).permute(2, 0, 1, 3, 4)
        drawn = drawn / drawn.sum(-1, keepdim=True)  # (K, draws, S, N, P)
        mean = drawn.mean(1)
        off = drawn - mean[:, None]
        covariance = torch.einsum("kdsnp,kdsnq->ksnpq", off, off) / DRAWS
        rewards = game.rewards(states, drawn).mean((1, 3))  # (K, S)
        gaps = [expected_nash_conv(game, *parts)[1] for parts in zip(mean, covariance, strict=True)]
        return {
            "reward": rewards @ weights / weights.sum(),
            "nash_conv": torch.tensor(gaps, dtype=torch.float64),
        }

    return watch

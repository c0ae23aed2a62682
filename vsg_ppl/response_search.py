"""How much an agent gains at least: best responses found by search, where no table can be made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import torch
from torch import Tensor

from vsg_ppl.agent import as_policies
from vsg_ppl.arena import Arena
from vsg_ppl.errors import GameError
from vsg_ppl.game import agents as agents_of
from vsg_ppl.game import title
from vsg_ppl.handlers.play import Policy
from vsg_ppl.learning import Learning, need_program
from vsg_ppl.rollout import Rollout, learnt
from vsg_ppl.searches import Search


@dataclass(frozen=True, eq=False)
class FoundResponse:
    """What one agent can do better, as far as the search saw.

    Attributes:
        agent: who.
        value: of its policy, from the initial law.
        response_value: of the response, against the others' same policies.
        gain: the difference, estimated on plays that the search has not seen.
        error: its standard error.
        method: the search that found it: "grid", "gradient" or "cross-entropy".
        text: the response in words, a line for each state.
        program: the response as a policy program.
    """

    agent: str
    value: float
    response_value: float
    gain: float
    error: float
    method: str
    text: tuple[str, ...]
    program: Policy

    @property
    def interval(self) -> tuple[float, float]:
        """The gain of this response with a confidence of 95 %, by the normal approximation."""
        reach = NormalDist().inv_cdf(0.975) * self.error
        return self.gain - reach, self.gain + reach


@dataclass(frozen=True, eq=False)
class SearchCertificate:
    """A LOWER bound on the Nash gap. No upper bound: a search may have missed a better response.

    Attributes:
        game: its name.
        steps: of a play.
        plays: over which gains are estimated.
        found: by agent.
    """

    game: str
    steps: int
    plays: int
    found: dict[str, FoundResponse]

    @property
    def nash_gap_at_least(self) -> float:
        """With a confidence of 95 % the Nash gap is at least this much.

        The largest of the gains' lower ends, at a level that allows for taking the largest
        (Bonferroni's): some agent gains so much by the response found for it. Never negative.
        """
        z = NormalDist().inv_cdf(1 - 0.05 / len(self.found))
        return max(0.0, *(one.gain - z * one.error for one in self.found.values()))

    @property
    def per_agent(self) -> dict[str, float]:
        """The gain of the response found for each agent; negative where none is better."""
        return {agent: one.gain for agent, one in self.found.items()}

    @property
    def values(self) -> dict[str, float]:
        """What each agent's policy is worth."""
        return {agent: one.value for agent, one in self.found.items()}

    def to_dict(self) -> dict[str, Any]:
        """The same in plain JSON values."""
        return {
            "nash_gap_at_least": self.nash_gap_at_least,
            "steps": self.steps,
            "plays": self.plays,
            "per_agent": {
                agent: {
                    "value": one.value,
                    "response_value": one.response_value,
                    "gain": one.gain,
                    "interval": list(one.interval),
                    "method": one.method,
                    "response": list(one.text),
                }
                for agent, one in self.found.items()
            },
        }

    def __str__(self) -> str:
        rows = [["agent", "value", "gain", "95 % interval", "found by", "response"]]
        for one in self.found.values():
            reach = "[{:.4g}, {:.4g}]".format(*one.interval)
            numbers = [f"{one.value:.4g}", f"{one.gain:.4g}", reach, one.method]
            rows.append([one.agent, *numbers, one.text[0]])
            rows += [[""] * 5 + [line] for line in one.text[1:]]
        wide = [max(len(row[k]) for row in rows) for k in range(5)]
        lines = [
            "  ".join([*map(str.ljust, row[:5], wide), row[5]]).rstrip()  # the last as it is
            for row in rows
        ]
        said = (
            f"{self.game}: the Nash gap is at least {self.nash_gap_at_least:.4g} "
            + ("(95 % sure)" if self.nash_gap_at_least else "(no gain was found)"),
            f"A search found this, in {self.plays:,} plays of {_count(self.steps, 'step')}; it is "
            "a lower bound: there may be better responses.",
        )
        return "\n".join([*said, "", *lines])

    def __repr__(self) -> str:
        return (
            f"SearchCertificate({self.game}: Nash gap at least {self.nash_gap_at_least:.4g}, "
            f"of {_count(len(self.found), 'agent')})"
        )


def certify_by_search(
    game: Any,
    policies: Mapping[str, Any] | None = None,
    *,
    agents: Sequence[str] | None = None,
    steps: int | None = None,
    plays: int = 1000,
    starts: int = 8,
    iterations: int = 150,
    seed: int = 0,
    experiment: int = 0,
) -> SearchCertificate:
    """Search each agent's best response to the others' policies: a lower bound on the Nash gap.

    For games that `certify` cannot take, those without a table. It never gives an upper bound: that
    no response is found proves nothing. Responses are deterministic: an action for each state if
    at most 16 are met, else a small network of the state and the time. There are two searches: a
    grid of actions, where an agent has at most two free numbers or a finite set, and gradient
    ascent through the program from many starts side by side. Where the program lets no gradient
    through, the cross-entropy method takes its place (R. Rubinstein, 1999). The better response is
    then played on fresh random numbers, the same with it and with the policy, so that the choice
    does not flatter the gain.

    Args:
        game: a program whose step works on tensors with a leading dimension; or what learners gave
            back.
        policies: for each agent a program, or a table if the game is finite. They are the
            *executed* policies.
        agents: whose responses are searched, all by default; the bound holds for any of them.
        steps: of a play; by default the horizon, or the fewest after which γ^T < 1e-3. Values and
            gains are of these steps.
        plays: on which the gains are estimated.
        starts: of the gradient ascent.
        iterations: of the gradient ascent; the cross-entropy method takes a third of them.
        seed: of random numbers. The caller's stream is left alone.
        experiment: of learners, which experiment's policies.

    Raises:
        GameError: an agent is unknown or has no policy, a policy's actions have another shape or
            lie outside the prior's support, or the step does not run side by side; of learners, the
            game is a simulator or actions are finite.

    >>> import pyro, pyro.distributions as dist
    >>> from vsg_ppl.models import Differential
    >>> def at(agent, x):
    ...     return lambda state: pyro.sample(agent, dist.Delta(torch.tensor(x)))
    >>> game = Differential(horizon=1)
    >>> apart = {"first": at("first", 5.0), "second": at("second", 4.0)}
    >>> found = certify_by_search(game, apart, plays=10, iterations=50)
    >>> round(found.nash_gap_at_least, 2), found.found["second"].text
    (1.0, ('always 5',))
    """
    if isinstance(game, Learning):
        game, policies = game.game, _of_learning(game, experiment)
    if policies is None:
        raise GameError("no policies are given", hint="certify_by_search(game, policies).")
    everyone = list(agents_of(game))
    rollout = Rollout(game, as_policies(game, policies, everyone), steps)
    asked = everyone if agents is None else list(agents)
    for agent in asked:
        rollout.first.of(agent)
    if not asked or min(plays - 1, starts, iterations) < 1:
        raise GameError(
            f"{len(asked)} agents, {plays} plays, {starts} starts and {iterations} iterations are "
            "asked for",
            hint="at least 2 plays and 1 of all else.",
        )
    with torch.random.fork_rng(devices=[]):
        found = {}
        for agent in asked:
            torch.manual_seed(seed)
            search = Search(rollout, agent, starts, iterations)
            found[agent] = _evaluate(rollout, search, agent, plays, seed)
    return SearchCertificate(title(game), rollout.steps, plays, found)


def _evaluate(rollout: Rollout, search: Search, agent: str, plays: int, seed: int) -> FoundResponse:
    """The gain on fresh random numbers, the same with the response and without."""
    row, method = search.best()
    response = search.response(row[None])
    fresh = seed + 1_000_003
    with torch.no_grad():
        torch.manual_seed(fresh)
        before = rollout.returns(plays)[agent]
        torch.manual_seed(fresh)
        after = rollout.returns(plays, agent, response, paired=True)[agent]
    gain = after - before
    if not gain.isfinite().all():
        raise GameError(f"what '{agent}' is paid is not finite")
    return FoundResponse(
        agent=agent,
        value=float(before.mean()),
        response_value=float(after.mean()),
        gain=float(gain.mean()),
        error=float(gain.std() / plays**0.5),
        method=method,
        text=search.text(row),
        program=rollout.program(agent, response),
    )


def _of_learning(found: Learning, experiment: int) -> dict[str, Policy]:
    """Policies of one experiment of learners as programs."""
    plays = found.rewards.shape[1]
    if not 0 <= experiment < plays:
        raise GameError(f"there is no experiment {experiment}; there are 0 to {plays - 1}")
    need_program(found)
    spaces = Arena(found.game, 1).spaces
    if any(space.shape.kind == "finite" for space in spaces.values()):
        raise GameError(
            f"what {found.method} learnt are probabilities of finite actions",
            hint="`learnt.certify()`, which is exact.",
        )
    stretch: dict[str, Callable[[Tensor], Tensor]] = {
        agent: space.value for agent, space in spaces.items()
    }
    return {
        agent: learnt(found.game, agent, act, stretch[agent], plays, experiment)
        for agent, act in found.policies.items()
    }


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}" + ("" if n == 1 else "s")

"""Observed play as a Pyro model: unknowns, then agents who act softly by them (Prop. 5.9).

The data's way: `draw_unknowns` samples ψ; `TableFamily` makes the game's table of it; reward
programs and temperatures say what the agents want; `soft_response`, levels or `soft_equilibrium`
say how they act; a factor counts how likely that makes the actions that were seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import isfinite
from typing import Any, Literal, TypeAlias

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from vsg_ppl.errors import GameError
from vsg_ppl.family import TableFamily
from vsg_ppl.game import Game
from vsg_ppl.guides.reward import NoReward, OwnReward, TabularReward, WelfareReward
from vsg_ppl.observations import Observations
from vsg_ppl.reading import read_policies
from vsg_ppl.soft_equilibrium import soft_equilibrium
from vsg_ppl.soft_response import log_likelihood, soft_response
from vsg_ppl.table import Table
from vsg_ppl.unknowns import FreeParameters, Once, draw_unknowns

RewardProgram: TypeAlias = Callable[[Table], Tensor]
RewardLike: TypeAlias = str | Tensor | RewardProgram | None
Others: TypeAlias = Literal["observed", "equilibrium"] | int | Mapping[str, Any]

NAMED: Mapping[str, Any] = {
    "program": OwnReward,
    "welfare": WelfareReward,
    "random": NoReward,
    "action": lambda table, agent: TabularReward(table, agent, over="action"),
    "joint": lambda table, agent: TabularReward(table, agent, over="joint"),
    "state": lambda table, agent: TabularReward(table, agent, over="state"),
}
"""Reward models by name."""


class PlayModel:
    """p(ψ) Π_t ρ*_ψ(a_t | s_t): how the agents' observed actions came about, as a Pyro model.

    Any of Pyro's inference works on it; `infer_opponent` does the usual. Sites: the unknowns of the
    game's program, those of the reward programs, ``temperature`` and ``lapse`` where they have
    priors, and the factor ``play``. A run returns log ρ*_ψ of each agent modelled, (H|1, S, A), for
    one ψ (no vectorised particles). Unknowns are continuous: for finitely many explanations see
    `compare_hypotheses`, and a continuous law that is meant as chance becomes an unknown.

    Args:
        game: a game program, with or without unknowns, or its table.
        agents: whose actions are explained, a name or several.
        play: what was seen, as `Observations.of` takes it.
        reward: what the agents want, for all of them or by agent: a reward program
            ``reward(table)``; or "program", what the game's program pays them; "welfare", what it
            pays everybody; "random", nothing; "action", "joint", "state", a table over these cells
            (`TabularReward`). By default "program" if the program has unknowns, else "action".
        temperature: τ > 0 in units of reward, or its prior; by agent, if they differ. By default
            LogNormal(log of a quarter of the reward's spread, 2) if the reward has units (it is the
            program's, at a draw of its unknowns), and 1 if it has not. Give one prior to programs
            whose evidence is to be compared.
        others: how those who are not modelled act, in the agents' eyes: "observed", as was seen,
            smoothed, as if the agents knew just that: where they are nearly indifferent, the noise
            in a few observations passes for reasons; "equilibrium", all agents respond softly to
            each other (the logit equilibrium, for one to all of whom the reward applies); policies
            by name; or a number k: the agent thinks k + 1 steps, and takes the others to think k, 0
            being their priors. For equilibria and steps, all agents need temperatures.
        lapse: probability that an action is drawn from the prior u instead, in [0, 1), or its
            prior.

    Raises:
        GameError: play, policies or rewards that are not of this game.

    >>> import torch, vsg_ppl as vsg
    >>> from pyro import poutine
    >>> from vsg_ppl.models import StagHunt
    >>> plays = vsg.nash(StagHunt(), temperature=1.0).simulate(10, steps=5)
    >>> trace = poutine.trace(PlayModel(StagHunt(), "col", plays)).get_trace()
    >>> sorted(name for name in trace.nodes if not name.startswith("_"))
    ['play', 'reward.col']
    """

    def __init__(
        self,
        game: Game | Table,
        agents: str | Sequence[str],
        play: Any,
        *,
        reward: RewardLike | Mapping[str, RewardLike] = None,
        temperature: Any = None,
        others: Others = "observed",
        lapse: Any = 0.0,
    ) -> None:
        self.game, self.family = game, TableFamily(game)
        table = self.table = self.family.table
        self.agents = (agents,) if isinstance(agents, str) else tuple(agents)
        for agent in self.agents:
            table.number(agent)
        if not self.agents or len(set(self.agents)) < len(self.agents):
            raise GameError(f"the agents to explain are {self.agents!r}: name each once")
        self.seen = Observations.of(table, play)
        for agent in self.agents:
            if not bool(self.seen.counts[agent].any()):
                raise GameError(f"no action of '{agent}' was seen")
        self._check_available()
        self.others, self.lapse = others, _prior_of("lapse", lapse, 0.0, 1.0)
        self.levels, self.given = self._read(others)
        self.modelled = table.agents if self.jointly else self.agents
        by_agent = reward if isinstance(reward, Mapping) else dict.fromkeys(self.modelled, reward)
        for agent in by_agent:
            table.number(agent)
        self.rewards: dict[str, Any] = {}
        for agent in self.modelled:
            self.rewards[agent] = self._reward(agent, by_agent.get(agent))
        self.temperatures = self._temperatures(temperature)

    @property
    def jointly(self) -> bool:
        """Whether all agents' behaviour is computed, not only that of the agents explained."""
        return self.others == "equilibrium" or self.levels is not None

    def __call__(self) -> dict[str, Tensor]:
        """Sample the unknowns; weigh them by the actions that were seen."""
        table, temperatures = self.wants()
        logs = {agent: log[0] for agent, log in self.behaviour(table, temperatures).items()}
        seen = [log_likelihood(self.seen.counts[agent], logs[agent]) for agent in self.agents]
        pyro.factor("play", torch.stack(seen).sum())
        return logs

    def wants(self) -> tuple[Table, dict[str, Any]]:
        """Sample what the agents want: the table with their rewards, and their temperatures."""
        with Once():  # what several programs sample by one name is one unknown
            table = self.family(draw_unknowns(self.game) if self.family.names else {})  # type: ignore[arg-type]
            rewards = list(table.rewards)
            for agent, program in self.rewards.items():
                with FreeParameters():
                    reward = program(table)
                rewards[table.number(agent)] = _shaped(table, agent, reward)
            temperatures = {
                agent: pyro.sample(*prior) if isinstance(prior, tuple) else prior
                for agent, prior in self.temperatures.items()
            }
        return replace(table, rewards=tuple(rewards)), temperatures

    def behaviour(self, table: Table, temperatures: Mapping[str, Any]) -> dict[str, Tensor]:
        """log ρ*_j(a|s) of the agents explained, (1, H|1, S, A)."""
        if self.others == "equilibrium":
            taus = [temperatures[agent] for agent in table.agents]
            found = soft_equilibrium(table, taus)
            logs = {agent: found[table.number(agent)] for agent in self.agents}
        else:
            policies = list(self.given)
            for _ in range(self.levels or 0):
                policies = [
                    soft_response(table, policies, i, temperatures[agent]).exp()
                    for i, agent in enumerate(table.agents)
                ]
            logs = {
                agent: soft_response(table, policies, table.number(agent), temperatures[agent])
                for agent in self.agents
            }
        lapse = pyro.sample("lapse", self.lapse) if _is_law(self.lapse) else self.lapse
        if not _is_law(self.lapse) and lapse == 0.0:
            return logs
        return {
            agent: _mixed(log, table.log_priors[table.number(agent)], lapse)
            for agent, log in logs.items()
        }

    def _read(self, others: Others) -> tuple[int | None, list[Tensor]]:
        """How many steps the others think, if that is said, and the policies to respond to."""
        table = self.table
        if isinstance(others, bool) or (isinstance(others, int) and others < 0):
            raise GameError(f"the others think {others!r} steps; 0 or more")
        if isinstance(others, int):
            return others, [prior.exp() for prior in table.log_priors]
        if others in ("observed", "equilibrium"):
            return None, [
                self.seen.smoothed(agent, float(size))
                for agent, size in zip(table.agents, table.sizes, strict=True)
            ]
        if not isinstance(others, Mapping):
            raise GameError(
                f"the others act by {others!r}",
                hint="'observed', 'equilibrium', a number of steps, or policies by name.",
            )
        known = dict(others)
        for agent, prior in zip(table.agents, table.log_priors, strict=True):
            if agent in self.agents:
                known.setdefault(
                    agent, prior[0, 0].exp() if prior.shape[1] == 1 else prior[0].exp()
                )
        return None, [policy.to(table.device) for policy in read_policies(table, known)]

    def _reward(self, agent: str, reward: RewardLike) -> RewardProgram:
        if reward is None:
            reward = "program" if self.family.names or self.jointly else "action"
        if isinstance(reward, str):
            if reward not in NAMED:
                raise GameError(f"no reward model is named '{reward}': {', '.join(NAMED)}")
            made: RewardProgram = NAMED[reward](self.table, agent)
            return made
        if isinstance(reward, Tensor):
            fixed = reward.to(self.table.initial)
            return lambda table: fixed
        if not callable(reward):
            raise GameError(
                f"the reward of '{agent}' is a {type(reward).__name__}",
                hint="a reward program reward(table), a tensor, or one of "
                + ", ".join(NAMED)
                + ".",
            )
        return reward

    def _temperatures(self, given: Any) -> dict[str, Any]:
        """For each agent modelled a number, or the name of its site and the prior."""
        if isinstance(given, Mapping):
            for agent in given:
                self.table.number(agent)
            lacking = [agent for agent in self.modelled if agent not in given]
            if lacking:
                raise GameError(f"no temperature is given for '{lacking[0]}'")
            return {
                agent: self._temperature(f"temperature.{agent}", given[agent], agent)
                for agent in self.modelled
            }
        return {agent: self._temperature("temperature", given, agent) for agent in self.modelled}

    def _temperature(self, name: str, given: Any, agent: str) -> Any:
        if given is None:
            units = isinstance(self.rewards[agent], OwnReward | WelfareReward)
            spread = max(
                float(self.table.rewards[self.table.number(who)].max())
                - float(self.table.rewards[self.table.number(who)].min())
                for who in self.modelled
            )
            if not units or isinstance(self.rewards[agent], NoReward) or not spread > 0:
                return 1.0
            centre = torch.tensor(spread / 4, dtype=torch.float64).log()
            return name, dist.LogNormal(centre, torch.tensor(2.0, dtype=torch.float64))
        prior = _prior_of("temperature", given, 0.0, float("inf"))
        return (name, prior) if _is_law(prior) else prior

    def _check_available(self) -> None:
        for agent in self.agents:
            prior = self.table.log_priors[self.table.number(agent)][0]
            odd = (self.seen.counts[agent] > 0) & (prior == -torch.inf)
            if bool(odd.any()):
                _, state, action = odd.nonzero()[0].tolist()
                names = self.table.actions[self.table.number(agent)].names()
                raise GameError(
                    f"'{agent}' was seen to play {names[action]} in state "
                    f"{self.table.states[state]}, where its prior says it is not available"
                )


def _mixed(log_policy: Tensor, log_prior: Tensor, lapse: Any) -> Tensor:
    """log[(1 − lapse) ρ + lapse u], −inf where an action is not available."""
    mean = (1 - lapse) * log_policy.exp() + lapse * log_prior.exp()
    available = log_prior > -torch.inf
    return torch.where(available, mean, 1.0).clamp_min(1e-300).log().where(available, -torch.inf)


def _shaped(table: Table, agent: str, reward: Any) -> Tensor:
    """A reward as the table holds it, (1, H|1, S, A_1|1, ..., A_N|1)."""
    n, sizes = len(table.states), table.sizes
    wanted = (n, *sizes)
    try:
        reward = torch.as_tensor(reward, dtype=torch.float64, device=table.device)
    except (TypeError, ValueError, RuntimeError):
        raise GameError(
            f"the reward model of '{agent}' gives {reward!r}, not a tensor",
            hint="return the rewards, (S, A_1|1, ..., A_N|1).",
        ) from None
    shape = tuple(reward.shape)
    if len(shape) == len(wanted):
        reward = reward[None]
    fits = reward.ndim == len(wanted) + 1 and all(
        a in (1, b) for a, b in zip(reward.shape, (table.horizon or 1, *wanted), strict=True)
    )
    if not fits:
        raise GameError(
            f"the reward model of '{agent}' gives the shape {shape}; expected {wanted}, in which a "
            "dimension may be 1" + (", with or without the times before" if table.horizon else "")
        )
    spread: Tensor = reward.expand(len(reward), n, *reward.shape[2:])[None]
    return spread


def _prior_of(what: str, given: Any, low: float, high: float) -> Any:
    if _is_law(given):
        if given.batch_shape.numel() * given.event_shape.numel() != 1 or given.support.is_discrete:
            raise GameError(
                f"the prior of the {what} is a law of "
                + ("whole numbers" if given.support.is_discrete else "several numbers"),
                hint=f"a continuous law of one number between {low:g} and {high:g}.",
            )
        outside = [x for x in (low - 0.5, high + 0.5) if isfinite(x)]
        if any(bool(given.support.check(torch.tensor(x)).any()) for x in outside):
            raise GameError(
                f"the prior of the {what} allows what is not between {low:g} and {high:g}",
                hint="LogNormal for a temperature, Beta for a lapse.",
            )
        return given
    try:
        number = float(given)
    except (TypeError, ValueError, RuntimeError):
        raise GameError(
            f"the {what} is {given!r}",
            hint=f"a number, or its prior, between {low:g} and {high:g}.",
        ) from None
    if not (low < number < high or (what == "lapse" and number == 0.0)):
        raise GameError(f"the {what} is {number:g}; it lies between {low:g} and {high:g}")
    return number


def _is_law(x: Any) -> bool:
    return isinstance(x, torch.distributions.Distribution)

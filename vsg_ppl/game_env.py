"""A game program as an environment of PettingZoo's, run step by step."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from pettingzoo import ParallelEnv
from pyro import poutine
from torch import Tensor

from vsg_ppl.action_spaces import ActionSpace, Choice, Site, available, read_site
from vsg_ppl.errors import GameError, telling
from vsg_ppl.game import Game, agents, call, discount, title
from vsg_ppl.game import horizon as horizon_of
from vsg_ppl.handlers.acting import ActingMessenger, Enough
from vsg_ppl.structure import rebuild, tensors
from vsg_ppl.table import Table
from vsg_ppl.table_plays import actions_of, ends, table_of_plays

LOOK_AHEAD = 100
"""Steps of a random play in which every agent of a game without a table must have acted."""


class GameEnv(ParallelEnv):  # type: ignore[misc]
    """A game program as a `ParallelEnv`; made by `to_pettingzoo`, which says what it promises.

    Attributes:
        game: the game program.
        discount: γ, for the learner to apply.
        max_steps: decisions after which a play is truncated.
        low: what was taken off each number of the observation so that it counts from 0; zeros for
            a `Box`.
        illegal: what happens to an action that is not available, "raise" or "prior".
    """

    render_mode = "ansi"

    def __init__(self, game: Game, max_steps: int, illegal: str) -> None:
        self.game, self.max_steps, self.illegal = game, max_steps, illegal
        self.discount, self.horizon = discount(game), horizon_of(game)
        self.metadata = {
            "name": f"{_snake(title(game))}_v0",
            "render_modes": ["ansi"],
            "is_parallelizable": True,
        }
        self.possible_agents = list(agents(game))
        self.agents: list[str] = []
        self._rng: Tensor | None = None
        self._timed = self.horizon is not None and self.horizon > 1
        table = table_of_plays(game, max_steps)
        self._ends = set() if table is None else ends(table)
        self._signals: dict[str, Tensor] = {}
        self._named = set() if table is None else {name for name, _ in table.signals}
        self._sites: dict[str, Site] = {}  # of actions; none are known yet
        self._acting = self._probe() if table is None else actions_of(table)
        self._sites = {site.name: site for part in self._acting.values() for site in part.sites}
        self.low, self.state_space = self._observations(table)
        self._spaces = {agent: part.space for agent, part in self._acting.items()}
        # one for each agent, as libraries seed them one by one
        self._seen = {agent: self._observations(table)[1] for agent in self.possible_agents}

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        """What the agent sees: the same for all."""
        return self._seen[agent]

    def action_space(self, agent: str) -> spaces.Space[Any]:
        """What the agent can do, available or not."""
        return self._spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin a play.

        Args:
            seed: of chance. Without one the stream goes on; the first takes it from torch's.
            options: not used.

        Returns:
            Observations and infos by agent.
        """
        if seed is None and self._rng is None:
            seed = int(torch.randint(1 << 62, ()))
        if seed is not None:
            self._rng = torch.Generator().manual_seed(int(seed)).get_state()
        self.agents, self.t, self._last = list(self.possible_agents), 0, ""
        self._begin()
        self._look()
        return self._observe(), self._infos()

    def step(
        self, actions: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, float], dict[str, bool], dict[str, bool], dict[str, Any]]:
        """Everybody acts.

        Args:
            actions: of all agents, each in its space.

        Returns:
            Observations, rewards, terminations, truncations and infos, by agent.

        Raises:
            GameError: no play is under way; an action is missing, or not in its space, or not
                available; a reward is not a finite number. The play is then where it was before.
        """
        if not self.agents:
            raise GameError("no play is under way", hint="env.reset(seed=0).")
        if set(actions) != set(self.agents):
            raise GameError(
                f"actions are given for {', '.join(map(str, actions)) or 'nobody'}, and "
                f"{', '.join(self.agents)} act"
            )
        given: dict[str, Tensor] = {}
        for agent in self.agents:
            given |= self._acting[agent].values(actions[agent])
        run, following = self._run(given, self._signals)
        rewards = {agent: run.rewards.get(agent, 0.0) for agent in self.agents}
        self._last = self._words(run, rewards)
        self.t += 1
        at_horizon = self.t == self.horizon
        if not at_horizon:  # what the last step returns is not used
            self._state = following
            self._look()
        ended = not at_horizon and tuple(self._parts()) in self._ends
        cut = not ended and (at_horizon or self.t >= self.max_steps)
        result = (
            self._observe(),
            rewards,
            dict.fromkeys(self.agents, ended),
            dict.fromkeys(self.agents, cut),
            self._infos(),
        )
        if ended or cut:
            self.agents = []
        return result

    def state(self) -> np.ndarray[Any, Any]:
        """All there is to see: what each agent observes."""
        numbers = [*self._parts(), *_numbers(list(self._signals.values()))]
        if self._timed:
            numbers.append(self.t)
        if len(numbers or [0]) != len(self.low):
            raise GameError(
                f"a state of {title(self.game)} has {len(numbers)} numbers, and the first had "
                f"{len(self.low)}"
            )
        seen: np.ndarray[Any, Any] = np.array(numbers or [0]) - self.low
        return seen.astype(self.state_space.dtype)

    def render(self) -> str:
        """The state, and what led to it, as one line of text."""
        like = self._state
        shown = rebuild(like, [leaf.tolist() for leaf in tensors(like)])
        parts = [f"t={self.t} state={shown}"]
        parts += [f"{name}={value.tolist()}" for name, value in self._signals.items()]
        return " ".join(parts) + self._last

    def close(self) -> None:
        """Nothing is open."""

    # --- running the program ---------------------------------------------------------------------

    @contextmanager
    def _chance(self) -> Iterator[None]:
        """Chance with random numbers of its own; nothing outside sees the sites."""
        with torch.random.fork_rng(devices=[]), torch.no_grad(), poutine.block():
            assert self._rng is not None
            torch.set_rng_state(self._rng)
            yield
            self._rng = torch.get_rng_state()

    def _begin(self) -> None:
        with self._chance(), telling(f"`initial` of {title(self.game)}"):
            self._state = self.game.initial()

    def _run(
        self,
        given: Mapping[str, Tensor],
        signals: Mapping[str, Tensor],
        until: set[str] | None = None,
    ) -> tuple[ActingMessenger, Any]:
        """One run of the step, if need be only until these sites were seen."""
        run = ActingMessenger(
            self.possible_agents, self._sites, given, signals, until, self.illegal
        )
        following = None
        with self._chance():
            try:
                with telling(f"`step` of {title(self.game)}"), run:
                    following = call(self.game.step, self._state, t=self.t)
            except Enough:
                pass
        return run, following

    def _look(self) -> None:
        """Draw the step's signals, and find what is available."""
        first, _ = self._run({}, {}, {*self._sites, *self._named})
        self._signals = first.signals
        self._masks = {agent: self._mask(part, first.laws) for agent, part in self._acting.items()}

    def _mask(self, part: ActionSpace, laws: Mapping[str, Any]) -> Any:
        """The available actions of an agent; where it sits out, the first alone."""
        if not part.finite:
            masks = {
                site.name: available(laws[site.name])
                if isinstance(site, Choice) and site.name in laws
                else None
                for site in part.sites
            }
            return masks if len(masks) > 1 else None
        mask = np.zeros(part.sizes, dtype=np.int8)
        waiting: list[tuple[int, ...]] = [()]
        while waiting:  # each site's prior may read the agent's earlier ones
            before = waiting.pop()
            if before:
                own = zip(part.sites, before, strict=False)
                known = {site.name: site.value(k) for site, k in own}
                laws = self._run(known, self._signals, set(self._sites))[0].laws
            name = part.sites[len(before)].name
            free = np.flatnonzero(available(laws[name])) if name in laws else [0]
            if len(before) + 1 == len(part.sites):
                mask[(*before, free)] = 1
            else:
                waiting += [(*before, int(k)) for k in free]
        return mask.reshape(-1)

    def _probe(self) -> dict[str, ActionSpace]:
        """The action sites of a game without a table, from a random play."""
        self._rng = torch.Generator().manual_seed(0).get_state()
        self._begin()
        found: dict[str, Any] = {}
        for t in range(min(self.horizon or LOOK_AHEAD, LOOK_AHEAD)):
            self.t = t
            if t == 0:
                self._start = self._state
            run, following = self._run({}, {})
            if t == 0:
                self._signals = run.signals
                self._named = set(run.signals)
            for name, fn in run.laws.items():
                act, value = run.acts[name]
                site = read_site(name, fn, act.labels, value.dtype)
                found.setdefault(act.agent, {}).setdefault(name, site)
            if len(found) == len(self.possible_agents):
                break
            self._state = following
        self._rng = None
        self._state = self._start
        for agent in self.possible_agents:
            if agent not in found:
                raise GameError(
                    f"agent '{agent}' of {title(self.game)} did not act in {t + 1} steps",
                    hint=f'vsg.act("{agent}", dist.Categorical(torch.ones(2))) in the step.',
                )
        return {
            agent: ActionSpace(agent, list(found[agent].values())) for agent in self.possible_agents
        }

    # --- what is seen ----------------------------------------------------------------------------

    def _observations(self, table: Table | None) -> tuple[np.ndarray[Any, Any], spaces.Space[Any]]:
        """What is taken off the numbers, and the space."""
        if table is None:
            size = len(self._parts()) + len(_numbers(list(self._signals.values()))) + self._timed
            low = np.zeros(max(size, 1))
            return low, spaces.Box(-np.inf, np.inf, low.shape, np.float32)
        rows = table.states.values.cpu().numpy()
        least, spans = rows.min(0), np.ptp(rows, 0) + 1
        if self._timed:
            least, spans = np.append(least, 0), np.append(spans, (self.horizon or 0) + 1)
        if not len(spans):  # a space cannot be empty
            least, spans = np.zeros(1, dtype=int), np.ones(1, dtype=int)
        return least, spaces.MultiDiscrete(spans)

    def _parts(self) -> list[float]:
        return _numbers(self._state)

    def _observe(self) -> dict[str, Any]:
        return {agent: self.state() for agent in self.agents}

    def _infos(self) -> dict[str, Any]:
        infos: dict[str, dict[str, Any]] = {}
        for agent in self.agents:
            infos[agent] = {"discount": self.discount}
            if self._masks[agent] is not None:
                infos[agent]["action_mask"] = self._masks[agent]
        return infos

    def _words(self, run: ActingMessenger, rewards: Mapping[str, float]) -> str:
        """What was done and paid, for people."""
        said = ["; last"]
        for agent, part in self._acting.items():
            played = [
                site.words(run.acts[site.name][1]) for site in part.sites if site.name in run.acts
            ]
            said.append(f"{agent}={','.join(played) or '-'} ({rewards[agent]:g})")
        return " ".join(said)


def _numbers(state: Any) -> list[float]:
    return [x for leaf in tensors(state) for x in leaf.reshape(-1).tolist()]


def _snake(name: str) -> str:
    """StagHunt becomes stag_hunt."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return re.sub(r"\W+", "_", spaced).strip("_").lower()

"""Program → table: run the step once, over all states and all outcomes at once.

The data's way: `initial` gives the first states; each round runs the step over the states just
found and lays the outcomes out (`layout`); new states are looked for among the next ones; when
there are none, `_join` puts the rounds together and numbers the next states.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vsg_ppl import structure
from vsg_ppl.errors import GameError, telling
from vsg_ppl.facing import Facing
from vsg_ppl.game import Game, agents, call, discount, horizon, is_mean_field, takes, title
from vsg_ppl.handlers.enumerate import enumerate_sites
from vsg_ppl.join import Piece, join
from vsg_ppl.layout import Layout, Outcomes
from vsg_ppl.states import Codec, Finder, States
from vsg_ppl.table import Actions, Table

CHUNK = 1 << 22
"""Outcomes to run at a time: larger runs gain nothing and cost memory."""

DEPTH = 10_000
"""Steps away from the first states at which a game without a horizon is taken to have no end."""


def tabulate(game: Game, *, device: str | None = None, max_bytes: float | None = None) -> Table:
    """The table of a finite game program.

    The step runs once for every state, all in parallel, under an enumeration handler that gives
    each finite site its own tensor dimension. Rewards span only the actions they depend on,
    averaged over the step's chance; next states come as (number, probability) pairs. The state
    space is found by exploring from ``initial``. A public signal becomes part of the state (§5.3).

    Args:
        game: the game program. All its sites must be finite, its actions `Categorical`.
        device: where to put the table, by default where the program makes its tensors.
        max_bytes: memory the table may take, by default three quarters of the machine's.

    Raises:
        GameError: the game cannot be tabulated; says at which site and what to try.

    >>> from vsg_ppl.models import StagHunt
    >>> table = tabulate(StagHunt())
    >>> table.agents, list(table.states), table.sizes
    (('row', 'col'), [0, 1], (2, 2))
    """
    if isinstance(game, Facing):
        return game.table()
    if hasattr(game, "step") and is_mean_field(game):
        raise GameError(
            f"{title(game)} is a mean-field game: its table depends on the crowd",
            hint="mean_field_table(game), or facing(game, crowd) for the game of one agent against "
            "a given crowd.",
        )
    budget = allowance(max_bytes)
    table = Exploration(game, budget).table()
    # the program runs where its own constants are; only the finished table moves
    return table if device is None else table.to(device)


@dataclass
class Round:
    """One run of the step over a set of states; codes are those of the exploration's codec."""

    rows: Tensor  # (n,)
    said: Outcomes
    codes: Tensor  # of next states, (n, Ω|1, A_1|1, ..., A_N|1, K)
    probabilities: Tensor  # (n|1, Ω|1, A_1|1, ..., A_N|1, K)


class Exploration:
    """Finds a game's states round by round.

    ``codec`` numbers their parts and widens as they spread.
    """

    def __init__(self, game: Game, budget: float, *, check: bool = True) -> None:
        self.game, self.budget, self.check = game, budget, check
        self.agents, self.gamma, self.horizon = agents(game), discount(game), horizon(game)
        self.timed = takes(game.step, "t")
        if self.timed and self.horizon is None:
            raise GameError(
                f"the step of {title(game)} takes the time, and the game has no horizon",
                hint="give it a horizon, or put the time, modulo its period, into the state.",
            )
        self.rounds: list[list[Round]] = []  # by time; one list where the step takes no time
        self.known = torch.empty(0, dtype=torch.long)

    def table(self) -> Table:
        """The table of all that is found."""
        self.like, rows, law = self._initial()
        self.codec = codec_of(rows)
        self.known = self.codec.encode(list(rows.unbind(1))).expand(len(rows))
        layer = rows
        for t in count() if self.horizon is None else range(self.horizon):
            if self.timed or not self.rounds:
                self.rounds.append([])
            made = self._rounds(layer, t)
            self.rounds[-1] += made
            if self.horizon is not None and t == self.horizon - 1:
                break  # what the last step returns is not used
            found = torch.cat([self.codec.distinct(possible(part)) for part in made]).unique()
            new = found[~torch.isin(found, self.known)]
            self.known = torch.cat([self.known, new])
            layer = self.codec.decode(found if self.timed else new)
            if not len(layer):
                break
            if self.horizon is None and t >= DEPTH:
                state = structure.rebuild(self.like, layer[-1].tolist())
                raise GameError(
                    f"{title(self.game)} still has new states after {t:,} steps, such as {state}",
                    hint="bound the state (clamp it), or give the game a horizon.",
                )
        return self._join(rows, law)

    def again(self, states: Tensor) -> Table:
        """The table over states that are known already, given by their parts: one run a time."""
        self.like, rows, law = self._initial()
        self.codec = codec_of(states)
        self.known = self.codec.encode(list(states.unbind(1))).expand(len(states))
        for t in range(self.horizon or 1) if self.timed else (0,):
            self.rounds.append(self._rounds(states, t))
        return self._join(rows, law)

    def _initial(self) -> tuple[Any, Tensor, Tensor]:
        """A state for its structure, the rows of the possible first states, and their law."""
        tables = enumerate_sites(0, self.budget / 64)
        with telling(f"`initial` of {title(self.game)}"), tables:
            like = self.game.initial()
            parts = structure.leaves(like)
        sites = list(tables.sites.values())
        for site in sites:
            if site.role is not None:
                raise GameError("the initial state is drawn by chance alone", site=site.name)
        for paid in tables.rewards.values():
            raise GameError("nobody is paid before the first step", site=paid[0][0])
        shape = tuple(site.size for site in reversed(sites))
        law = torch.ones(shape, dtype=torch.float64)
        for site in sites:
            law = law * site.probabilities
        law = law.reshape(-1)
        for part in parts:
            full = (1,) * (len(shape) - part.ndim) + tuple(part.shape)
            if len(full) > len(shape) or any(
                size not in (1, whole) for size, whole in zip(full, shape, strict=True)
            ):
                raise GameError(
                    f"`initial` of {title(self.game)} returns a part of shape {tuple(part.shape)}; "
                    "each part of a state is one integer",
                    hint="a tuple of integers for a vector.",
                )
        if not parts:  # a game without a state
            return like, torch.zeros(1, 0, dtype=torch.long), law.sum()[None]
        rows = torch.stack([part.expand(shape).reshape(-1) for part in parts], -1)
        rows, inverse = rows.unique(dim=0, return_inverse=True)
        law = law.new_zeros(len(rows)).index_add(0, inverse.reshape(-1), law)
        rows, law = rows[law > 0], law[law > 0]
        return structure.rebuild(like, [0] * rows.shape[1]), rows, law

    def _rounds(self, layer: Tensor, t: int) -> list[Round]:
        """The step over these states, given by their parts, in pieces of bounded size."""
        first = self._run(layer[:1], t)  # tells how many outcomes a state has
        self.each = prod(np.broadcast_shapes(first.codes.shape, first.probabilities.shape))
        # a number and a probability for each outcome, the rewards, and the state itself, thrice
        paid = sum(reward.numel() for reward in first.said.rewards.values())
        need = len(self.known) * (16 * self.each + 8 * paid + 24 * (1 + layer.shape[1]))
        if need > self.budget:
            raise GameError(
                f"{title(self.game)} has {len(self.known):,} states or more; its table would take "
                f"{need:,} bytes, and {int(self.budget):,} are allowed",
                hint="a smaller game, a bounded state (clamp it), or `max_bytes=`.",
            )
        if len(layer) == 1:
            return [first]
        return [self._run(part, t) for part in layer.split(max(1, CHUNK // self.each))]

    def _run(self, layer: Tensor, t: int, crowd: Any = None) -> Round:
        state = structure.rebuild(self.like, list(layer.unbind(-1)))
        limit = self.budget / 64 / len(layer)
        with telling(f"`step` of {title(self.game)}"), enumerate_sites(1, limit) as tables:
            following = call(self.game.step, state, t=t, crowd=crowd)
            if self.horizon == 1:
                following = state  # what the last step returns is not used
            if not structure.same_structure(self.like, following):
                raise GameError(
                    f"the step of {title(self.game)} returns {structure.describe(following)} as "
                    f"the next state, but the initial state is {structure.describe(self.like)}",
                    hint="return the next state in the structure that `initial` returns.",
                )
            parts = structure.leaves(following)
        self._check_optimality(tables.rewards)
        layout = Layout(tables, self.agents, _Labels(self.like, layer), check=self.check)
        said = layout.outcomes()
        self._widen(parts)
        codes, probabilities = layout.next(self.codec.encode(parts))
        rows = self.codec.encode(list(layer.unbind(1))).expand(len(layer))
        return Round(rows, said, codes, probabilities)

    def _check_optimality(self, rewards: dict[str, Any]) -> None:
        for agent, paid in rewards.items():
            if agent not in self.agents:
                raise GameError(
                    f"'{agent}' is paid but is not among the agents {', '.join(self.agents)}",
                    site=paid[0][0],
                )

    def _widen(self, parts: list[Tensor]) -> None:
        """Make the codec hold these parts; what was numbered before is numbered anew."""
        old = self.codec
        tight, roomy = [], []
        for low, span, part in zip(old.low, old.span, parts, strict=True):
            least, most = (int(bound) for bound in part.aminmax())
            bottom, top = min(low, least), max(low + span - 1, most)
            tight.append((bottom, top))
            # twice as wide as needed, so that a slowly spreading state is numbered anew seldom
            room = top - bottom + 1
            roomy.append((bottom - room * (least < low), top + room * (most >= low + span)))
        if tight == [(low, low + span - 1) for low, span in zip(old.low, old.span, strict=True)]:
            return
        bounds = roomy if prod(b - a + 1 for a, b in roomy) < 1 << 40 else tight
        self.codec = Codec([a for a, _ in bounds], [b - a + 1 for a, b in bounds])
        self.known = _recode(self.known, old, self.codec)
        for made in (made for rounds in self.rounds for made in rounds):
            made.rows = _recode(made.rows, old, self.codec)
            made.codes = _recode(made.codes, old, self.codec)

    def _join(self, rows: Tensor, law: Tensor) -> Table:
        flat = [made for rounds in self.rounds for made in rounds]
        actions = self._actions([made.said for made in flat])
        codes = torch.cat([made.rows for made in flat]).unique()
        find = Finder(codes, self.codec.size)
        states = States(self.like, self.codec.decode(codes))
        initial = torch.zeros(len(codes), dtype=torch.float64, device=law.device)
        first = find(self.codec.encode(list(rows.unbind(1))).expand(len(rows)))
        if bool((first < 0).any()):
            raise GameError(f"{title(self.game)} begins in states that were not found before")
        initial = initial.index_put((first,), law)
        pieces = [
            [
                Piece(find(made.rows), made.said, find(made.codes), made.probabilities)
                for made in rounds
            ]
            for rounds in self.rounds
        ]
        return join(
            pieces,
            agents=self.agents,
            actions=actions,
            states=states,
            initial=initial,
            discount=self.gamma,
            horizon=self.horizon,
            name=title(self.game),
        )

    def _actions(self, said: list[Outcomes]) -> list[Actions]:
        """Each agent's actions, which must be the same whenever it acts."""
        found: dict[str, Actions] = {}
        paid: set[str] = set()
        for part in said:
            paid |= part.paid
            for agent, actions in part.actions.items():
                if found.setdefault(agent, actions).sizes != actions.sizes:
                    raise GameError(
                        f"the actions of '{agent}' change with time, from {found[agent].sizes} to "
                        f"{actions.sizes}",
                        site=actions.sites[0],
                        hint="give the actions that are not available zero probability.",
                    )
        for agent in self.agents:
            if agent not in found:
                raise GameError(
                    f"agent '{agent}' of {title(self.game)} never acts",
                    hint=f'vsg.act("{agent}", dist.Categorical(torch.ones(2))) in the step.',
                )
            if agent not in paid:
                raise GameError(
                    f"agent '{agent}' of {title(self.game)} has no optimality",
                    hint=f'vsg.optimality("{agent}", reward) in the step.',
                )
        return [found[agent] for agent in self.agents]


class _Labels(Sequence[Any]):
    """Labels of the states in these rows, made when they are looked at."""

    def __init__(self, like: Any, rows: Tensor) -> None:
        self.like, self.rows = like, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, k: Any) -> Any:
        return structure.rebuild(self.like, self.rows[k].tolist())


def possible(made: Round) -> Tensor:
    """Codes of the next states that have positive probability."""
    possible = made.probabilities > 0
    for agent, logs in made.said.log_priors.items():
        at = 2 + made.said.agents.index(agent)
        shape = [*logs.shape[:2]] + [1] * (made.codes.ndim - 2)
        shape[at] = logs.shape[2]
        if not torch.isfinite(logs).all():
            possible = possible & torch.isfinite(logs).reshape(shape)
    if bool(possible.all()):
        return made.codes.reshape(-1)
    full = np.broadcast_shapes(possible.shape, made.codes.shape)
    return made.codes.expand(full)[possible.expand(full)]


def codec_of(rows: Tensor) -> Codec:
    """The tightest codec of these rows."""
    low = rows.amin(0).tolist()
    return Codec(low, [b - a + 1 for a, b in zip(low, rows.amax(0).tolist(), strict=True)])


def _recode(codes: Tensor, old: Codec, new: Codec) -> Tensor:
    return new.encode(list(old.decode(codes).unbind(-1))).expand(codes.shape)


def allowance(max_bytes: float | None) -> float:
    """Bytes that a table may take: as given, or three quarters of the machine's memory."""
    return 0.75 * _memory() if max_bytes is None else float(max_bytes)


def _memory() -> float:
    """Bytes of memory in this machine."""
    return float(os.sysconf("SC_PAGE_SIZE")) * os.sysconf("SC_PHYS_PAGES")

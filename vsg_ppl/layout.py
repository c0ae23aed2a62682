"""One enumerated run of a step, laid out by state, signal, agents and chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from vsg_ppl.errors import GameError
from vsg_ppl.game import Act, Signal
from vsg_ppl.handlers.enumerate import EnumerateMessenger, Site
from vsg_ppl.table import Actions


@dataclass
class Outcomes:
    """What a run of the step says about n states; Ω joint signals, K outcomes of chance.

    A dimension that an entry does not depend on has size 1. ``log_priors`` and ``actions`` lack the
    agents that do not act.
    """

    log_priors: dict[str, Tensor]  # (n, Ω, A_i)
    rewards: dict[str, Tensor]  # (n, Ω, A_1|1, ..., A_N|1)
    signals: Tensor  # σ, (n, Ω)
    signal_values: list[tuple[str, list[int]]]
    agents: tuple[str, ...]
    actions: dict[str, Actions]
    paid: set[str]


class Layout:
    """Moves dimensions of enumerated tensors to (state, signals, agent 1, ..., agent N, chance).

    Args:
        tables: the enumeration handler after the run; dimension −1 was the states'.
        agents: names in the table's order.
        states: the labels of the n states, for error messages.
        check: whether to look for rewards that are not finite.
    """

    def __init__(
        self,
        tables: EnumerateMessenger,
        agents: tuple[str, ...],
        states: Sequence[Any],
        *,
        check: bool = True,
    ) -> None:
        self.tables, self.agents, self.states, self.check = tables, agents, states, check
        self.n = len(states)
        sites = list(tables.sites.values())
        self.signals = [site for site in sites if isinstance(site.role, Signal)]
        self.chance = [site for site in sites if site.role is None]
        self.acts: dict[str, list[Site]] = {agent: [] for agent in agents}
        for site in sites:
            if isinstance(site.role, Act):
                if site.role.agent not in self.acts:
                    raise GameError(
                        f"'{site.role.agent}' acts but is not among the agents {', '.join(agents)}",
                        site=site.name,
                    )
                self.acts[site.role.agent].append(site)
        self.groups = [self.signals, *self.acts.values()]
        self._chance = [
            self.place(site.probabilities, f"the law of site '{site.name}'") for site in self.chance
        ]

    def outcomes(self) -> Outcomes:
        """Everything but the next states."""
        log_priors = {agent: self._prior(agent) for agent in self.agents if self.acts[agent]}
        sigma = self._law(self.signals, [0], "the signal's law reads an action or chance")
        return Outcomes(
            log_priors=log_priors,
            rewards={agent: self._reward(agent) for agent in self.agents},
            signals=sigma.reshape(sigma.shape[0], -1).expand(self.n, -1),
            signal_values=[
                (site.name, site.values.long().reshape(-1).tolist()) for site in self.signals
            ],
            agents=self.agents,
            actions={agent: _actions(sites) for agent, sites in self.acts.items() if sites},
            paid=set(self.tables.rewards),
        )

    def next(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Codes of the next states and their probabilities, chance flattened to K at the end."""
        codes = self.place(codes, "the next state")
        first = 2 + len(self.agents)
        used = [k for k in range(len(self.chance)) if codes.shape[first + k] > 1]
        upstream = self._upstream(used)
        law = self._joint(upstream)
        gone = [first + k for k in upstream if k not in used]
        law = law.sum(gone, keepdim=True) if gone else law
        chance = [self.chance[k].size if k in used else 1 for k in range(len(self.chance))]
        law = law.expand(*law.shape[:first], *chance)
        codes = codes.expand(self.n, *codes.shape[1:first], *chance)
        # not `flatten`: without chance there is nothing to flatten, and K is 1
        return codes.reshape(*codes.shape[:first], -1), law.reshape(*law.shape[:first], -1)

    def place(self, x: Tensor, what: str) -> Tensor:
        """(states, signals, agent 1, ..., agent N, chance 1, ..., chance M), each full or 1."""
        dims = self.tables.dims
        sizes = [self.n] + [site.size for site in self.tables.sites.values()]
        wanted = tuple(reversed(sizes))
        full = (1,) * (dims - x.ndim) + tuple(x.shape)
        if x.ndim > dims or any(a not in (1, b) for a, b in zip(full, wanted, strict=True)):
            raise GameError(
                f"{what} has shape {tuple(x.shape)} over {self.n} states, but each state and joint "
                f"outcome must have one number: a shape that broadcasts to {wanted}",
                hint="drop event dimensions (sum, or pick an entry with `[..., k]`).",
            )
        x = x.reshape(full)
        order = [dims - 1]
        order += [dims + site.dim for group in self.groups for site in group]
        order += [dims + site.dim for site in self.chance]
        x = x.permute(order)
        shape, at = [x.shape[0]], 1
        for group in self.groups:
            here = x.shape[at : at + len(group)]
            if any(size > 1 for size in here):
                x = x.expand(
                    *x.shape[:at], *[site.size for site in group], *x.shape[at + len(group) :]
                )
                shape.append(prod(site.size for site in group))
            else:
                shape.append(1)
            at += len(group)
        return x.reshape(*shape, *x.shape[at:])

    def _law(self, sites: list[Site], own: list[int], complaint: str) -> Tensor:
        """Joint law of signal or action sites; it may span states, signals and its own group."""
        joint = torch.ones((1,) * (2 + len(self.agents) + len(self.chance)), dtype=torch.float64)
        for site in sites:
            placed = self.place(site.probabilities, f"the law of site '{site.name}'")
            allowed = {0, 1} | {1 + k for k in own}
            if any(size > 1 and d not in allowed for d, size in enumerate(placed.shape)):
                raise GameError(
                    complaint,
                    site=site.name,
                    hint="a law of the state: agents and signals see nothing of this step but the "
                    "signals before them; what they should see belongs into the state.",
                )
            joint = joint.to(placed.device) * placed
        return joint

    def _prior(self, agent: str) -> Tensor:
        own = 1 + self.agents.index(agent)
        law = self._law(
            self.acts[agent], [own], f"the prior of '{agent}' reads another's action, or chance"
        )
        law = law.movedim(1 + own, 2).flatten(2)
        size = prod(site.size for site in self.acts[agent])
        signals = prod(site.size for site in self.signals)
        return law.expand(self.n, signals, size).log()

    def _reward(self, agent: str) -> Tensor:
        total = torch.zeros((1,) * (2 + len(self.agents)), dtype=torch.float64)
        for name, reward in self.tables.rewards.get(agent, []):
            placed = self.place(reward.double(), f"the reward of '{agent}' at site '{name}'")
            if self.check and not torch.isfinite(placed).all():
                at = (~torch.isfinite(placed)).nonzero()[0].tolist()
                raise GameError(
                    f"the reward of '{agent}' is {placed[tuple(at)]:g} {self._words(placed, at)}",
                    site=name,
                )
            first = 2 + len(self.agents)
            used = [k for k in range(len(self.chance)) if placed.shape[first + k] > 1]
            law = self._joint(self._upstream(used))
            mean = (placed * law).sum(list(range(first, placed.ndim))) if self.chance else placed
            total = total.to(mean.device) + mean
        return total.expand(self.n, *total.shape[1:])

    def _words(self, placed: Tensor, at: list[int]) -> str:
        """An entry's place for people."""
        plays = [
            f"{agent} plays {_actions(self.acts[agent]).names()[at[2 + i]]}"
            for i, agent in enumerate(self.agents)
            if placed.shape[2 + i] > 1
        ]
        return f"in state {self.states[at[0]]}" + (
            f", where {' and '.join(plays)}" if plays else ""
        )

    def _upstream(self, used: list[int]) -> list[int]:
        """These chance sites and those whose outcomes their laws read."""
        first = 2 + len(self.agents)
        needed = set(used)
        for k in reversed(range(len(self.chance))):
            if k in needed:
                law = self._chance[k]
                needed |= {j for j in range(k) if law.shape[first + j] > 1}
        return sorted(needed)

    def _joint(self, chance: list[int]) -> Tensor:
        ones = (1,) * (2 + len(self.agents) + len(self.chance))
        joint = torch.ones(ones, dtype=torch.float64)
        for k in chance:
            joint = joint.to(self._chance[k].device) * self._chance[k]
        return joint


def _actions(sites: list[Site]) -> Actions:
    labels = []
    for site in sites:
        named = site.role.labels if isinstance(site.role, Act) else None
        if named is not None and len(named) != site.size:
            raise GameError(f"{len(named)} labels for {site.size} actions", site=site.name)
        labels.append(named or tuple(map(str, range(site.size))))
    return Actions(
        tuple(site.name for site in sites), tuple(site.size for site in sites), tuple(labels)
    )

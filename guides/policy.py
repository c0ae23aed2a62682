"""Policies as guides: tables with parameters, of both factorisations, and fixed ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule, PyroParam, pyro_method
from pyro.ops.indexing import Vindex
from torch import Tensor

from vsg_ppl.errors import GameError
from vsg_ppl.table import Actions, Table


class TabularPolicy(PyroModule):
    """π(a | s) ∝ u(a | s) exp(θ_{s,a}): a softmax table over the game's prior.

    Actions that the prior rules out stay ruled out whatever the parameters. In a game with a
    horizon there is a row for each time.

    Args:
        table: the game's table.
        agent: whose policy it is.
        logits: the first θ, (S, A) or (H, S, A); zero, which is the prior, by default.
        name: of the parameter ``<name>.logits`` in Pyro's store; a new one, ``policy.<agent>.<k>``,
            by default. Two modules of one name share their parameters, as always in Pyro.

    >>> import vsg_ppl as vsg
    >>> from vsg_ppl.models import StagHunt
    >>> policy = TabularPolicy(vsg.tabulate(StagHunt()), "row")
    >>> policy.log_table().exp()[0]
    tensor([[0.5000, 0.5000],
            [0.5000, 0.5000]], dtype=torch.float64, grad_fn=<SelectBackward0>)
    """

    def __init__(
        self, table: Table, agent: str, logits: Tensor | None = None, *, name: str | None = None
    ) -> None:
        super().__init__(name or fresh_name(f"policy.{agent}"))
        self.agent, self.number = agent, table.number(agent)
        self.states, self.actions = table.states, table.actions[self.number]
        self.prior: Tensor
        self.register_buffer("prior", table.log_priors[self.number][0])
        shape = self._shape(table)
        start = torch.zeros(shape, dtype=torch.float64, device=table.device)
        if logits is not None:
            start = start + _first(logits, shape, agent).to(start)
        self.logits: Any = PyroParam(start)

    @pyro_method
    def log_table(self) -> Tensor:
        """log π, (H|1, S, A)."""
        log: Tensor = (self.prior + self.logits).log_softmax(-1)
        return log

    def forward(self, state: Any, t: Any = None) -> None:
        """Sample the agent's action sites, given the state and, with a horizon, the time."""
        now = _time(t, len(self.logits))
        number = self.states.index(state)
        prior = Vindex(self.prior)[now if len(self.prior) > 1 else 0, number, :]
        sample_sites(self.actions, prior + Vindex(self.logits)[now, number, :])

    def _shape(self, table: Table) -> tuple[int, ...]:
        return (table.horizon or 1, len(table.states), self.actions.size)


class ConditionalPolicy(PyroModule):
    """π(a^i | s, a^{-i}) ∝ u(a^i | s) exp(θ): the paper's factorisation (Fig. 1, Prop. 5.2).

    The agent answers what its opponent model imagines; what it *executes* is the average
    Σ ρ(a^{-i}|s) π(a^i|s, a^{-i}), whose Nash gap Theorem 4.2 does not bound.

    Args:
        table: the game's table.
        agent: whose policy it is.
        logits: the first θ, (H|1, S, A_1, ..., A_N) in the table's order; zero by default.
        name: of the parameter ``<name>.logits``; a new one by default.
    """

    def __init__(
        self, table: Table, agent: str, logits: Tensor | None = None, *, name: str | None = None
    ) -> None:
        super().__init__(name or fresh_name(f"policy.{agent}"))
        self.agent, self.number = agent, table.number(agent)
        self.states, self.all_actions = table.states, table.actions
        self.prior: Tensor
        prior = table.log_priors[self.number][0]
        n = len(table.agents)
        spread = (*prior.shape[:2], *[1] * self.number, -1, *[1] * (n - 1 - self.number))
        self.register_buffer("prior", prior.reshape(spread))
        for k, log_prior in enumerate(table.log_priors):
            self.register_buffer(f"forced{k}", _forced(log_prior[0]))
        shape = (table.horizon or 1, len(table.states), *table.sizes)
        start = torch.zeros(shape, dtype=torch.float64, device=table.device)
        if logits is not None:
            start = start + _first(logits, shape, agent).to(start)
        self.logits: Any = PyroParam(start)

    @pyro_method
    def log_table(self) -> Tensor:
        """log π, (H|1, S, A_1, ..., A_N), normalised over the agent's own dimension."""
        log: Tensor = (self.prior + self.logits).log_softmax(2 + self.number)
        return log

    def forward(self, state: Any, t: Any = None, seen: Mapping[str, Tensor] | None = None) -> None:
        """Sample the agent's action sites given the state and the others' actions."""
        scores = (self.prior + self.logits).movedim(2 + self.number, -1)
        now, number = _time(t, len(scores)), self.states.index(state)
        others, seen = [], {} if seen is None else seen  # not `or`: that would look at them all
        for k, actions in enumerate(self.all_actions):
            if k != self.number:
                forced: Tensor = getattr(self, f"forced{k}")
                only = Vindex(forced)[now if len(forced) > 1 else 0, number]
                idle = bool((only >= 0).all())  # perhaps there is nothing to see
                others.append(only if idle else joint_action(actions, seen))
        sample_sites(
            self.all_actions[self.number], Vindex(scores)[(now, number, *others, slice(None))]
        )


class FixedPolicy:
    """A policy given by its probabilities, without parameters.

    Args:
        table: the game's table.
        agent: whose policy it is.
        probabilities: (S, A) or (H, S, A).

    Raises:
        GameError: wrong shape, probabilities off the simplex or on actions not available.

    >>> import pyro, torch, vsg_ppl as vsg
    >>> from vsg_ppl.models import PrisonersDilemma
    >>> defect = FixedPolicy(vsg.tabulate(PrisonersDilemma()), "row", torch.tensor([[0.0, 1.0]]))
    >>> defect(torch.tensor(0), t=0)
    """

    def __init__(self, table: Table, agent: str, probabilities: Tensor) -> None:
        from vsg_ppl.reading import check_policy

        self.agent, self.number = agent, table.number(agent)
        self.states, self.actions = table.states, table.actions[self.number]
        checked = check_policy(table, agent, probabilities)
        if len(checked) > 1:
            raise GameError("a fixed policy is of one game, and this one has a batch of them")
        self.probabilities = checked[0]

    def log_table(self) -> Tensor:
        """log π, (H|1, S, A)."""
        return self.probabilities.log()

    def __call__(self, state: Any, t: Any = None) -> None:
        """Sample the agent's action sites, given the state and the time."""
        row = Vindex(self.probabilities)[
            _time(t, len(self.probabilities)), self.states.index(state), :
        ]
        sample_sites(self.actions, row.log())


_COUNTS: Counter[str] = Counter()


def fresh_name(stem: str) -> str:
    """A parameter name that no other guide has: Pyro's store keeps what an older one has learnt."""
    _COUNTS[stem] += 1
    return f"{stem}.{_COUNTS[stem]}"


def sample_sites(actions: Actions, scores: Tensor) -> None:
    """Sample an agent's sites one after another from the joint scores log π + const, (..., A)."""
    scores = scores.reshape(*scores.shape[:-1], *actions.sizes)
    for k, site in enumerate(actions.sites):
        rest = len(actions.sites) - 1 - k
        if not rest:
            pyro.sample(site, dist.Categorical(logits=scores))
            return
        # a value that no available action starts with has probability zero, without NaN gradients
        never = (scores == -torch.inf).flatten(-rest).all(-1)
        scores = torch.where(never[(..., *[None] * rest)], 0.0, scores)
        own = torch.where(never, -torch.inf, scores.logsumexp(list(range(-rest, 0))))
        value = pyro.sample(site, dist.Categorical(logits=own))
        scores = Vindex(scores)[(..., value, *[slice(None)] * rest)]


def joint_action(actions: Actions, seen: Mapping[str, Tensor]) -> Tensor:
    """The number of an agent's joint action, from the values of its sites."""
    number: Tensor = torch.tensor(0)
    for site, size in zip(actions.sites, actions.sizes, strict=True):
        if site not in seen:
            raise GameError(
                "a conditional policy looks at this action, and nobody has chosen it",
                site=site,
                hint="give every other agent a policy or an opponent model.",
            )
        number = number * size + seen[site]
    return number


def _forced(log_prior: Tensor) -> Tensor:
    """The only available action, −1 where there is a choice; who sits out is forced too."""
    available = log_prior > -torch.inf
    return torch.where(available.sum(-1) == 1, available.long().argmax(-1), -1)


def _time(t: Any, times: int) -> Any:
    """The row of time t in a table of so many times."""
    if times == 1:
        return torch.tensor(0)
    if t is None:
        raise GameError("a policy for a finite horizon needs the time", hint="pass t=.")
    return torch.as_tensor(t)


def _first(logits: Tensor, shape: tuple[int, ...], agent: str) -> Tensor:
    """Logits that fit (H|1, S, ...), with or without the times."""
    if logits.shape == shape[1:]:
        return logits[None]
    if logits.shape[1:] == shape[1:] and len(logits) in (1, shape[0]):
        return logits
    raise GameError(
        f"the logits for '{agent}' have shape {tuple(logits.shape)}; expected {shape[1:]}"
        + (f" or {shape}" if shape[0] > 1 else "")
    )

"""What kind of game a table holds: zero-sum, identical interest, symmetric, with a potential.

Rewards and next states are compared where play can come, in available actions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from vsg_ppl.bellman import evaluate, following, policy_rewards, precision
from vsg_ppl.elbo import total_weight
from vsg_ppl.errors import GameError
from vsg_ppl.game import Game
from vsg_ppl.reading import read_policies
from vsg_ppl.table import Table
from vsg_ppl.tabulate import tabulate

SAME = 1e-9
"""Up to this, relative to the rewards, two rewards are one."""

DRAWS = 3
"""Random changes of policy for each pair of agents. One is enough but for rounding."""

ROUNDINGS = 10.0
"""How many times as far as the values are exact the gains round a cycle may be off zero."""

LONG = 1e-15
"""The same for each step that counts: laws sum to one to rounding, and the steps add it up."""


@dataclass(frozen=True)
class Kind:
    """What kind of game it is, in every state; made by `kind`.

    Attributes:
        one_shot: whether there is one decision.
        constant_sum: whether the agents' rewards sum to one constant, for two agents or more.
        zero_sum: the same of two agents: what `zero_sum` solves.
        identical_interest: whether all agents have the same rewards.
        symmetric: whether agents may change places: rewards, next states and priors alike.
        potential: whether it is an exact Markov potential game (Def. 5.4), or, of one decision,
            has an exact potential in each state. A single agent's game is one.
    """

    one_shot: bool
    constant_sum: bool
    zero_sum: bool
    identical_interest: bool
    symmetric: bool
    potential: bool

    def to_dict(self) -> dict[str, bool]:
        """The same in plain JSON values."""
        return asdict(self)


def kind(game: Game | Table, *, seed: int = 0) -> Kind:
    """What kind of game it is, to rounding.

    One-shot games have a potential if linear conditions hold (`potential`). In a game of more
    decisions the policies take the part of the actions: it has a potential exactly if for every two
    agents the gains of changing policies one after the other, and back again, sum to zero in every
    state (Monderer and Shapley 1996, Theorem 2.8). Values are rational functions of the policies,
    so what holds at random policies inside the simplices holds at all, with probability one. What
    rounding may hide is taken for zero: 1e-12 of the values, more for γ > 0.999. With a horizon,
    policies may depend on time, and the sums must be zero from every time on.

    All rewards count to nine digits, so a program should compute them in float64.

    The values are those of the rewards, without entropy. With own entropy on top a potential may be
    lost, where actions move the state (Prop. 5.6).

    Source: D. Monderer and L. S. Shapley, 1996, "Potential games", Games and Economic Behavior 14.

    Args:
        game: a game program, or a table of one game.
        seed: of the random policies.

    Raises:
        GameError: a table that holds a batch of games.

    >>> from vsg_ppl.models import Congestion, StagHunt
    >>> found = kind(StagHunt())
    >>> found.potential, found.symmetric, found.identical_interest
    (True, True, False)
    >>> kind(Congestion()).potential  # though each phase alone has one
    False
    """
    table = _one_game(game)
    rewards, many = table.rewards, len(table.agents) > 1
    with torch.no_grad():
        same = SAME * _largest(table, *rewards)
        constant = many and _spread(table, sum(rewards[1:], rewards[0])) <= same
        if table.horizon == 1:
            has_potential = _stage_potential(table) is not None
        else:
            has_potential = _obstacle(table, seed) is None
        return Kind(
            one_shot=table.horizon == 1,
            constant_sum=constant,
            zero_sum=constant and len(table.agents) == 2,
            identical_interest=many and identical_interest(table),
            symmetric=many and _symmetric(table, same),
            potential=has_potential,
        )


def potential(game: Game | Table) -> Tensor | None:
    """The exact potential of a one-shot game, Φ(s, a), or ``None`` where there is none.

    r^i(s, a) − Φ(s, a) does not depend on a^i, for every agent i. Φ is zero where every agent takes
    its first available action, and −∞ in actions that are not available and states that do not
    occur; its maxima are pure Nash equilibria. The conditions are linear: Φ sums the gains on a
    path from the first actions, where the agents change one after the other, and is then held
    against every other change, to 1e-9 of the range of the rewards.

    Source: D. Monderer and L. S. Shapley, 1996, "Potential games", Games and Economic Behavior 14.

    Args:
        game: a one-shot game program, or a table of one.

    Returns:
        Φ in units of reward, (S, A_1, ..., A_N).

    Raises:
        GameError: a game of more than one decision, or a batch of games.

    >>> from vsg_ppl.models import MatchingPennies, PrisonersDilemma
    >>> potential(PrisonersDilemma())
    tensor([[[0., 2.],
             [2., 3.]]], dtype=torch.float64)
    >>> potential(MatchingPennies()) is None
    True
    """
    table = _one_game(game)
    if table.horizon != 1:
        many = "endless" if table.horizon is None else f"of {table.horizon} decisions"
        raise GameError(
            f"{table.name} is {many}, and `potential` is of one-shot games",
            hint="`kind(game).potential`, and `potential_value` of policies.",
        )
    phi = _stage_potential(table)
    if phi is None:
        return None
    possible = _possible(table)[0, 0]
    shape = (len(table.states), *table.sizes)
    return torch.where(possible, phi, -torch.inf).expand(shape).contiguous()


def potential_value(game: Game | Table, policies: Mapping[str, Any], *, seed: int = 0) -> Tensor:
    """Φ(s; π), the potential of policies in a Markov potential game (Def. 5.4).

    V^i(s; π_i, π_{-i}) − V^i(s; π_i', π_{-i}) = Φ(s; π_i, π_{-i}) − Φ(s; π_i', π_{-i}) for every
    agent i. Φ is zero where all play their priors, and sums the agents' gains as they change from
    there to π one after the other. It is differentiable in the policies. Entropy is no part of V
    or Φ.

    Args:
        game: a game program, or a table of one game.
        policies: for each agent, probabilities (S, A) or (H, S, A) or a policy program.
        seed: of the random policies that show whether there is a potential, as in `kind`.

    Returns:
        Φ in units of reward, (S,), or (H, S) with a horizon: from each time on.

    Raises:
        GameError: the game has no potential (the message has a cycle of gains that do not sum to
            zero), a batch of games, or policies that do not fit the game.

    >>> from vsg_ppl.models import StagHunt
    >>> hare = torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    >>> fair, storm = potential_value(StagHunt(), {"row": hare, "col": hare})
    >>> round(float(storm), 4)
    14.6875
    """
    table = _one_game(game)
    after = read_policies(table, policies)
    for agent, policy in zip(table.agents, after, strict=True):
        if policy.ndim > 4:
            raise GameError(
                f"the policy of '{agent}' is conditional on the others' actions",
                hint="what is executed: its average over the opponent model.",
            )
    with torch.no_grad():
        obstacle = _obstacle(table, seed)
    if obstacle is not None:
        raise GameError(f"{table.name} is not a Markov potential game: {obstacle}")
    now = [prior.exp() for prior in table.log_priors]
    total = table.initial.new_zeros(1, table.horizon or 1, len(table.states))
    for i, policy in enumerate(after):
        left = evaluate(table, now, policy_rewards(table, now, [i]))[..., 0]
        now[i] = policy
        total = total + evaluate(table, now, policy_rewards(table, now, [i]))[..., 0] - left
    return total[0, 0] if table.horizon is None else total[0]


def _one_game(game: Game | Table) -> Table:
    table = game if isinstance(game, Table) else tabulate(game)
    if table.batched:
        raise GameError(
            f"{table.name} holds a batch of games, which may be of several kinds",
            hint="a table of one game.",
        )
    return table


# --- comparing tables -----------------------------------------------------------------------------


def _possible(table: Table) -> Tensor:
    """Where play can come: (1, H|1, S, A_1|1, ..., A_N|1)."""
    n = len(table.agents)
    out = torch.ones((1, 1, len(table.states), *[1] * n), dtype=torch.bool, device=table.device)
    for i, prior in enumerate(table.log_priors):
        available = prior > -torch.inf
        if not available.all():
            out = out & available.reshape(*prior.shape[:3], *[1] * i, -1, *[1] * (n - i - 1))
    if table.reachable is not None:
        out = out & table.reachable.reshape(1, *table.reachable.shape, *[1] * n)
    return out


def _at(table: Table, x: Tensor) -> Tensor:
    """The entries of x, (1, H|1, S, A_1|1, ..., A_N|1), where play can come."""
    possible = _possible(table)
    if x.shape[1] == 1:
        possible = possible.any(1, keepdim=True)
    if possible.all():
        return x
    x, possible = torch.broadcast_tensors(x, possible)
    return x[possible]


def _spread(table: Table, x: Tensor) -> float:
    low, high = _at(table, x).aminmax()
    return float(high - low)


def _largest(table: Table, *tensors: Tensor) -> float:
    """The largest size of an entry where play can come."""
    return max(float(_at(table, x).abs().amax()) for x in tensors)


def identical_interest(table: Table) -> bool:
    """Whether all agents of one game have the same rewards; of one agent they are."""
    _one_game(table)
    first, *rest = table.rewards
    off = [reward - first for reward in rest]
    return not off or _largest(table, *off) <= SAME * _largest(table, *table.rewards)


def _symmetric(table: Table, same: float) -> bool:
    """Whether any two neighbours in the order of agents may change places, and so all.

    Args:
        table: the game.
        same: how far rewards may be apart.
    """
    rewards, n = table.rewards, len(table.agents)
    generator = torch.Generator().manual_seed(0)
    features = torch.rand(1, len(table.states), 2, generator=generator, dtype=torch.float64)
    features = features.to(table.device)
    aheads = [
        following(table, features, t)[..., k]
        for t in range(table.probabilities.shape[1] if table.horizon != 1 else 0)
        for k in range(2)
    ]
    seen = torch.ones(1, len(table.states), dtype=torch.bool, device=table.device)
    if table.reachable is not None:
        seen = table.reachable

    def priors_alike(i: int) -> bool:
        off = (table.log_priors[i].exp() - table.log_priors[i + 1].exp()).abs().amax((0, 3))
        visited = seen if len(off) > 1 else seen.any(0, keepdim=True)
        return bool((off * visited <= SAME).all())

    def alike(i: int) -> bool:
        places = list(range(n))
        places[i], places[i + 1] = i + 1, i
        return (
            table.sizes[i] == table.sizes[i + 1]
            and priors_alike(i)
            and all(
                _largest(table, rewards[j] - rewards[k].transpose(3 + i, 4 + i)) <= same
                for j, k in enumerate(places)
            )
            # laws that agree in the mean of random numbers agree
            and all(
                _largest(table, ahead - ahead.transpose(3 + i, 4 + i)) <= SAME for ahead in aheads
            )
        )

    return all(alike(i) for i in range(n - 1))


# --- potentials -----------------------------------------------------------------------------------


def _stage_potential(table: Table) -> Tensor | None:
    """Φ(s, a) of a one-shot game, (S, A_1|1, ..., A_N|1), or none."""
    first = [(prior[0, 0] > -torch.inf).int().argmax(-1) for prior in table.log_priors]
    rewards = [reward[0, 0] for reward in table.rewards]

    def at_first(x: Tensor, i: int) -> Tensor:
        """x where agent i takes its first available action."""
        if x.shape[1 + i] == 1:
            return x
        shape = [*x.shape]
        shape[1 + i] = 1
        return x.gather(1 + i, first[i].reshape(-1, *[1] * len(rewards)).expand(shape))

    phi = torch.zeros_like(rewards[0].flatten()[:1]).reshape([1] * rewards[0].ndim)
    for i, gain in enumerate(rewards):
        for j in range(i + 1, len(rewards)):
            gain = at_first(gain, j)
        phi = phi + gain - at_first(gain, i)
    span = max(_spread(table, reward) for reward in table.rewards)
    same = SAME * span + 1e-15 * _largest(table, *table.rewards)
    for i, reward in enumerate(rewards):
        rest = reward - phi
        if _largest(table, (rest - at_first(rest, i))[None, None]) > same:
            return None
    return phi


@dataclass(frozen=True)
class _Cycle:
    """Two agents change policies one after the other, and back: gains that are not zero in sum."""

    agents: tuple[str, str]
    where: str
    total: float
    largest: float

    def __str__(self) -> str:
        one, other = self.agents
        return (
            f"as '{one}' and '{other}' change policies in turn, and back again in turn, their "
            f"gains in {self.where} sum to {self.total:.3g}, the largest being {self.largest:.3g}"
        )


def _obstacle(table: Table, seed: int) -> _Cycle | None:
    """What shows that there is no potential."""
    if identical_interest(table) or (table.horizon == 1 and _stage_potential(table) is not None):
        return None
    return _cycle(table, seed)


def _cycle(table: Table, seed: int) -> _Cycle | None:
    """Four changes of policy with gains that do not sum to zero, if there are any.

    They are the first two agents' that have some, in the state where the sum is largest.
    """
    generator = torch.Generator().manual_seed(seed)
    steps = total_weight(table.discount, table.horizon)
    rounding = ROUNDINGS * precision(table) + LONG * steps
    for values in (_Corners(table, generator) for _ in range(DRAWS)):
        for i, j in combinations(range(len(table.agents)), 2):
            corners = [values.at(), values.at(i), values.at(i, j), values.at(j)]
            gains = torch.stack(list(_gains(corners, i, j)))
            off = gains.sum(0).abs()
            if table.reachable is not None:
                off = off * table.reachable
            size = max(float(corner.abs().amax()) for corner in corners)
            if float(off.amax()) > rounding * size:
                t, s = divmod(int(off.argmax()), off.shape[1])
                time = f" at time {t}" if table.horizon is not None else ""
                return _Cycle(
                    agents=(table.agents[i], table.agents[j]),
                    where=f"state {table.states[s]}{time}",
                    total=float(gains[:, t, s].sum()),
                    largest=float(gains[:, t, s].abs().amax()),
                )
    return None


def _gains(corners: list[Tensor], i: int, j: int) -> Iterator[Tensor]:
    """What the agent that changes gains on each side, (H, S)."""
    for k, agent in enumerate((i, j, i, j)):
        yield (corners[(k + 1) % 4] - corners[k])[..., agent]


class _Corners:
    """Values where some agents have changed from one random policy to another, each once."""

    def __init__(self, table: Table, generator: torch.Generator) -> None:
        self.table = table
        self.before, self.after = (
            [self._draw(prior, generator) for prior in table.log_priors] for _ in range(2)
        )
        self.known: dict[tuple[int, ...], Tensor] = {}

    def at(self, *changed: int) -> Tensor:
        """(H, S, N)."""
        if changed not in self.known:
            now = [
                self.after[i] if i in changed else policy for i, policy in enumerate(self.before)
            ]
            rewards = policy_rewards(self.table, now, range(len(now)))
            self.known[changed] = evaluate(self.table, now, rewards)[0]
        return self.known[changed]

    def _draw(self, prior: Tensor, generator: torch.Generator) -> Tensor:
        """A policy that leaves no available action out, so that none can hide behind rounding."""
        shape = (1, self.table.horizon or 1, *prior.shape[2:])
        noise = torch.randn(shape, generator=generator, dtype=torch.float64).to(prior.device)
        return torch.where(prior > -torch.inf, noise, -torch.inf).softmax(-1)

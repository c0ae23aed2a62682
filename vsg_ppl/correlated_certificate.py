"""What a correlated law of play is worth: exact gains by disobeying it, whoever made it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vsg_ppl.bellman import evaluate, following, precision
from vsg_ppl.errors import GameError
from vsg_ppl.everyone import as_one
from vsg_ppl.reading import read_policies
from vsg_ppl.signal_table import signal_labels, signal_size
from vsg_ppl.table import Table, check_simplex
from vsg_ppl.tabulate import tabulate


@dataclass(frozen=True)
class CorrelatedCertificate:
    """How far a law of joint actions is from a correlated equilibrium, in units of reward.

    A deviating agent sees the state and the public signals. By a *swap* it plays another action in
    place of one that it is told; by an *external* deviation it decides before it is told anything
    whether to obey, or what to play instead (R. J. Aumann, 1974; H. Moulin and J.-P. Vial, 1978).
    In a stochastic game it may deviate at every step.

    Attributes:
        correlated_gap: the most that an agent gains by swaps, from the initial law.
        coarse_gap: the same by external deviations; never more.
        correlated_gap_worst_state: by swaps, from the worst state that can occur.
        coarse_gap_worst_state: by external deviations.
        per_agent: gains by swaps of each agent, from the initial law.
        per_signal: the most that an agent gains by swaps where a signal has a value, by its label.
        coarse_per_signal: the same by external deviations.
        values: each agent's value from the initial law.
        best_welfare: the largest sum of values of all correlated equilibria, also those in which
            a mediator speaks to each agent alone, by linear program; as `correlated` and
            `mediated` have it, of one-shot games only.
    """

    correlated_gap: float
    coarse_gap: float
    correlated_gap_worst_state: float
    coarse_gap_worst_state: float
    per_agent: dict[str, float]
    per_signal: dict[str, float]
    coarse_per_signal: dict[str, float]
    values: dict[str, float]
    best_welfare: float | None = None

    @property
    def welfare(self) -> float:
        """The sum of the agents' values."""
        return sum(self.values.values())

    @property
    def largest_gap(self) -> float:
        """The correlated gap: what other certificates call the gap."""
        return self.correlated_gap

    def to_dict(self) -> dict[str, Any]:
        """The same in plain JSON values."""
        return {**vars(self), "welfare": self.welfare}


def correlated_certify(game: Any, play: Any) -> CorrelatedCertificate:
    """The certificate of any correlated law of play on a finite game, exact in float64.

    It depends on the game and the law alone. What is public is part of the state: with
    ``vsg.signal`` in the program the law is one for each state and value of the signal. Without,
    nobody sees more than the action that it is told, as with a mediator who speaks to each alone.

    Args:
        game: a game program or its table.
        play: probabilities of joint actions, (S, A_1, ..., A_N) or (H, S, A_1, ..., A_N); or
            policies by agent, as `certify` takes them.

    Raises:
        GameError: the law does not fit the game; a batch of games.

    >>> from vsg_ppl.models import Chicken
    >>> aumann = torch.tensor([[[1 / 3, 1 / 3], [1 / 3, 0.0]]])  # never both dare
    >>> certificate = correlated_certify(Chicken(), aumann)
    >>> certificate.correlated_gap <= 1e-7, round(certificate.welfare, 6)
    (True, 10.0)
    """
    table = game if isinstance(game, Table) else tabulate(game)
    if table.batched:
        raise GameError("a correlated law is of one game, and this table holds a batch of them")
    with torch.no_grad():
        if isinstance(play, Mapping):
            return certify_joint(table, product_law(table, _executed(table, play)))
        return certify_joint(table, _read(table, play))


def certify_joint(
    table: Table, joint: Tensor, best_welfare: float | None = None
) -> CorrelatedCertificate:
    """`correlated_certify` for a law (1, H|1, S, A_1, ..., A_N)."""
    everyone = range(len(table.agents))
    values = joint_values(table, joint)
    swaps = [_best(table, joint, i, values, coarse=False) - values[..., i] for i in everyone]
    coarse = [_best(table, joint, i, values, coarse=True) - values[..., i] for i in everyone]
    start = (table.initial[..., None] * values[:, 0]).sum(1)[0]

    def gains(found: list[Tensor]) -> tuple[list[float], float, dict[str, float]]:
        all_gains = torch.stack(found).clamp_min(0.0)  # (N, 1, H, S)
        initial = (table.initial * all_gains[:, :, 0]).sum(-1)[:, 0]
        if table.reachable is not None:
            all_gains = all_gains * table.reachable
        by_signal = all_gains.amax((0, 1, 2)).reshape(-1, signal_size(table)).amax(0)
        labels = signal_labels(table) if table.signals else []
        return (
            initial.tolist(),
            float(all_gains.max()),
            dict(zip(labels, by_signal.tolist(), strict=False)),
        )

    own, worst, per_signal = gains(swaps)
    own_coarse, worst_coarse, coarse_per_signal = gains(coarse)
    return CorrelatedCertificate(
        correlated_gap=max(own),
        coarse_gap=max(own_coarse),
        correlated_gap_worst_state=worst,
        coarse_gap_worst_state=worst_coarse,
        per_agent=dict(zip(table.agents, own, strict=True)),
        per_signal=per_signal,
        coarse_per_signal=coarse_per_signal,
        values=dict(zip(table.agents, start.tolist(), strict=True)),
        best_welfare=best_welfare,
    )


def product_law(table: Table, policies: list[Tensor]) -> Tensor:
    """Π π^i(a^i|s), (1, H|1, S, A_1, ..., A_N), of policies (1, H|1, S, A_i)."""
    joint = policies[0].new_ones(())
    for i, policy in enumerate(policies):
        shape = [1] * len(policies)
        shape[i] = policy.shape[-1]
        joint = joint * policy.reshape(*policy.shape[:3], *shape)
    return joint


def joint_values(table: Table, joint: Tensor) -> Tensor:
    """V^i(s) of a law of joint actions, (1, H, S, N)."""
    dims = tuple(range(3, 3 + len(table.agents)))
    streams = [(joint * reward).sum(dims) for reward in table.rewards]
    return evaluate(
        as_one(table), [joint.flatten(3)], torch.stack(torch.broadcast_tensors(*streams), -1)
    )


def _best(table: Table, joint: Tensor, agent: int, values: Tensor, *, coarse: bool) -> Tensor:
    """The value of the best deviation, (1, H, S): backwards, or by policy iteration."""
    if table.horizon is not None:
        ahead: Tensor | None = None
        found = []
        for t in reversed(range(table.horizon)):
            value, _ = _deviate(table, joint, agent, ahead, t, coarse)
            found.append(value)
            ahead = value
        return torch.stack(found[::-1])[None]
    current = values[0, 0, :, agent]
    for _ in range(500):
        improved, law = _deviate(table, joint, agent, current, 0, coarse)
        if not (improved - current).max() > precision(table) * (1 + current.abs().max()):
            return torch.maximum(improved, current)[None, None]
        current = joint_values(table, law[None, None])[0, 0, :, agent]
    raise GameError(f"the best deviation of '{table.agents[agent]}' did not settle")


def _deviate(
    table: Table, joint: Tensor, agent: int, ahead: Tensor | None, t: int, coarse: bool
) -> tuple[Tensor, Tensor]:
    """The value of the best deviation now, (S,), and the law of play that it makes, (S, A...)."""
    payoff = table.rewards[agent][:, _at(table.rewards[agent], t)]
    if ahead is not None:
        payoff = payoff + table.discount * following(table, ahead[None, :, None], t)[:, 0, ..., 0]
    law = joint[0, _at(joint, t)]
    payoff = payoff[0].expand(law.shape).movedim(1 + agent, 1)
    told = law.movedim(1 + agent, 1)  # (S, told, others...)
    shape = told.shape
    told, payoff = (x.reshape(*shape[:2], -1) for x in (told, payoff))
    worth = told @ payoff.mT  # (S, told, played)
    prior = table.log_priors[agent][0, _at(table.log_priors[agent], t)]
    obeyed = worth.diagonal(dim1=1, dim2=2)
    worth = torch.where((prior > -torch.inf)[:, None], worth, -torch.inf)
    if coarse:
        best, instead = worth.sum(1).max(-1)
        stays = best <= obeyed.sum(1)
        value = torch.where(stays, obeyed.sum(1), best)
        moved = torch.zeros_like(told)
        moved[torch.arange(len(moved)), instead] = told.sum(1)
        moved = torch.where(stays[:, None, None], told, moved)
    else:
        best, instead = worth.max(-1)
        instead = torch.where(best > obeyed, instead, torch.arange(shape[1], device=told.device))
        value = torch.maximum(best, obeyed).sum(1)
        moved = torch.zeros_like(told).scatter_add(1, instead[..., None].expand_as(told), told)
    return value, moved.reshape(shape).movedim(1, 1 + agent)


def _executed(table: Table, play: Mapping[str, Any]) -> list[Tensor]:
    """Policies (1, H|1, S, A_i), checked."""
    policies = read_policies(table, play)
    for agent, policy in zip(table.agents, policies, strict=True):
        if policy.ndim > 4:
            raise GameError(
                f"the policy of '{agent}' is conditional on the others' actions",
                hint="certify what is executed: its average over the opponent model.",
            )
    return policies


def _read(table: Table, play: Any) -> Tensor:
    """A law as (1, H|1, S, A_1, ..., A_N), checked."""
    try:
        law = torch.as_tensor(play, dtype=torch.float64).to(table.device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise GameError(
            f"the law of play is a {type(play).__name__} that is no array of numbers",
            hint="one probability for each joint action in each state, or policies by agent.",
        ) from error
    shape = (len(table.states), *table.sizes)
    if tuple(law.shape) == shape:
        law = law[None]
    elif tuple(law.shape) != (table.horizon, *shape):
        raise GameError(
            f"the law of play has shape {tuple(law.shape)}; expected {shape}"
            + (f" or {(table.horizon, *shape)}" if table.horizon is not None else ""),
            hint="one probability for each joint action in each state"
            + (
                " and for each value of the public signal; a solution's `policies` are read too."
                if table.signals
                else "."
            ),
        )
    check_simplex(law.flatten(2), "the probabilities of joint actions")
    law = law / law.flatten(2).sum(-1).reshape(*law.shape[:2], *[1] * len(table.sizes))
    for i, prior in enumerate(table.log_priors):
        missing = (prior[0] == -torch.inf).reshape(
            *prior.shape[1:3], *[1] * i, -1, *[1] * (len(table.sizes) - i - 1)
        )
        if bool(((law > 0) & missing).any()):
            at = ((law > 0) & missing).nonzero()[0].tolist()
            raise GameError(
                f"the law of play has '{table.agents[i]}' play "
                f"{table.actions[i].names()[at[2 + i]]} in state {table.states[at[1]]}, where it "
                "is not available"
            )
    return law[None]


def _at(x: Tensor, t: int) -> int:
    return t if x.shape[1] > 1 else 0

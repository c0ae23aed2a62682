"""Eq. 6–7: fit an agent's reward to its play by the probability of whole trajectories.

For a reward r_ψ and a temperature τ, the density of a trajectory is

    p_ψ ∝ b · exp( Σ_t γ^t r_ψ(s_t, a_t) / τ ),    b = Π_t u(a_t | s_t) · (chance and the others),

u being the agent's prior, as in Eq. 5. Eq. 6 is the mean of −log p_ψ over the observed plays, less
what does not depend on ψ; its Z = Σ b exp(...) is estimated by plays drawn from other policies.
What chance and the others count in b is the ``reference``:

* "printed": 1 for whatever is possible. Eq. 6 divides by *all* of ρ(τ), dynamics and the others'
  policies included, and its numerator has none of them, so Z sums over trajectories as if the agent
  chose what chance and the others do (as maximum-entropy inverse reinforcement learning does, for
  deterministic dynamics). A move with more outcomes is likelier then, whatever it pays. (The print
  has no prior either; a uniform one adds a constant to log Z.)
* "game": their probabilities, so that p_ψ is the model of Fig. 1 conditioned on optimality. Chance
  and the others are still tilted towards what pays (optimism), but outcomes no longer counted.

The divergence above Eq. 6 is, before it is rewritten, the likelihood of the agent's actions under
Eq. 5, π ∝ u exp(Q / τ). The two are related so:

* They agree, up to a constant, where the first state is fixed, neither chance nor the others have a
  choice, and γ = 1 (or there is one decision).
* With γ < 1 they differ even there: given the past, p_ψ plays the soft best response at temperature
  τ / γ^t, which rises with time, while Eq. 5 has τ at all times. In one state with two actions that
  pay x or 0, with γ = 1/2, τ = 1 and three steps, at x = 1 Eq. 5 plays the first with probability
  0.731 always and p_ψ with 0.731, 0.622 and 0.562; of endless data by Eq. 5, Eq. 6 makes x = 1.384.
* With chance or random others that matter they differ at every γ. Let an agent choose between 0
  for sure and a lottery of x or 0 at equal odds, with γ = τ = 1 and u uniform. At x = 2, Eq. 5
  takes the lottery with probability 0.731. Of endless such data the likelihood of the actions makes
  x = 2, "game" 0.547 and "printed" 0.142, and by Eq. 5 these take it with probability 0.731, 0.568
  and 0.518. At x = 0 the density of "printed" takes it with probability 2/3.
* With "game", γ = 1 and a reward free in each time, state and own action, r = τ log(π / u) is a
  minimiser, as p_ψ is the law of the data then. All minimisers have the policy π > 0 by Eq. 5,
  chance and random others or not. With "printed" the reward also has to pay for fewer outcomes:
  its policy takes the lottery above with probability 0.576 in place of 0.731.

A game without end is cut after the T steps of the plays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import pyro
import torch
from torch import Tensor

from vsg_ppl.errors import GameError
from vsg_ppl.reading import read_policies
from vsg_ppl.simulate import Plays, simulate
from vsg_ppl.table import Table

Reference = Literal["printed", "game"]
"""What chance and the others count in the density of a trajectory; see above."""


@dataclass(frozen=True, eq=False)
class Proposals:
    """Plays drawn from known policies, to estimate Z; made by `propose`.

    Attributes:
        plays: n plays of T steps.
        policies: by which all agents play in them, ρ.
    """

    plays: Plays
    policies: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.plays)

    @cached_property
    def tables(self) -> list[Tensor]:
        """ρ of every agent, (1, H|1, S, A_i)."""
        return _read(self.plays.table, self.policies)

    @cached_property
    def log_policies(self) -> list[Tensor]:
        """Σ_t log ρ_i(a^i_t | s_t) of every agent, (n,) each."""
        table = self.plays.table
        return [_own(table, self.plays, i, rho.log()) for i, rho in enumerate(self.tables)]

    @cached_property
    def log_chance(self) -> Tensor:
        """log P(s_0) Π_t P(s_{t+1} | s_t, a_t), (n,)."""
        table, states = self.plays.table, self.plays.states
        total = table.initial[0, states[:, 0]].log()
        chosen = [self.plays.actions[agent] for agent in table.agents]
        for t in range(states.shape[1] - 1):
            now = [action[:, t] for action in chosen]
            law = _entries(table.probabilities[0], t, states[:, t], now)  # (n, K)
            if table.successors is None:
                found = law.gather(1, states[:, [t + 1]])[:, 0]
            else:
                numbers = _entries(table.successors, t, states[:, t], now)
                found = (law * (numbers == states[:, [t + 1]])).sum(-1)
            total = total + found.log()
        return total

    @cached_property
    def log_probability(self) -> Tensor:
        """log ρ(τ), (n,).

        Raises:
            GameError: a play is impossible by the policies.
        """
        log_rho = self.log_chance + sum(self.log_policies)
        if not torch.isfinite(log_rho).all():
            k = int((~torch.isfinite(log_rho)).nonzero()[0])
            raise GameError(
                f"play {k} of the proposals has probability 0 by their policies",
                hint="the policies from which the plays were drawn.",
            )
        return log_rho


def propose(
    table: Table,
    policies: Mapping[str, Any],
    n: int = 1000,
    *,
    steps: int | None = None,
    seed: int = 0,
) -> Proposals:
    """Draw n plays and keep the policies; the arguments are those of `simulate`.

    Z is estimated well by policies that play like p_ψ, and agents must play with positive
    probability whatever p_ψ allows.

    >>> import vsg_ppl as vsg
    >>> from vsg_ppl.models import StagHunt
    >>> table = vsg.tabulate(StagHunt())
    >>> even = torch.full((2, 2), 0.5)
    >>> drawn = propose(table, {"row": even, "col": even}, 100, steps=3)
    >>> drawn.plays.states.shape, drawn.log_probability.shape
    (torch.Size([100, 3]), torch.Size([100]))
    """
    return Proposals(simulate(table, policies, n, steps=steps, seed=seed), dict(policies))


@dataclass(frozen=True, eq=False)
class ImportanceWeights:
    """w = b exp(Σ γ^t r / τ) / ρ(τ) of n proposals, in proportion.

    Attributes:
        log_z: log of the mean of w, a scalar. The mean is unbiased for Z, so its log is too low on
            average; the difference vanishes like 1 / n.
        weights: w / Σ w, (n,).
        effective: 1 / Σ weights², the effective number of proposals, from 1 to n. Where it is small
            draw more proposals, or from policies nearer to p_ψ.
    """

    log_z: Tensor
    weights: Tensor
    effective: float


def importance_weights(
    table: Table,
    agent: str,
    reward: Tensor,
    proposals: Proposals,
    *,
    temperature: float = 1.0,
    reference: Reference = "printed",
    others: Mapping[str, Any] | None = None,
) -> ImportanceWeights:
    """The weights of Eq. 7, computed in log space and differentiable in the reward.

    Amid chance those of "printed" degenerate with the steps, for they divide by its probability: of
    10,000 proposals by the priors in `RandomGame`, 150 are effective after 5 steps and 76 after 10,
    with "game" 8,189 and 7,585. Prefer the exact Z there.

    Args:
        table: of one game.
        agent: whose reward it is.
        reward: r_ψ, (S, A_1|1, ..., A_N|1), or with the times in front, (H|1, S, ...).
        proposals: from `propose`.
        temperature: τ > 0, in units of reward.
        reference: what chance and the others count, "printed" or "game".
        others: policies of the others in p_ψ; those of the proposals by default. For "printed" all
            that counts is what they play at all.

    Raises:
        GameError: tensors that do not fit the game, or proposals that never play what p_ψ allows.

    >>> import vsg_ppl as vsg
    >>> from vsg_ppl.models import PrisonersDilemma
    >>> table = vsg.tabulate(PrisonersDilemma())
    >>> even = torch.tensor([[0.5, 0.5]])
    >>> drawn = propose(table, {"row": even, "col": even}, 100)
    >>> weights = importance_weights(table, "row", torch.zeros(1, 2, 2), drawn)
    >>> round(weights.effective), weights.log_z.exp()  # both actions of the column count 1
    (100, tensor(2., dtype=torch.float64))
    """
    log_w = _returns(table, proposals.plays, _timed(table, reward)) / _positive(temperature)
    log_w = log_w + _log_ratio(table, agent, proposals, reference, others)
    log_sum = log_w.logsumexp(0)
    weights = (log_w - log_sum).exp()
    effective = float(1 / weights.detach().square().sum())
    return ImportanceWeights(log_sum - math.log(len(log_w)), weights, effective)


def trajectory_objective(
    table: Table,
    agent: str,
    plays: Plays,
    reward: Tensor,
    proposals: Proposals | None,
    *,
    temperature: float = 1.0,
    reference: Reference = "printed",
    others: Mapping[str, Any] | None = None,
) -> Tensor:
    """Eq. 6: −E_data[ Σ_t γ^t r_ψ / τ ] + log Z, a scalar in nats, to be minimised.

    Its gradient is Eq. 7, `trajectory_gradient`. It is the mean of −log p_ψ(τ) of the plays, up to
    what does not depend on ψ; the module says when that is the likelihood of the agent's actions.

    Args:
        table: of one game; its discount is γ, its own rewards are not used.
        agent: whose reward is fitted.
        plays: what was observed, n plays of T steps.
        reward: r_ψ, (S, A_1|1, ..., A_N|1), or with the times in front, (H|1, S, ...).
        proposals: m plays of as many steps, from `propose`; ``None`` for the exact Z, by
            `exact_log_partition`.
        temperature: τ > 0, in units of reward.
        reference: what chance and the others count in p_ψ, "printed" as in Eq. 6 or "game".
        others: policies of the others in p_ψ; those of the proposals by default.

    Raises:
        GameError: what does not fit the game, plays and proposals of different lengths, play of
            actions that are not available.

    >>> import vsg_ppl as vsg
    >>> from vsg_ppl.models import StagHunt
    >>> table = vsg.tabulate(StagHunt())
    >>> hare, even = torch.tensor([[0.2, 0.8]] * 2), torch.full((2, 2), 0.5)
    >>> seen = simulate(table, {"row": hare, "col": hare}, 50, steps=5)
    >>> drawn = propose(table, {"row": even, "col": even}, 500, steps=5)
    >>> reward = torch.zeros(2, 2, 1, dtype=torch.float64, requires_grad=True)
    >>> trajectory_objective(table, "row", seen, reward, drawn, reference="game").backward()
    >>> slope = reward.grad[:, :, 0].sum(0)
    >>> bool(slope[0] > 0 > slope[1])  # hare pays more than it seemed
    True
    """
    _check_plays(table, agent, plays)
    observed = _returns(table, plays, _timed(table, reward)).mean() / _positive(temperature)
    steps = plays.states.shape[1]
    if proposals is None:
        log_z = exact_log_partition(
            table,
            agent,
            others or {},
            reward,
            temperature=temperature,
            reference=reference,
            steps=steps,
        )
        return log_z - observed
    _check_lengths(plays, proposals)
    found = importance_weights(
        table,
        agent,
        reward,
        proposals,
        temperature=temperature,
        reference=reference,
        others=others,
    )
    return found.log_z - observed


def trajectory_gradient(
    table: Table,
    agent: str,
    plays: Plays,
    reward: Tensor,
    proposals: Proposals,
    *,
    temperature: float = 1.0,
    reference: Reference = "printed",
    others: Mapping[str, Any] | None = None,
) -> Tensor:
    """Eq. 7: the derivative of Eq. 6 by each entry of the reward, in the reward's shape.

    Discounted visits of the proposals, by their weights, less those of the plays, over τ. The
    chain rule gives the gradient by ψ; the print drops ∇ in both terms.

    Args: those of `trajectory_objective`.

    >>> import vsg_ppl as vsg
    >>> from vsg_ppl.models import PrisonersDilemma
    >>> table = vsg.tabulate(PrisonersDilemma())
    >>> defect, even = torch.tensor([[0.0, 1.0]]), torch.tensor([[0.5, 0.5]])
    >>> seen = simulate(table, {"row": defect, "col": even}, 10)
    >>> drawn = propose(table, {"row": even, "col": even}, 1000)
    >>> trajectory_gradient(table, "row", seen, torch.zeros(1, 2, 1), drawn).flatten().round(
    ...     decimals=1
    ... )
    tensor([ 0.5000, -0.5000], dtype=torch.float64)
    """
    _check_plays(table, agent, plays)
    _check_lengths(plays, proposals)
    with torch.no_grad():
        timed = _timed(table, reward)
        weights = importance_weights(
            table,
            agent,
            reward,
            proposals,
            temperature=temperature,
            reference=reference,
            others=others,
        ).weights
        even = weights.new_full((len(plays),), 1 / len(plays))
        expected = _visits(table, proposals.plays, timed, weights)
        gradient = (expected - _visits(table, plays, timed, even)) / temperature
    return gradient.reshape(reward.shape)


def trajectory_model(
    table: Table,
    agent: str,
    plays: Plays,
    reward_program: Callable[[Table], Tensor],
    proposals: Proposals | None,
    *,
    temperature: float = 1.0,
    reference: Reference = "printed",
    others: Mapping[str, Any] | None = None,
) -> Callable[[], Tensor]:
    """A Pyro program of the plays given a reward: n times −Eq. 6, as the factor "play".

    With parameters and an empty guide, SVI descends Eq. 6; with priors on ψ and an automatic guide
    it finds a posterior. The proposals stay the same; for Alg. 3, which draws them anew, make a
    model for each draw.

    Args:
        reward_program: r_ψ of a table, in the shape that `trajectory_objective` takes; it samples
            ψ (``pyro.sample``) or holds it (``pyro.param``, a ``PyroModule``).

    The other arguments are those of `trajectory_objective`.

    Returns:
        A program without arguments that returns the reward.

    >>> import vsg_ppl as vsg
    >>> from pyro.infer import SVI, Trace_ELBO
    >>> from pyro.optim import Adam
    >>> from vsg_ppl.models import PrisonersDilemma
    >>> table = vsg.tabulate(PrisonersDilemma())
    >>> rare, even = torch.tensor([[0.2, 0.8]]), torch.tensor([[0.5, 0.5]])
    >>> seen = simulate(table, {"row": rare, "col": even}, 1000)
    >>> drawn = propose(table, {"row": even, "col": even}, 1000)
    >>> def reward(table):
    ...     return pyro.param("reward", torch.zeros(1, 2, 1, dtype=torch.float64))
    >>> model = trajectory_model(table, "row", seen, reward, drawn)
    >>> svi = SVI(model, lambda: None, Adam({"lr": 0.1}), Trace_ELBO())
    >>> losses = [svi.step() for _ in range(100)]
    >>> cooperate, defect = pyro.param("reward").flatten().softmax(0).tolist()
    >>> 0.15 < cooperate < 0.25
    True
    """

    def model() -> Tensor:
        reward = reward_program(table)
        objective = trajectory_objective(
            table,
            agent,
            plays,
            reward,
            proposals,
            temperature=temperature,
            reference=reference,
            others=others,
        )
        pyro.factor("play", -len(plays) * objective)
        return reward

    return model


def exact_log_partition(
    table: Table,
    agent: str,
    others: Mapping[str, Any],
    reward: Tensor,
    *,
    temperature: float = 1.0,
    reference: Reference = "printed",
    steps: int | None = None,
) -> Tensor:
    """log Z of Eq. 6 exactly: the sum over all trajectories, backward in time and in log space.

    Its gradient is the expected number of discounted visits under p_ψ, over τ.

    Args:
        table: of one game.
        agent: whose reward it is.
        others: policies of all others; the agent's own, if there, is not used. For "printed" all
            that counts is what they play at all.
        reward: r_ψ, (S, A_1|1, ..., A_N|1), or with the times in front, (H|1, S, ...).
        temperature: τ > 0, in units of reward.
        reference: what chance and the others count, "printed" or "game".
        steps: T; by default the horizon.

    Returns:
        A scalar, differentiable in the reward.

    Raises:
        GameError: what does not fit the game, or neither steps nor a horizon.

    >>> import vsg_ppl as vsg
    >>> sure, lottery = [0.0, 0.0, 1.0], [0.5, 0.5, 0.0]  # the second action leads to 0 or to 1
    >>> moves = torch.tensor([[sure, lottery]] * 3)
    >>> start = torch.tensor([0.0, 0.0, 1.0])
    >>> table = vsg.from_arrays(torch.zeros(1, 3, 2), moves, horizon=2, initial=start)
    >>> reward = torch.zeros(3, 2, dtype=torch.float64)
    >>> log_z = exact_log_partition(table, "agent1", {}, reward)
    >>> round(log_z.exp().item(), 6)  # half of it for sure; the lottery counts twice
    1.5
    >>> log_z = exact_log_partition(table, "agent1", {}, reward, reference="game")
    >>> round(log_z.exp().item(), 6)
    1.0
    """
    _check_reference(reference)
    timed, number = _timed(table, reward), table.number(agent)
    length = table.horizon if steps is None else steps
    if length is None:
        raise GameError(f"{table.name} never ends", hint="steps=10: trajectories are cut there.")
    if length < 1 or (table.horizon is not None and length > table.horizon):
        raise GameError(f"{length} steps are asked for, and the horizon is {table.horizon}")
    laws = _read(table, {**others, agent: table.log_priors[number].exp()})
    base = _weigh(table, laws, number, reference)
    times = 1 if table.successors is None else len(table.successors)
    moves = [_moves(table, t, reference) for t in range(max(times, table.probabilities.shape[1]))]
    ahead: Tensor | None = None
    for t in reversed(range(length)):
        scores = _at(timed, t) * (table.discount**t / _positive(temperature))
        for i, law in enumerate(base):
            row = _at(law[0], t)
            scores = scores + row.reshape(len(row), *[1] * i, -1, *[1] * (len(base) - 1 - i))
        if ahead is not None:
            following = ahead
            if table.successors is not None:
                following = ahead[_at(table.successors, t)]
            scores = scores + _log_sum(moves[t if len(moves) > 1 else 0] + following)
        ahead = _log_sum(scores.flatten(1))
    assert ahead is not None
    return _log_sum(_count(table.initial[0], reference) + ahead)


def _log_ratio(
    table: Table,
    agent: str,
    proposals: Proposals,
    reference: Reference,
    others: Mapping[str, Any] | None,
) -> Tensor:
    """log b(τ) − log ρ(τ) of the proposals, (n,)."""
    _check_reference(reference)
    _check_plays(table, agent, proposals.plays)
    number = table.number(agent)
    law = list(proposals.tables)
    law[number] = table.log_priors[number].exp()
    if others is not None:
        law = _read(table, {**others, agent: law[number]})
    for j, (wanted, rho) in enumerate(zip(law, proposals.tables, strict=True)):
        _check_cover(table, j, wanted, rho)
    log_b = proposals.log_chance if reference == "game" else 0.0
    for j, weight in enumerate(_weigh(table, law, number, reference)):
        log_b = log_b + _own(table, proposals.plays, j, weight)
    return torch.as_tensor(log_b - proposals.log_probability)


def _weigh(table: Table, law: list[Tensor], number: int, reference: Reference) -> list[Tensor]:
    """What each agent's actions count in b, in logs."""
    weights = [_count(policy, reference) for policy in law]
    weights[number] = table.log_priors[number]
    return weights


def _count(p: Tensor, reference: Reference) -> Tensor:
    """What chance or another agent counts: log p, or 0 for whatever is possible."""
    return torch.log(p if reference == "game" else (p > 0).to(p.dtype))


def _moves(table: Table, t: int, reference: Reference) -> Tensor:
    """What each successor counts at time t, in logs, (S, A_1|1, ..., A_N|1, K)."""
    probabilities = _at(table.probabilities[0], t)
    log_chance = _count(probabilities, reference)
    if table.successors is None or reference == "game":
        return log_chance
    # a state that is listed several times is one next state: its entries share its count
    numbers, possible = torch.broadcast_tensors(_at(table.successors, t), probabilities > 0)
    same = (numbers[..., :, None] == numbers[..., None, :]) & possible[..., None, :]
    shared: Tensor = log_chance - same.sum(-1).clamp_min(1).log()
    return shared


def _timed(table: Table, reward: Tensor) -> Tensor:
    """The reward with its times in front, (H|1, S, A_1|1, ..., A_N|1), float64."""
    if table.batched:
        raise GameError(f"plays are of one game, and this table holds {table.batch}")
    sizes, n = table.sizes, len(table.states)
    timed = reward[None] if reward.ndim == 1 + len(sizes) else reward
    fits = (
        timed.ndim == 2 + len(sizes)
        and timed.shape[0] in (1, table.horizon)
        and timed.shape[1] == n
        and all(a in (1, size) for a, size in zip(timed.shape[2:], sizes, strict=True))
    )
    if not fits:
        raise GameError(
            f"the reward has shape {tuple(reward.shape)}; expected {(n, *sizes)}, where an agent's "
            "dimension may be 1, or the horizon or 1 in front"
        )
    return timed.double()


def _where(table: Table, plays: Plays, x: Tensor) -> tuple[Tensor, ...]:
    """The index, (n, T) each, at which plays find (H|1, S, A_1|1, ..., A_N|1) entries."""
    times = torch.arange(plays.states.shape[1], device=plays.states.device)
    index = [times.expand_as(plays.states), plays.states]
    index += [plays.actions[agent] for agent in table.agents]
    return tuple(
        at if size > 1 else torch.zeros_like(at) for at, size in zip(index, x.shape, strict=True)
    )


def _discounts(table: Table, plays: Plays) -> Tensor:
    steps = torch.arange(plays.states.shape[1], device=table.device, dtype=torch.float64)
    return table.discount**steps


def _returns(table: Table, plays: Plays, reward: Tensor) -> Tensor:
    """Σ_t γ^t r of each play, (n,)."""
    found: Tensor = reward[_where(table, plays, reward)]
    return found @ _discounts(table, plays)


def _visits(table: Table, plays: Plays, reward: Tensor, weights: Tensor) -> Tensor:
    """Σ_k weight_k Σ_t γ^t over the entries that play k visits, in the reward's shape."""
    amounts = weights[:, None] * _discounts(table, plays)
    where = _where(table, plays, reward)
    return torch.zeros_like(reward).index_put(where, amounts, accumulate=True)


def _own(table: Table, plays: Plays, i: int, log_policy: Tensor) -> Tensor:
    """Σ_t of (1, H|1, S, A_i) entries at agent i's actions, (n,)."""
    log = log_policy[0]
    times = torch.arange(plays.states.shape[1], device=plays.states.device)
    times = times if len(log) > 1 else torch.zeros_like(times)
    found: Tensor = log[times, plays.states, plays.actions[table.agents[i]]]
    return found.sum(-1)


def _entries(x: Tensor, t: int, states: Tensor, chosen: list[Tensor]) -> Tensor:
    """(H|1, S, A_1|1, ..., A_N|1, K) at n states and joint actions at time t, (n, K)."""
    now = _at(x, t)
    index = [a if now.shape[1 + i] > 1 else torch.zeros_like(a) for i, a in enumerate(chosen)]
    found: Tensor = now[(states, *index)]
    return found


def _at(x: Tensor, t: int) -> Tensor:
    """The slice at time t of a tensor with all times or one."""
    return x[t if len(x) > 1 else 0]


def _log_sum(x: Tensor) -> Tensor:
    """logsumexp over the last dimension; −inf without a NaN gradient where nothing is possible."""
    possible = (x > -torch.inf).any(-1)
    total = torch.where(possible[..., None], x, 0.0).logsumexp(-1)
    return torch.where(possible, total, -torch.inf)


def _read(table: Table, policies: Mapping[str, Any]) -> list[Tensor]:
    """All agents' policies, (1, H|1, S, A_i), without gradients."""
    with torch.no_grad():
        tables = [policy.to(table.device) for policy in read_policies(table, policies)]
    for agent, policy in zip(table.agents, tables, strict=True):
        if policy.ndim > 4:
            raise GameError(
                f"the policy of '{agent}' is conditional on the others' actions",
                hint="its average over the opponent model.",
            )
    return tables


def _positive(temperature: float) -> float:
    if not temperature > 0:
        raise GameError(f"the temperature is {temperature:g}; it must be positive")
    return temperature


def _check_reference(reference: str) -> None:
    if reference not in ("printed", "game"):
        raise GameError(f"reference '{reference}'", hint="one of printed, game.")


def _check_lengths(plays: Plays, proposals: Proposals) -> None:
    seen, drawn = plays.states.shape[1], proposals.plays.states.shape[1]
    if seen != drawn:
        raise GameError(
            f"the plays have {seen} steps, the proposals {drawn}", hint=f"steps={seen}."
        )


def _check_plays(table: Table, agent: str, plays: Plays) -> None:
    """Raise `GameError` unless the plays are of this game, and the agent's actions available."""
    number, other = table.number(agent), plays.table
    same = (table.agents, table.sizes, table.horizon, len(table.states)) == (
        other.agents,
        other.sizes,
        other.horizon,
        len(other.states),
    )
    if not same:
        raise GameError(f"the plays are of another game than {table.name}: {other.name}")
    if min(int(actions.min()) for actions in plays.actions.values()) < 0:
        raise GameError("trajectories need every agent's action, and some were not seen")
    bad = _own(table, plays, number, table.log_priors[number]) == -torch.inf
    if bad.any():
        raise GameError(
            f"in play {int(bad.nonzero()[0])} '{agent}' does what its prior says is not available"
        )


def _check_cover(table: Table, j: int, wanted: Tensor, rho: Tensor) -> None:
    """Raise `GameError` where the proposals never play what has weight: Z would miss it."""
    missed = ((wanted > 0) & (rho == 0))[0]
    if table.reachable is not None:
        missed = missed & table.reachable[..., None]
    if missed.any():
        _, state, action = missed.nonzero()[0].tolist()
        agent = table.agents[j]
        raise GameError(
            f"the proposals of '{agent}' never play {table.actions[j].names()[action]} in state "
            f"{table.states[state]}, which counts in Z",
            hint="proposals with positive probability wherever the prior has it.",
        )

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

from collections.abc import Callable, Mapping
from typing import Any

import pyro
import torch
from torch import Tensor

from vsg_ppl.errors import GameError
from vsg_ppl.proposals import Proposals, importance_weights
from vsg_ppl.simulate import Plays
from vsg_ppl.table import Table
from vsg_ppl.trajectory_partition import exact_log_partition
from vsg_ppl.trajectory_sums import (
    Reference,
    check_plays,
    positive,
    returns,
    timed_reward,
    visits,
)


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
    >>> seen = vsg.simulate(table, {"row": hare, "col": hare}, 50, steps=5)
    >>> drawn = vsg.propose(table, {"row": even, "col": even}, 500, steps=5)
    >>> reward = torch.zeros(2, 2, 1, dtype=torch.float64, requires_grad=True)
    >>> trajectory_objective(table, "row", seen, reward, drawn, reference="game").backward()
    >>> slope = reward.grad[:, :, 0].sum(0)
    >>> bool(slope[0] > 0 > slope[1])  # hare pays more than it seemed
    True
    """
    check_plays(table, agent, plays)
    observed = returns(table, plays, timed_reward(table, reward)).mean() / positive(temperature)
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
    >>> seen = vsg.simulate(table, {"row": defect, "col": even}, 10)
    >>> drawn = vsg.propose(table, {"row": even, "col": even}, 1000)
    >>> trajectory_gradient(table, "row", seen, torch.zeros(1, 2, 1), drawn).flatten().round(
    ...     decimals=1
    ... )
    tensor([ 0.5000, -0.5000], dtype=torch.float64)
    """
    check_plays(table, agent, plays)
    _check_lengths(plays, proposals)
    with torch.no_grad():
        timed = timed_reward(table, reward)
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
        expected = visits(table, proposals.plays, timed, weights)
        gradient = (expected - visits(table, plays, timed, even)) / temperature
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
    >>> seen = vsg.simulate(table, {"row": rare, "col": even}, 1000)
    >>> drawn = vsg.propose(table, {"row": even, "col": even}, 1000)
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


def _check_lengths(plays: Plays, proposals: Proposals) -> None:
    seen, drawn = plays.states.shape[1], proposals.plays.states.shape[1]
    if seen != drawn:
        raise GameError(
            f"the plays have {seen} steps, the proposals {drawn}", hint=f"steps={seen}."
        )

"""Constants of the paper's theorems, with their sources."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, log, sqrt

from torch import Tensor

from vsg_ppl.bellman import contract, divergence, evaluate, following
from vsg_ppl.elbo import total_weight
from vsg_ppl.game import Game
from vsg_ppl.table import Table
from vsg_ppl.tabulate import tabulate


def nash_bound(game: Game | Table, temperature: float, *, joint: bool = False) -> float:
    """ε of Theorem 4.2: how far from Nash joint maximisers of the ELBO (Eq. 3) may be.

    Printed: ε = T log max_i |A^i|, for τ = 1 and uniform priors. That forgets one of the T + 1
    decisions. Meant: ε = τ Σ_t γ^t max_i max_{s,a} log 1/u^i(a|s), over available actions; for
    uniform priors τ (T + 1) log max_i |A^i|, or τ log max_i |A^i| / (1 − γ). It holds for marginal
    policies, not for executed conditional ones. Where every agent is paid the joint entropy, as
    Prop. 5.6 needs it, agents value the others' freedom too, and the sum over i stands for the
    maximum.

    Args:
        game: a finite game program or its table.
        temperature: τ.
        joint: whether agents are paid the joint entropy.

    Returns:
        ε, in units of reward.

    >>> import vsg_ppl as vsg
    >>> from vsg_ppl.models import Thermostat
    >>> table = vsg.tabulate(Thermostat(horizon=24))
    >>> nash_bound(table, 0.5) == 0.5 * 24 * log(3)
    True
    """
    table = _table(game)
    most = sum(_surprises(table)) if joint else max(_surprises(table))
    return temperature * total_weight(table.discount, table.horizon) * most


def smoothness(game: Game | Table, temperature: float = 1.0) -> float:
    """L of Lemma 5.7: how smooth the potential plus joint entropy is in the softmax parameters.

    Printed, for n agents, rewards of size at most 1 and τ = 1: L = 2 (n+1)² / (1−γ)³ +
    2 (n²+n+1) (1 + log max_i |A^i|) / (1−γ)² + (3n+2) / (1−γ). Meant, for rewards of size at most
    R: L = 2 (n+1)² R / (1−γ)³ + τ [ 2 (n²+n+1) (1 + log max_i |A^i|) / (1−γ)² + (3n+2) / (1−γ) ].
    With a horizon, Σ_t γ^t stands for 1 / (1−γ).

    Args:
        game: a finite game program or its table.
        temperature: τ.

    Returns:
        L, in units of reward.

    >>> import vsg_ppl as vsg
    >>> from vsg_ppl.models import RandomGame
    >>> 1 / smoothness(vsg.tabulate(RandomGame(discount=0.9))) < 1e-4
    True
    """
    table = _table(game)
    n, steps = len(table.agents), total_weight(table.discount, table.horizon)
    size = max(float(reward.abs().amax()) for reward in table.rewards)
    entropy = 2 * (n * n + n + 1) * (1 + log(max(table.sizes))) * steps**2 + (3 * n + 2) * steps
    return 2 * (n + 1) ** 2 * size * steps**3 + temperature * entropy


def safe_step(game: Game | Table, temperature: float) -> float:
    """The weight β in Eq. 4 of the learning rate η = 1/L that Theorem 5.8 asks for.

    Printed: β = η / (1−γ), for τ = 1. Meant: β = τ / (L (1−γ)), L being `smoothness`.

    Args:
        game: a finite game program or its table.
        temperature: τ.

    Returns:
        β, without unit.

    >>> import vsg_ppl as vsg
    >>> from vsg_ppl.models import RandomGame
    >>> 0 < safe_step(vsg.tabulate(RandomGame()), temperature=1.0) < 1e-3
    True
    """
    table = _table(game)
    steps = total_weight(table.discount, table.horizon)
    return temperature * steps / smoothness(table, temperature)


def opponent_error_bound(
    game: Game | Table, agent: int, divergence: float, temperature: float
) -> float:
    """δ of Prop. 5.5: how far a model of the others can put an agent's action values off.

    Printed, for |r^i| ≤ 1, τ = 1 and KL(ρ(·|s) ‖ π^{-i}(·|s)) < ε in all states:
    δ = 2 (1 + log|A^i|) / (1−γ)² √(ε/2) + ε / (1−γ). Meant, for |r^i| ≤ R:
    δ = 2 (R + τ L) / (1−γ)² √(ε/2) + τ ε / (1−γ), with L = log|A^i|, or for priors that are not
    uniform the most that KL(π^i ‖ u^i) can be. With a horizon, Σ_t γ^t stands for 1 / (1−γ).

    Args:
        game: a finite game program or its table.
        agent: its number.
        divergence: ε, in nats.
        temperature: τ.

    Returns:
        δ, in units of reward.

    >>> import vsg_ppl as vsg
    >>> from vsg_ppl.models import StagHunt
    >>> table = vsg.tabulate(StagHunt())
    >>> opponent_error_bound(table, 0, divergence=0.0, temperature=1.0)
    0.0
    """
    table = _table(game)
    steps = total_weight(table.discount, table.horizon)
    size = float(table.rewards[agent].abs().amax())
    entropy = temperature * max(_surprises(table)[agent], log(table.sizes[agent]))
    return 2 * (size + entropy) * steps**2 * sqrt(divergence / 2) + temperature * divergence * steps


def potential_game_bound(game: Game | Table, divergence: float, temperature: float) -> float:
    """ε of Theorem 5.8: how far from Nash a fixed point of VPG in a potential game may be.

    Printed: ε = δ + log|A| / (1−γ), with δ of Prop. 5.5 and τ = 1. Meant:
    ε = 2 max_i δ_i + τ Σ_t γ^t Σ_i max_{s,a} log 1/u^i(a|s); for uniform priors the second part is
    τ log|A| / (1−γ), A being the *joint* actions.

    * δ counts twice: an agent may think what it plays worth δ more, and what is better worth δ
      less, than they are. With one δ there are fixed points with a larger gap.
    * A is joint, since the proof compares the potential with and without joint entropy. If agents
      are paid their own entropy alone, 2 max_i δ_i + `nash_bound` holds.
    * With joint entropy it holds for exact models (ε = 0 in δ), as δ does not cover what models get
      wrong about the others' entropy.

    It needs no potential, but that makes sure that VPG gets to a fixed point, with steps of 1/L.
    In how many iterations, neither the theorem nor its proof says.

    Args:
        game: a finite game program or its table.
        divergence: the most that KL(ρ(·|s) ‖ π^{-i}(·|s)) is, of any agent in any state, in nats.
        temperature: τ.

    Returns:
        ε, in units of reward.

    >>> import vsg_ppl as vsg
    >>> from vsg_ppl.models import StagHunt
    >>> table = vsg.tabulate(StagHunt(discount=0.8))
    >>> potential_game_bound(table, divergence=0.0, temperature=0.1) / (0.1 * log(2 * 2))
    5.0...
    """
    table = _table(game)
    agents = range(len(table.agents))
    off = max(opponent_error_bound(table, i, divergence, temperature) for i in agents)
    steps = total_weight(table.discount, table.horizon)
    return 2 * off + temperature * steps * sum(_surprises(table))


def opponent_error(
    table: Table,
    agent: int,
    log_policies: Sequence[Tensor],
    log_models: Sequence[Tensor],
    temperature: float,
) -> tuple[float, float]:
    """max |Q^i − Q̂^i| over states and joint actions, and max KL(ρ ‖ π^{-i}) over states.

    Q̂ is what the agent works out from its models ρ, which pays τ KL(ρ ‖ π^{-i}) after the first
    step (Eq. 3); Q is what is true.

    Args:
        table: of one game.
        agent: its number.
        log_policies: log π of all agents, (1, H|1, S, A_j).
        log_models: the same with its models of the others in place of their policies.
        temperature: τ.

    Returns:
        The first in units of reward, the second in nats.

    >>> import vsg_ppl as vsg
    >>> from vsg_ppl.models import RandomGame
    >>> table = vsg.tabulate(RandomGame())
    >>> opponent_error(table, 0, table.log_priors, table.log_priors, temperature=1.0)
    (0.0, 0.0)
    """
    prior = table.log_priors[agent]
    own = log_policies[agent]
    cost = divergence(own.exp(), own, prior)
    between = sum(
        divergence(rho.exp(), rho, pi)
        for j, (rho, pi) in enumerate(zip(log_models, log_policies, strict=True))
        if j != agent
    )
    values = []
    for logs, off in ((log_policies, 0.0), (log_models, between)):
        laws = [log.exp() for log in logs]
        reward = contract(table.rewards[agent], laws) - temperature * (cost + off)
        values.append(evaluate(table, laws, reward[..., None])[..., 0])
    change = (values[0] - values[1])[..., None]
    ahead = range(1, change.shape[1]) if table.horizon is not None else range(1)
    worst = max(
        (
            table.discount * float(following(table, change[:, t], max(0, t - 1)).abs().max())
            for t in ahead
        ),
        default=0.0,
    )
    worst_divergence = float(between.max()) if isinstance(between, Tensor) else 0.0
    return worst, worst_divergence


def _table(game: Game | Table) -> Table:
    return game if isinstance(game, Table) else tabulate(game)


def _surprises(table: Table) -> list[float]:
    """max log 1/u^i(a|s) over available actions, of each agent: log|A^i| for uniform priors."""
    return [-float(prior[prior > -inf].min()) for prior in table.log_priors]

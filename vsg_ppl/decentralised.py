"""Algorithm 1 as its agents live it: play, watch the others act, refit ρ, take a step of Eq. 4."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from vsg_ppl.bellman import action_values, contract, divergence, evaluate
from vsg_ppl.certificate import certify_tables
from vsg_ppl.elbo import total_weight
from vsg_ppl.errors import GameError
from vsg_ppl.game import Game
from vsg_ppl.guides.inferred import InferredOpponent
from vsg_ppl.guides.opponent import CountedOpponent
from vsg_ppl.progress import no_progress, progress_bar
from vsg_ppl.simulate import next_states
from vsg_ppl.solution import Solution, solution_of
from vsg_ppl.table import Table
from vsg_ppl.tabulate import tabulate
from vsg_ppl.theory import opponent_error, opponent_error_bound
from vsg_ppl.vpg import natural_step


class Learner:
    """One agent of Algorithm 1: it knows its own reward, how the world moves, and what it saw.

    Args:
        table: the game. The other agents' rewards are taken out before anything is stored.
        agent: the agent's name.
        temperature: τ.
        inferred: whether its models of the others are by what they seem to want, not by counts.

    Attributes:
        opponents: its models of the others, by number.
        log_policy: log π^i, (1, H|1, S, A_i).
    """

    def __init__(
        self, table: Table, agent: str, temperature: float, *, inferred: bool = False
    ) -> None:
        self.number, self.temperature = table.number(agent), temperature
        unknown = torch.zeros_like(table.rewards[0].flatten()[:1]).reshape(
            (1,) * table.rewards[0].ndim
        )
        self.world = replace(
            table,
            rewards=tuple(r if i == self.number else unknown for i, r in enumerate(table.rewards)),
        )
        self.opponents: dict[int, CountedOpponent | InferredOpponent] = {
            j: InferredOpponent(self.world, name, temperature=temperature)
            if inferred
            else CountedOpponent(self.world, name)
            for j, name in enumerate(table.agents)
            if j != self.number
        }
        prior = table.log_priors[self.number]
        self.log_policy = prior.expand(1, table.horizon or 1, *prior.shape[2:]).clone()

    def act(self, t: Tensor, states: Tensor, generator: torch.Generator) -> Tensor:
        """Draw its actions in these states at these times, (n,)."""
        now = t if self.log_policy.shape[1] > 1 else torch.zeros_like(t)
        return _draw(self.log_policy[0, now, states].exp(), generator)

    def observe(self, t: Tensor, states: Tensor, actions: dict[int, Tensor]) -> None:
        """See what the others did; their rewards and policies stay unseen."""
        for j, model in self.opponents.items():
            if isinstance(model, InferredOpponent):
                model.observe(t, states, actions)
                model.refit()
            else:
                model.observe(t, states, actions[j])

    def improve(self, weight: float) -> float:
        """One step of Eq. 4 against the opponent models; returns its ELBO before, in reward."""
        policies = [
            self.log_policy.exp() if j == self.number else self.opponents[j].log_table().exp()[None]
            for j in range(len(self.world.agents))
        ]
        prior = self.world.log_priors[self.number]
        cost = divergence(policies[self.number], self.log_policy, prior)
        reward = contract(self.world.rewards[self.number], policies) - self.temperature * cost
        values = evaluate(self.world, policies, reward[..., None])
        q = action_values(self.world, policies, values, self.number, column=0)
        self.log_policy = natural_step(self.log_policy, prior + q / self.temperature, weight)
        return float((self.world.initial * values[:, 0, :, 0]).sum(-1)[0])


def nash_decentralised(
    game: Game | Table,
    *,
    temperature: float = 0.1,
    iterations: int = 400,
    plays: int = 64,
    length: int | None = None,
    step: float = 0.5,
    opponents: Literal["counted", "inferred"] = "counted",
    certify_every: int = 10,
    seed: int = 0,
    progress: bool = False,
) -> Solution:
    """Algorithm 1 without a centre: each agent knows its own reward and watches the others act.

    In each iteration the agents play, each puts what it saw of the others' actions into its replay
    buffer, refits ρ to it and takes one step of Eq. 4. The certificate is computed afterwards, from
    the game; no agent sees it.

    Args:
        game: a finite game program or its table.
        temperature: τ, in units of reward. Policies that answer a noisy ρ tremble the more, the
            smaller it is.
        iterations: rounds of play and learning.
        plays: parallel plays in a round.
        length: decisions in a play; the horizon by default, or about 1 / (1 − γ) of them.
        step: the weight β of Eq. 4.
        opponents: how agents model each other: "counted", by the actions seen; or "inferred", by
            what the others seem to want (Algorithm 3 inside Algorithm 1, `InferredOpponent`).
        certify_every: iterations between two certificates in the history.
        seed: of the plays.
        progress: show a progress bar.

    Returns:
        The solution. Its status is "solved" when the Nash gap obeys the bound of Theorem 4.2. The
        history holds, for each iteration, each agent's ELBO under its own opponent model, and
        ``opponent_error``, the mean of KL(π^j ‖ ρ_j) over the states of the round; where it was
        certified, also ``q_error``, the largest |Q − Q̂| of any agent, and ``q_bound``, δ of
        Prop. 5.5 (`opponent_error_bound`).

    >>> from vsg_ppl.models import PrisonersDilemma
    >>> solution = nash_decentralised(PrisonersDilemma(), iterations=50)
    >>> solution.policies["row"][0, 0, 1].item() > 0.99
    True
    """
    table = game if isinstance(game, Table) else tabulate(game)
    if table.batched:
        raise GameError("agents play one game at a time, and this table holds a batch of them")
    if not temperature > 0 or not 0 < step <= 1 or iterations < 1 or plays < 1:
        raise GameError(
            f"temperature {temperature}, step {step}, iterations {iterations}, plays {plays}: all "
            "must be positive, and the step at most 1"
        )
    generator = torch.Generator(device=table.device).manual_seed(seed)
    began, status, history = time.perf_counter(), "not converged", []
    if opponents not in ("counted", "inferred"):
        raise GameError(f"the opponents are modelled as {opponents!r}: 'counted' or 'inferred'")
    learners = [
        Learner(table, agent, temperature, inferred=opponents == "inferred")
        for agent in table.agents
    ]
    span = length or table.horizon or max(2, round(total_weight(table.discount, None)))
    with torch.no_grad(), progress_bar("decentralised") if progress else no_progress() as show:
        try:
            for k in range(1, iterations + 1):
                error = _round(table, learners, plays, span, generator)
                elbos = [learner.improve(step) for learner in learners]
                entry: dict[str, Any] = {
                    "iteration": k,
                    "temperature": temperature,
                    "residual": error,
                    "opponent_error": error,
                    "elbo": dict(zip(table.agents, elbos, strict=True)),
                }
                if k % certify_every == 0 or k == iterations:
                    entry |= _model_errors(table, learners, temperature)
                    entry["nash_gap"] = float(_certify(table, learners, temperature).nash_gap)
                history.append(entry)
                show(entry)
        except KeyboardInterrupt:
            status = "interrupted"
        certificate = _certify(table, learners, temperature)
        if status != "interrupted" and certificate.within_bound():
            status = "solved"
    bound = certificate.bound
    message = f"Nash gap {certificate.nash_gap:.3g}, bound {bound:.3g}"
    if status == "not converged":
        message += "; raise `iterations` or `plays`, or the temperature"
    return solution_of(
        game,
        table,
        [learner.log_policy for learner in learners],
        certificate=certificate,
        temperature=temperature,
        factorisation="marginal",
        iterations=len(history),
        seconds=time.perf_counter() - began,
        status=status,
        message=message,
        history=history,
    )


def _round(
    table: Table, learners: list[Learner], plays: int, span: int, generator: torch.Generator
) -> float:
    """Play once, let everybody watch; the mean of KL(π^j ‖ ρ_j) where they were."""
    states = _draw(table.initial.expand(plays, -1), generator)
    times, places, actions = [], [], []
    for t in range(span):
        now = torch.full_like(states, t)
        chosen = [learner.act(now, states, generator) for learner in learners]
        times.append(now)
        places.append(states)
        actions.append(chosen)
        if t + 1 < span:
            states = next_states(table, states, chosen, t, generator)
    when, where = torch.cat(times), torch.cat(places)
    done = [torch.cat(column) for column in zip(*actions, strict=True)]
    errors = []
    for learner in learners:
        learner.observe(when, where, dict(enumerate(done)))
        for j, model in learner.opponents.items():
            log, rho = learners[j].log_policy[0], model.log_table()
            now = when if len(log) > 1 else torch.zeros_like(when)
            errors.append(
                divergence(log[now, where].exp(), log[now, where], rho[now, where]).mean()
            )
    return float(torch.stack(errors).mean()) if errors else 0.0


def _model_errors(table: Table, learners: list[Learner], temperature: float) -> dict[str, float]:
    """How far the models put each agent's Q off, and how far Prop. 5.5 lets them."""
    true = [learner.log_policy for learner in learners]
    worst = bound = 0.0
    for i, learner in enumerate(learners):
        believed = [
            true[j] if j == i else learner.opponents[j].log_table()[None] for j in range(len(true))
        ]
        off, divergence = opponent_error(table, i, true, believed, temperature)
        worst = max(worst, off)
        bound = max(bound, opponent_error_bound(table, i, divergence, temperature))
    return {"q_error": worst, "q_bound": bound}


def _draw(probabilities: Tensor, generator: torch.Generator) -> Tensor:
    return torch.multinomial(probabilities, 1, generator=generator)[:, 0]


def _certify(table: Table, learners: list[Learner], temperature: float) -> Any:
    return certify_tables(table, [learner.log_policy.exp() for learner in learners], temperature)

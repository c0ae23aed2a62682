"""Algorithm 4 and the iterations that people compare it with: policy and crowd in turn."""

from __future__ import annotations

import pyro
import torch
from pyro.infer import SVI
from pyro.optim import PyroOptim
from torch import Tensor

from vsg_ppl.agent import agent_guide, agent_model
from vsg_ppl.crowd_flow import backup, flow, worth
from vsg_ppl.elbo import MarkovELBO
from vsg_ppl.facing import Facing
from vsg_ppl.mean_field_run import Run

ROUNDS = 50
"""Steps of SVI between two flows of the crowd."""


def algorithm4(
    run: Run, start: Tensor, stages: list[float], move_prior: int | None, max_steps: int
) -> None:
    """Algorithm 4: soft backup (11), policy (12), crowd's flow, again.

    With the prior fixed its fixed point is the soft equilibrium. With the prior moved to the last
    policy every few iterations ("information from past iterations", prior descent of Cui and Koeppl
    2021) it is an equilibrium without regularisation.
    """
    run.soft = move_prior is None
    run.advice = "raise `temperature`, below which the iteration may cycle, or method='exact'"
    policy, log_prior = start, run.log_prior
    for temperature in stages:
        for k in range(max_steps):
            joint = flow(run.table, policy)
            kernel = run.table.kernel(joint)
            log, _, _ = backup(run.table, kernel, temperature, log_prior)
            answer = log.exp()
            off = float((answer - policy).abs().max())
            last = temperature == stages[-1]
            run.record(policy, temperature, off, joint, kernel, last=last)
            policy = answer
            if move_prior is not None and (k + 1) % move_prior == 0:
                log_prior = log
            elif run.soft and off <= run.tolerance:
                break


def fictitious_play(run: Run, start: Tensor, stages: list[float], max_steps: int) -> None:
    """Best responses to the average crowd of all iterations so far.

    The average policy plays an action as often as the average crowd does: π̄ ∝ Σ_k μ_k π_k.
    """
    temperature, policy = (stages[-1] if stages else 0.0), start
    run.soft = bool(stages)
    mass = flow(run.table, policy)
    for k in range(max_steps):
        joint = flow(run.table, policy)
        kernel = run.table.kernel(joint)
        log, _, _ = backup(run.table, kernel, temperature, run.log_prior)
        answer = log.exp()
        run.record(policy, temperature, float((answer - policy).abs().max()), joint, kernel)
        mass = ((k + 1) * mass + flow(run.table, answer)) / (k + 2)
        total = mass.sum(-1, keepdim=True)
        policy = torch.where(total > 0, mass / total.clamp_min(1e-300), answer)


def mirror_descent(
    run: Run, start: Tensor, stages: list[float], learning_rate: float, max_steps: int
) -> None:
    """Online mirror descent: y ← y + α Q^π, π ∝ exp(y) (Perolat et al. 2021).

    At a temperature y ← (1 − α τ) y + α Q^π, whose fixed point is the soft equilibrium.
    """
    temperature = stages[-1] if stages else 0.0
    run.soft = bool(stages)
    run.advice = "raise `max_steps`, lower `learning_rate`, or method='exact'"
    prior = run.log_prior.expand_as(start)
    scores = torch.where(prior > -torch.inf, start.log().clamp_min(-700.0) - prior, 0.0)
    keep = max(0.0, 1 - learning_rate * temperature)
    rate = learning_rate if keep > 0 else 1 / temperature
    for _ in range(max_steps):
        policy = (prior + scores).softmax(-1)
        joint = flow(run.table, policy)
        kernel = run.table.kernel(joint)
        q, _ = worth(run.table, kernel, policy, temperature, run.log_prior)
        following = keep * scores + rate * q
        off = float(((prior + following).softmax(-1) - policy).abs().max())
        run.record(policy, temperature, off, joint, kernel)
        scores = following - following.amax(-1, keepdim=True)


def svi(run: Run, start: Tensor, stages: list[float], rounds: int, seed: int) -> None:
    """SVI on the model and guide of one agent amid the crowd, and the crowd's flow, in turn."""
    from vsg_ppl.guides.policy import TabularPolicy

    table, temperature = run.table, stages[-1]
    run.soft = True
    run.advice = "raise `max_steps` or `temperature`, or method='exact'"
    pyro.set_rng_seed(seed)
    with pyro.get_param_store().scope(), torch.enable_grad():
        frozen = table.shape()
        shift = torch.where(frozen.log_priors[0][0] > -torch.inf, frozen.log_priors[0][0], 0.0)
        logits = start.clamp_min(1e-12).log() - shift
        policy = TabularPolicy(frozen, table.agent, logits if table.horizon else logits[0])
        optim = PyroOptim(torch.optim.Adam, {"lr": 0.1})
        rows = start
        for k in range(rounds):
            with torch.no_grad():
                game = Facing(table, flow(table, rows))
            model = agent_model(game, table.agent, temperature=temperature)
            guide = agent_guide(game, table.agent, policy)
            steps = SVI(model, guide, optim, MarkovELBO(game.table()))
            for _ in range(ROUNDS):
                steps.step()
            for inner in optim.optim_objs.values():
                for group in inner.param_groups:
                    group["lr"] = 0.1 * 0.01 ** ((k + 1) / rounds)
            answer = policy.log_table().detach().exp()
            with torch.no_grad():
                run.record(answer, temperature, float((answer - rows).abs().max()))
            rows = answer

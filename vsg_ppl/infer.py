"""What do the others want? Their rewards, temperatures and policies, inferred from their play."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, get_args

import pyro
import torch
from pyro import poutine
from torch import Tensor

from vsg_ppl.errors import GameError
from vsg_ppl.fit import Fit, laplace, most_probable, nuts, svi
from vsg_ppl.game import Game
from vsg_ppl.inference import OpponentInference
from vsg_ppl.play_model import Others, PlayModel, RewardLike
from vsg_ppl.progress import no_progress, progress_bar
from vsg_ppl.table import Table

Method = Literal["laplace", "map", "svi", "nuts"]

POLICY_NUMBERS = 20_000_000
"""Probabilities of policies to keep at most: with large games the policies of fewer draws."""


EQUILIBRIA = 100
"""Draws at which equilibria are computed, for each of which a branch is followed."""


def infer_opponent(
    game: Game | Table,
    agent: str | Sequence[str],
    play: Any,
    *,
    reward: RewardLike | Mapping[str, RewardLike] = None,
    temperature: Any = None,
    others: Others = "observed",
    lapse: Any = 0.0,
    method: Method = "laplace",
    samples: int = 500,
    warmup: int = 300,
    guide: Any = None,
    steps: int = 2000,
    learning_rate: float = 0.02,
    restarts: int = 2,
    seed: int = 0,
    progress: bool = False,
) -> OpponentInference:
    """Infer what an agent wants, and how it acts, from what it was seen to do (§5.1.2).

    The agent is taken to respond softly to the others, ρ* ∝ u exp(Q_ψ/τ) (Prop. 5.9, Eq. 5), with
    a reward r_ψ that is not known. The likelihood of the observed actions under ρ*_ψ is exact: Q_ψ
    solves the soft Bellman equation, and is differentiated through it. Unknowns are everything that
    the reward model and the game's own program sample: a preference, a discount, a chance of
    slipping, and the temperature and the lapse if they have priors.

    Args:
        game: a game program, with or without unknowns, or its table.
        agent: whose wants to infer; several names for several agents at once.
        play: plays as of `simulate`, trajectories of (state, actions), or `Observations`.
        reward: the reward model, see `PlayModel`: a program ``reward(table)``, or "program",
            "welfare", "random", "action", "joint", "state".
        temperature: τ or its prior, see `PlayModel`.
        others: how the rest act: "observed", "equilibrium", policies, or a level of thinking.
        lapse: probability of acting by the prior, or its prior.
        method: "laplace", a normal posterior at the mode, in unconstrained coordinates; "map", the
            mode alone; "svi", a guide fitted by SVI, which takes ``guide`` (an AutoGuide class or a
            program), ``steps`` and ``learning_rate``; or "nuts", which takes ``warmup``. Where
            policies are decided and data few, posteriors of reward tables are skewed: "svi" and
            "nuts" tell more of them than "laplace".
        samples: draws from the posterior.
        restarts: further starts of the search for the mode, drawn from the priors.
        seed: of all that is random. Pyro's and torch's own generators are left as they are.
        progress: show a progress bar.

    Returns:
        Policies, rewards, posterior draws and how well they fit; see `OpponentInference`.

    Raises:
        GameError: arguments or observations that are not of this game.

    >>> from vsg_ppl.models import StagHunt
    >>> import vsg_ppl as vsg
    >>> hunt = StagHunt()
    >>> plays = vsg.nash(hunt, temperature=2.0).simulate(200, steps=10)
    >>> found = infer_opponent(hunt, "col", plays, reward="program")
    >>> round(found.temperatures["col"], 1)
    2.0
    """
    if method not in get_args(Method):
        raise GameError(f"the method is {method!r}: one of {', '.join(get_args(Method))}")
    for name, number in (("samples", samples), ("steps", steps), ("warmup", warmup)):
        if number < 1:
            raise GameError(f"{name} is {number}; at least 1 is needed")
    began = time.perf_counter()
    bar = progress_bar("infer") if progress and method == "svi" else no_progress()
    with _generators_kept(), bar as show:
        pyro.set_rng_seed(seed)
        model = PlayModel(
            game, agent, play, reward=reward, temperature=temperature, others=others, lapse=lapse
        )
        if method == "map":
            fit = most_probable(model, restarts=restarts)
        elif method == "laplace":
            fit = laplace(model, samples, restarts=restarts)
        elif method == "svi":
            fit = svi(
                model, samples, guide=guide, steps=steps, learning_rate=learning_rate, show=show
            )
        else:
            fit = nuts(model, samples, warmup=warmup, progress=progress)
        return _gathered(model, fit, method, began)


@contextmanager
def _generators_kept() -> Iterator[None]:
    """Puts back torch's, NumPy's and Python's generators, all of which Pyro seeds."""
    before = pyro.util.get_rng_state()
    try:
        yield
    finally:
        pyro.util.set_rng_state(before)


def _gathered(model: PlayModel, fit: Fit, method: str, began: float) -> OpponentInference:
    """The result: policies at the draws, their mean or the mode's."""
    count = len(next(iter(fit.draws.values()))) if fit.draws else 1
    numbers = sum(model.seen.counts[agent].numel() for agent in model.agents)
    few = EQUILIBRIA if model.others == "equilibrium" else count
    kept = max(1, min(count, few, POLICY_NUMBERS // numbers))
    places = torch.linspace(0, count - 1, kept).round().long().tolist()
    runs = [_at(model, {name: draws[k] for name, draws in fit.draws.items()}) for k in places]
    mode = _at(model, fit.mode) if fit.mode or not fit.draws else None
    policies, rewards, temperatures, spread = {}, {}, {}, {}
    for agent in model.agents:
        spread[agent] = torch.stack([run[0][agent] for run in runs])
        point = mode[0][agent] if mode is not None else spread[agent].mean(0)
        policies[agent] = point if model.table.horizon is not None else point[0]
        each = torch.stack([run[1][agent] for run in runs])
        rewards[agent] = mode[1][agent] if mode is not None else each.mean(0)
        taus = torch.stack([torch.as_tensor(run[2][agent]).double() for run in runs])
        temperatures[agent] = float(mode[2][agent] if mode is not None else taus.mean())
    return OpponentInference(
        game=None if isinstance(model.game, Table) else model.game,
        table=model.table,
        agents=model.agents,
        policies=policies,
        rewards=rewards,
        temperatures=temperatures,
        posterior=fit.draws,
        policy_draws=spread,
        counts={agent: model.seen.counts[agent] for agent in model.agents},
        log_evidence=fit.log_evidence,
        method=method,
        status=fit.status,
        message=fit.message,
        diagnostics=fit.diagnostics,
        seconds=time.perf_counter() - began,
    )


Run = tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Any]]


def _at(model: PlayModel, values: Mapping[str, Tensor]) -> Run:
    """Policies (H|1, S, A), rewards (H|1, S, A_1|1, ...) and temperatures at these unknowns."""
    with torch.no_grad(), poutine.block(), poutine.condition(data=dict(values)):
        table, temperatures = model.wants()
        logs = model.behaviour(table, temperatures)
    return (
        {agent: log[0].exp() for agent, log in logs.items()},
        {agent: table.rewards[table.number(agent)][0] for agent in model.agents},
        temperatures,
    )

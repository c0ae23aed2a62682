"""Mean-field equilibria: everybody plays a best response to the crowd that everybody makes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from math import isfinite
from typing import Any, Literal

import torch
from torch import Tensor

from vsg_ppl.crowd_flow import flow, worth
from vsg_ppl.errors import GameError
from vsg_ppl.game import Game
from vsg_ppl.mean_field_certificate import certify_crowd, read_policy
from vsg_ppl.mean_field_exact import Exact
from vsg_ppl.mean_field_iterations import algorithm4, fictitious_play, mirror_descent, svi
from vsg_ppl.mean_field_run import Run, Stop
from vsg_ppl.mean_field_table import MeanFieldTable, Unreached, mean_field_table
from vsg_ppl.progress import no_progress, progress_bar
from vsg_ppl.schedule import Annealing
from vsg_ppl.solution import Solution, shown

Method = Literal["exact", "algorithm4", "fictitious_play", "mirror_descent", "svi"]
METHODS = ("exact", "algorithm4", "fictitious_play", "mirror_descent", "svi")

STEPS = {
    "exact": 200_000,
    "algorithm4": 1000,
    "fictitious_play": 1000,
    "mirror_descent": 1000,
    "svi": 30,
}
"""Steps that a method takes by default, at most."""


def mean_field_nash(
    game: Game | MeanFieldTable,
    *,
    temperature: float | Annealing | Sequence[float] | None = None,
    method: Method = "exact",
    prior: Tensor | None = None,
    move_prior: int | None = None,
    learning_rate: float = 1.0,
    initial: Any = None,
    tolerance: float = 1e-8,
    max_steps: int | None = None,
    starts: int = 4,
    seed: int = 0,
    certify_every: int = 1,
    progress: bool = False,
) -> Solution:
    """A policy that is a best response to the crowd it makes, with its exploitability (§5.2).

    With a temperature, "best response" is the soft one of (11) and (12), π ∝ π̄ exp(Q/τ), and the
    result the relative-entropy-regularised equilibrium. Without, it is the equilibrium itself.

    Args:
        game: a mean-field game program, whose step takes the ``crowd``, or its table.
        temperature: τ in units of reward, or a schedule, `Annealing` (which stops at its target
            gap, of the exploitability) or a falling sequence.
        method: how to find it.

            * "exact": Newton's method on all times at once, the crowd differentiated through; at
              no temperature on the complementarity form, smoothed less and less, from several
              starts and at last along a lengthening horizon.
            * "algorithm4": the paper's Algorithm 4, soft backup and crowd's flow in turn. It needs
              a temperature, and converges where that is high enough.
            * "fictitious_play": best responses to the average crowd so far.
            * "mirror_descent": online mirror descent, π ∝ u exp(Σ α Q).
            * "svi": `pyro.infer.SVI` on the agent's model and guide amid the crowd, and the crowd's
              flow, in turn. It needs a temperature.
        prior: π̄(a|s) of (11) and (12), (S, A) or (H, S, A); the game's own by default.
        move_prior: Algorithm 4 moves the prior to the last policy every so many iterations, which
            is prior descent: its fixed points are equilibria without regularisation.
        learning_rate: α of mirror descent.
        initial: the policy to start from, probabilities or a program; the prior by default.
        tolerance: on the exploitability, with a temperature on the regularised one.
        max_steps: at each temperature; by default what suits the method.
        starts: starts from random policies that the exact method tries where the first fails.
        seed: of these.
        certify_every: iterations between two values of the exploitability in the history.
        progress: show a progress bar.

    Returns:
        The solution. ``table`` is the game of one agent amid the crowd, ``crowd`` its law, and the
        certificate a `MeanFieldCertificate`. Ctrl-C returns the best policy so far.

    Raises:
        GameError: no mean-field game, or bad arguments.

    >>> from vsg_ppl.models import BeachBar
    >>> solution = mean_field_nash(BeachBar())
    >>> solution.solved, solution.certificate.exploitability < 1e-8
    (True, True)
    """
    _check(method, temperature, prior, move_prior, learning_rate, tolerance, max_steps)
    began = time.perf_counter()
    bar = progress_bar("mean field") if progress else no_progress()
    with torch.no_grad(), bar as show:
        table = mean_field_table(game)
        while True:
            run = Run(table, tolerance, certify_every, show)
            try:
                _solve(
                    run, method, temperature, prior, move_prior, learning_rate, initial,
                    max_steps or STEPS[method], starts, seed,
                )  # fmt: skip
            except Unreached as found:  # a crowd on the way leads where no crowd has led before
                more = torch.cat([table.states.values, found.rows]).unique(dim=0)
                table = mean_field_table(table.game, more=more)
                continue
            except Stop:
                pass
            except KeyboardInterrupt:
                run.status = "interrupted"
            break
        return _solution(game, run, time.perf_counter() - began)


def _solve(
    run: Run,
    method: Method,
    temperature: float | Annealing | Sequence[float] | None,
    prior: Tensor | None,
    move_prior: int | None,
    learning_rate: float,
    initial: Any,
    max_steps: int,
    starts: int,
    seed: int,
) -> None:
    table = run.table
    if prior is not None:
        run.log_prior = _log_prior(table, prior)
    start = table.prior if prior is None else run.log_prior.exp().expand_as(table.prior)
    if initial is not None:
        start = read_policy(table, initial)
    stages = _stages(table, temperature)
    if isinstance(temperature, Annealing) and temperature.target_gap is not None:
        run.aim(temperature.target_gap)
    if method == "exact":
        Exact(run, start, max_steps, starts, seed).solve(stages)
    elif method == "algorithm4":
        algorithm4(run, start, stages, move_prior, max_steps)
    elif method == "fictitious_play":
        fictitious_play(run, start, stages, max_steps)
    elif method == "mirror_descent":
        mirror_descent(run, start, stages, learning_rate, max_steps)
    else:
        svi(run, start, stages, max_steps, seed)


def _solution(game: Any, run: Run, seconds: float) -> Solution:
    table, policy = run.table, run.best_policy()
    temperature = run.best_temperature()
    joint = flow(table.programmed(), policy)
    frozen = table.at(joint)
    prior = None if run.log_prior is table.log_prior else run.log_prior.exp().expand_as(policy)
    certificate = certify_crowd(table, joint, policy, temperature or None, prior)
    _, values = worth(table, table.kernel(joint), policy)
    run.conclude(certificate)
    return Solution(
        game=None if isinstance(game, MeanFieldTable) else game,
        table=frozen,
        concept="mean_field",
        policies={table.agent: shown(frozen, policy[None])},
        values={table.agent: shown(frozen, values[None])},
        certificate=certificate,
        temperature=temperature,
        factorisation="marginal",
        iterations=run.iterations,
        seconds=seconds,
        status=run.status,
        message=run.message,
        history=run.history,
        crowd=shown(frozen, joint[None]),
    )


def _log_prior(table: MeanFieldTable, prior: Tensor) -> Tensor:
    rows = read_policy(table, prior)
    return torch.where(table.log_prior > -torch.inf, rows.log(), -torch.inf)


def _stages(
    table: MeanFieldTable, temperature: float | Annealing | Sequence[float] | None
) -> list[float]:
    """The temperatures to go through; none for the equilibrium itself."""
    if temperature is None:
        return []
    if isinstance(temperature, Annealing):
        rewards = table.kernel(table.even()).rewards
        spread = float(rewards.amax() - rewards.amin())
        return list(temperature.stages(spread or 1.0))
    if isinstance(temperature, Sequence):
        return [float(t) for t in temperature]
    return [float(temperature)]


def _check(
    method: str,
    temperature: Any,
    prior: Tensor | None,
    move_prior: int | None,
    learning_rate: float,
    tolerance: float,
    max_steps: int | None,
) -> None:
    if method not in METHODS:
        raise GameError(f"method '{method}'", hint=f"one of {', '.join(METHODS)}.")
    if not isinstance(temperature, Annealing) and temperature is not None:
        listed = list(temperature) if isinstance(temperature, Sequence) else [temperature]
        if not listed or not all(isfinite(t) and t > 0 for t in listed):
            raise GameError(f"the temperature is {temperature}; it must be positive")
        if any(after > before for before, after in zip(listed, listed[1:], strict=False)):
            raise GameError(f"the temperatures {temperature} do not fall")
    if isinstance(temperature, Annealing | Sequence) and method not in ("exact", "algorithm4"):
        raise GameError(
            f'method "{method}" takes one temperature', hint='a number; or "exact", "algorithm4".'
        )
    if temperature is None and method in ("algorithm4", "svi"):
        raise GameError(
            f'method "{method}" climbs a soft objective, and needs a temperature',
            hint='temperature=0.1; or method="exact" for the equilibrium itself.',
        )
    if prior is not None and method not in ("exact", "algorithm4"):
        raise GameError(f'method "{method}" takes no prior but the game\'s own')
    if prior is not None and temperature is None:
        raise GameError("a prior counts at a temperature only", hint="temperature=0.1.")
    if move_prior is not None:
        if method != "algorithm4":
            raise GameError(f'method "{method}" does not move its prior', hint='"algorithm4".')
        if move_prior < 1:
            raise GameError(f"move_prior is {move_prior}; it counts iterations, 1 or more")
    if not learning_rate > 0:
        raise GameError(f"the learning rate is {learning_rate:g}; it must be positive")
    if not tolerance > 0:
        raise GameError(f"the tolerance is {tolerance:g}; it must be positive")
    if max_steps is not None and max_steps < 1:
        raise GameError(f"max_steps is {max_steps}; at least 1 is needed")

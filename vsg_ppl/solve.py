"""One call for any finite game: it looks at the game, picks concept and method, and says why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from inspect import signature
from typing import Any, Literal

from vsg_ppl.correlated import correlated
from vsg_ppl.errors import GameError
from vsg_ppl.exact_nash import exact_nash
from vsg_ppl.game import Game, is_mean_field
from vsg_ppl.game_arrays import fits_path
from vsg_ppl.kinds import kind
from vsg_ppl.logit_path import logit_path
from vsg_ppl.mean_field import mean_field_nash
from vsg_ppl.mean_field_table import MeanFieldTable
from vsg_ppl.nash import nash, random_policies
from vsg_ppl.potential_nash import climbs_together, potential_nash
from vsg_ppl.schedule import Annealing
from vsg_ppl.solution import Solution
from vsg_ppl.stagewise import fits
from vsg_ppl.table import Table
from vsg_ppl.tabulate import tabulate
from vsg_ppl.zero_sum import zero_sum

Concept = Literal["nash", "correlated", "mean_field"]

SOLVERS: dict[str, tuple[Concept, Callable[..., Solution]]] = {
    "zero_sum": ("nash", zero_sum),
    "potential_nash": ("nash", potential_nash),
    "exact_nash": ("nash", exact_nash),
    "nash": ("nash", nash),
    "logit_path": ("nash", logit_path),
    "correlated": ("correlated", correlated),
    "mean_field_nash": ("mean_field", mean_field_nash),
}
"""Methods by name, with the concept of what they find."""


def solve(
    game: Game | Table | MeanFieldTable,
    *,
    concept: Concept | None = None,
    method: str | None = None,
    target_gap: float | None = None,
    seed: int | None = None,
    progress: bool = False,
    **options: Any,
) -> Solution:
    """An equilibrium of a finite game, of the kind and by the method that suit it.

    What is chosen, and why, is the end of the solution's message:

    * a step that takes the ``crowd``: `mean_field_nash`;
    * a public signal, or an option that only `correlated` has: `correlated`;
    * a temperature, or an option that only `nash` has, or a batch of games: `nash`;
    * a seed: `exact_nash`, from random policies;
    * rewards of two agents that sum to a constant: `zero_sum`;
    * one agent, identical interests, or a potential in every state and states that no action
      moves: `potential_nash`;
    * anything else: `exact_nash`, or `nash` where that is too large; where `exact_nash` does not
      arrive, `nash` is tried too and the better certificate wins.

    Args:
        game: a game program, or its table.
        concept: ``"nash"``, ``"correlated"`` or ``"mean_field"``, where it is to be forced. Nash
            equilibria of a game with a signal may answer it.
        method: the solver by name, one of `SOLVERS`.
        target_gap: on the gap of the certificate, in units of reward; the solver's own by default.
        seed: start from random policies, which may lead to another equilibrium.
        progress: show a progress bar.
        options: are handed to the solver, such as ``temperature=`` or ``objective=``.

    Raises:
        GameError: another concept or method, one that does not fit the game, or an option that the
            solver does not have.

    >>> from vsg_ppl.models import MatchingPennies
    >>> print(solve(MatchingPennies()).message)
    value 0 to 'row', duality gap 0; by zero_sum, as two agents' rewards sum to a constant
    """
    crowd = isinstance(game, MeanFieldTable) or (
        not isinstance(game, Table) and hasattr(game, "step") and is_mean_field(game)
    )
    table: Any = game if crowd or isinstance(game, Table) else tabulate(game)  # type: ignore[arg-type]
    name, why = _choose(table, crowd, concept, method, options, seed)
    options = {**options, **_translated(name, table, target_gap, seed, options.get("temperature"))}
    # `correlated` makes a program of what it finds
    found = _run(name, game if name == "correlated" else table, progress, options)
    if name == "exact_nash" and method is None and found.status == "not converged":
        cooling = None if target_gap is None else Annealing(target_gap=target_gap)
        again = nash(table, temperature=cooling, progress=progress)
        if again.certificate.largest_gap < found.certificate.largest_gap:
            found, name, why = again, "nash", f"{why}, and `exact_nash` did not arrive"
    message = f"{found.message}; by {name}, {why}"
    if name != "correlated" and not isinstance(game, Table | MeanFieldTable):
        found = replace(found, game=game)
    return replace(found, message=message)


def _choose(
    table: Any,
    crowd: bool,
    concept: str | None,
    method: str | None,
    options: dict[str, Any],
    seed: int | None,
) -> tuple[str, str]:
    """The solver's name, and why it is taken."""
    if method is not None and method not in SOLVERS:
        raise GameError(f"the method is {method!r}", hint=f"one of {', '.join(SOLVERS)}.")
    if concept not in (None, "nash", "correlated", "mean_field"):
        raise GameError(f"the concept is {concept!r}", hint="nash, correlated or mean_field.")
    if method is not None:
        kept = SOLVERS[method][0]
        if concept not in (None, kept):
            raise GameError(f"{method} finds a {kept} equilibrium, and {concept} is wanted")
        if crowd != (kept == "mean_field"):
            _refuse(table, crowd)
        return method, "as asked for"
    if crowd or concept == "mean_field":
        if crowd and concept in (None, "mean_field"):
            return "mean_field_nash", "as the step takes the crowd"
        _refuse(table, crowd)
    if concept == "correlated" or (concept is None and table.signals):
        return "correlated", "as it has a public signal" if table.signals else "as asked for"
    if concept is None and (own := {"objective", "signals", "signal"} & set(options)):
        return "correlated", f"as `{min(own)}` is given"
    return _nash_method(table, options, seed)


def _refuse(table: Any, crowd: bool) -> None:
    name = table.name if isinstance(table, Table) else "the game"
    if crowd:
        raise GameError(
            f"{name} is a mean-field game", hint="`concept='mean_field'`, or none at all."
        )
    raise GameError(
        f"{name} is not a mean-field game: its step takes no crowd", hint="`concept='nash'`."
    )


def _nash_method(table: Table, options: dict[str, Any], seed: int | None) -> tuple[str, str]:
    only_nash = set(_accepted(nash)) - set(_accepted(exact_nash)) - set(_accepted(zero_sum))
    if options.get("temperature") is not None:
        return "nash", "as a temperature is given"
    if given := sorted(only_nash & set(options)):
        return "nash", f"as `{given[0]}` is given"
    if table.batched:
        return "nash", "as it is a batch of games"
    exact = fits(table) or fits_path(table)
    if seed is not None and exact:
        return "exact_nash", "as a seed is given"
    found = kind(table)
    if found.zero_sum:
        return "zero_sum", "as two agents' rewards sum to a constant"
    if found.potential and climbs_together(table):
        if len(table.agents) == 1:
            return "potential_nash", "as it has one agent"
        shared = (
            "as all agents want the same"
            if found.identical_interest
            else "as it has a potential in every state"
        )
        return "potential_nash", shared
    what = f"as it is a {'Markov potential' if found.potential else 'general-sum'} game"
    if exact:
        return "exact_nash", what
    return "nash", f"{what}, too large for `exact_nash`"


def _translated(
    name: str, table: Any, target_gap: float | None, seed: int | None, temperature: Any
) -> dict[str, Any]:
    """The target and the seed in the solver's own words."""
    words: dict[str, Any] = {}
    if target_gap is not None:
        if not target_gap > 0:
            raise GameError(f"the target gap is {target_gap:g}; it must be positive")
        if name in ("exact_nash", "mean_field_nash"):
            words["tolerance"] = target_gap
        elif name in ("zero_sum", "correlated"):
            words["target_gap"] = target_gap
        elif name == "nash":
            words["temperature"] = _until(target_gap, temperature)
        elif name == "logit_path":
            raise GameError(
                "logit_path goes to a temperature, and no `target_gap` stops it",
                hint="leave `target_gap` out, or another `method`.",
            )
    if seed is not None:
        if name in ("exact_nash", "mean_field_nash"):
            words["seed"] = seed
        elif name == "nash":
            words["initial"] = random_policies(table, seed)
        else:
            raise GameError(f"{name} does not start from policies", hint="leave `seed` out.")
    return words


def _until(target_gap: float, temperature: Any) -> Annealing:
    """A temperature that falls until the gap is small enough."""
    if temperature is None:
        return Annealing(target_gap=target_gap)
    if isinstance(temperature, Annealing):
        return replace(temperature, target_gap=target_gap)
    raise GameError(
        f"`target_gap` stops a temperature that falls, and {temperature} is a fixed one",
        hint="leave one of the two out, or `temperature=Annealing(start=...)`.",
    )


def _accepted(solver: Callable[..., Any]) -> list[str]:
    return [name for name in signature(solver).parameters if name not in ("game", "progress")]


def _with_option(option: str) -> str | None:
    """A solver of any game among agents that has the option."""
    general = ("exact_nash", "nash", "correlated")
    return next((name for name in general if option in _accepted(SOLVERS[name][1])), None)


def _run(name: str, table: Any, progress: bool, options: dict[str, Any]) -> Solution:
    solver = SOLVERS[name][1]
    accepted = _accepted(solver)
    for option in options:
        if option not in accepted:
            own = f"{', '.join(accepted)}." if accepted else "none: it has no options."
            other = None if name == "mean_field_nash" else _with_option(option)
            if other is not None:
                own = f"`method='{other}'`, which has it" + (f"; or {own}" if accepted else ".")
            raise GameError(f"{name} has no option {option!r}", hint=own)
    if "progress" in signature(solver).parameters:
        options = {**options, "progress": progress}
    return solver(table, **options)

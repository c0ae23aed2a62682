"""Figure 1 as Pyro programs: one agent's graphical model, and its guide."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from vsg_ppl.errors import GameError
from vsg_ppl.game import Game, Limited, agents, takes, title
from vsg_ppl.handlers.focus import focus
from vsg_ppl.handlers.play import Policy, play
from vsg_ppl.unroll import unroll

PolicyLike = Policy | Tensor


class AgentModel:
    """The Pyro model of one agent (Def. 4.1, Fig. 1); made by `agent_model`.

    Attributes:
        game: the game.
        agent: whose optimality counts.
        others: the policies π^{-i} of the other agents, by name.
        temperature: τ; the factor is exp(r / τ).
        horizon: number of decisions if it is not the game's.
    """

    def __init__(
        self,
        game: Game,
        agent: str,
        others: Mapping[str, Policy],
        temperature: float,
        horizon: int | None,
    ) -> None:
        self.game, self.agent, self.others = game, agent, dict(others)
        self.temperature, self.horizon = temperature, horizon
        focused = focus(agent, temperature)(unroll(game, horizon))
        self._program = play(self.others, still=True)(focused)

    def __call__(self) -> Any:
        """Run the program."""
        return self._program()


class AgentGuide:
    """The guide of one agent: q(a, s) of §4; made by `agent_guide`.

    Attributes:
        game: the game.
        agent: whose guide it is.
        policy: π^i, at the agent's action sites.
        opponents: ρ, at the other agents' action sites, by name.
        horizon: number of decisions if it is not the game's.
    """

    def __init__(
        self,
        game: Game,
        agent: str,
        policy: Policy,
        opponents: Mapping[str, Policy],
        horizon: int | None,
    ) -> None:
        self.game, self.agent, self.policy = game, agent, policy
        self.opponents, self.horizon = dict(opponents), horizon
        policies = {**self.opponents, agent: policy}
        self._program = play(policies)(focus(None)(unroll(game, horizon)))

    def __call__(self) -> Any:
        """Run the program."""
        return self._program()


def agent_model(
    game: Game,
    agent: str,
    others: Mapping[str, PolicyLike] | None = None,
    *,
    temperature: float = 1.0,
    horizon: int | None = None,
) -> AgentModel:
    """The graphical model of one agent as an ordinary Pyro model (Def. 4.1, Fig. 1).

    The others act by ``others``, the agent by its prior, and only the agent's optimality counts.
    Sites are indexed by time: ``row_0``, ``col_0``, ``O_row_0``, and for the states whatever sites
    the program draws. `poutine.trace`, `Predictive`, `Trace_ELBO` and MCMC work on it.

    Args:
        game: the game.
        agent: whose model it is.
        others: policies of the other agents, as programs or as tables of probabilities, shape
            (S, A) or (H, S, A). An agent that is missing acts by its prior. Their parameters are
            hidden from SVI and get no gradient: whoever climbs this ELBO does not move the others.
        temperature: τ > 0, in units of reward.
        horizon: number of decisions, by default the game's; a discounted game without a horizon
            runs for a random number of steps (see `unroll`).

    Raises:
        GameError: the agent or a policy is not of this game.

    >>> from pyro import poutine
    >>> from vsg_ppl.models import PrisonersDilemma
    >>> trace = poutine.trace(agent_model(PrisonersDilemma(), "row")).get_trace()
    >>> [name for name in trace.nodes if not name.startswith("_")]
    ['row_0', 'col_0', 'O_row_0']
    """
    _check(game, agent, temperature)
    rest = [name for name in agents(game) if name != agent]
    return AgentModel(
        game, agent, as_policies(game, others or {}, rest, horizon), float(temperature), horizon
    )


def agent_guide(
    game: Game,
    agent: str,
    policy: PolicyLike,
    opponents: Mapping[str, PolicyLike] | None = None,
    *,
    horizon: int | None = None,
) -> AgentGuide:
    """The guide q(a, s) = P(s_0) Π ρ(a^{-i}|s) π^i(a^i|s[, a^{-i}]) P(s'|s, a) of §4.

    It keeps the game's own dynamics, which therefore cancel against the model's: the agent chooses
    its actions, not its luck.

    Args:
        game: the game.
        agent: whose guide it is.
        policy: π^i, a program or a table. A program that takes ``seen`` is the conditional policy.
        opponents: ρ, its model of each other agent. One that is missing is modelled by its prior.
        horizon: number of decisions, by default the game's.

    >>> import torch
    >>> from pyro import poutine
    >>> from vsg_ppl.models import PrisonersDilemma
    >>> guide = agent_guide(PrisonersDilemma(), "row", torch.tensor([[0.1, 0.9]]))
    >>> trace = poutine.trace(guide).get_trace()
    >>> [name for name in trace.nodes if not name.startswith("_")]
    ['row_0', 'col_0']
    """
    _check(game, agent, 1.0)
    rest = [name for name in agents(game) if name != agent]
    mine = as_policies(game, {agent: policy}, [agent], horizon)[agent]
    theirs = as_policies(game, opponents or {}, rest, horizon)
    if takes(mine, "seen") and len(theirs) < len(rest):
        with suppress(GameError):  # a game without a table: its policy must say what it looks at
            theirs = {**_priors(game, rest, horizon), **theirs}
    return AgentGuide(game, agent, mine, theirs, horizon)


def as_policies(
    game: Game,
    given: Mapping[str, PolicyLike],
    allowed: list[str],
    horizon: int | None = None,
) -> dict[str, Policy]:
    """Policies as programs: tables of probabilities become fixed policies.

    ``horizon`` takes the place of the game's, for the shape of the tables.
    """
    from vsg_ppl.guides.policy import FixedPolicy
    from vsg_ppl.tabulate import tabulate

    unknown = [name for name in given if name not in allowed]
    if unknown:
        raise GameError(
            f"a policy is given for '{unknown[0]}', but the policies wanted here are those of "
            + (", ".join(f"'{name}'" for name in allowed) or "nobody")
        )
    if not any(isinstance(policy, Tensor) for policy in given.values()):
        return dict(given)  # type: ignore[arg-type]
    # a game without end keeps its states, whatever part of it is played
    ends = getattr(game, "horizon", None) is not None
    table = tabulate(game if horizon is None or not ends else Limited(game, horizon))
    return {
        name: FixedPolicy(table, name, policy) if isinstance(policy, Tensor) else policy
        for name, policy in given.items()
    }


def _priors(game: Game, names: list[str], horizon: int | None) -> dict[str, Policy]:
    """The agents' priors as policies, to run before the step does."""
    from vsg_ppl.guides.policy import FixedPolicy
    from vsg_ppl.tabulate import tabulate

    table = tabulate(game if horizon is None else Limited(game, horizon))
    laws = dict(zip(table.agents, table.log_priors, strict=True))
    return {name: FixedPolicy(table, name, laws[name][0].exp()) for name in names}


def _check(game: Game, agent: str, temperature: float | Callable[..., float]) -> None:
    if agent not in agents(game):
        raise GameError(
            f"{title(game)} has no agent '{agent}'",
            hint=f"one of {', '.join(agents(game))}.",
        )
    if not torch.as_tensor(temperature, dtype=torch.float64) > 0:
        raise GameError(f"the temperature is {temperature}; it must be positive")

"""What learners give back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vsg_ppl.certificate import Certificate, certify
from vsg_ppl.errors import GameError
from vsg_ppl.finite_view import view

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Policies = Mapping[str, Callable[[Tensor], Tensor]]
"""What each agent does, of what it sees."""

LAST = 10
"""Episodes at the end over which success is judged."""


@dataclass(frozen=True, eq=False)
class Learning:
    """Learning curves of K experiments, and what the agents learnt.

    Attributes:
        game: the program.
        method: that learnt.
        agents: names, in the order of the rewards.
        rewards: mean reward of a step, by episode, experiment and agent, (E, K, N).
        policies: what each agent does: actions (K, D) in (−1, 1), or vectors with a single 1 for
            those of a finite set, of what it sees, (K, parts). With n K rows it acts n times in
            each experiment; row r is of experiment r % K.
        seconds: of CPU, for all experiments.
        watched: what was looked at on the way, by name: a number for each look and experiment,
            (W, K).
        watched_at: episodes after which it was looked at.
        probabilities: of finite actions: what each agent executes in each experiment, (K, B, A), of
            what it sees, (B, parts), as `with_available` ends it.
    """

    game: Any
    method: str
    agents: tuple[str, ...]
    rewards: Tensor
    policies: Policies = field(default_factory=dict)
    seconds: float = 0.0
    watched: Mapping[str, Tensor] = field(default_factory=dict)
    watched_at: tuple[int, ...] = ()
    probabilities: Mapping[str, Callable[[Tensor], Tensor]] = field(default_factory=dict)

    def __repr__(self) -> str:
        episodes, plays, _ = self.rewards.shape
        last = self.rewards[-LAST:].mean((0, 2)).median()
        return (
            f"Learning({self.method}: {plays} × {episodes} episodes; mean reward of the last "
            f"{min(LAST, episodes)}, median {float(last):.3g})"
        )

    def named(self, method: str) -> Learning:
        """The same under another name of the method."""
        return replace(self, method=method)

    def final(self) -> Tensor:
        """Mean reward of a step over the last `LAST` episodes and all agents, (K,)."""
        return self.rewards[-LAST:].mean((0, 2))

    def tables(self, play: int = 0) -> dict[str, Tensor]:
        """What is executed in one experiment, in every state of a finite game.

        Args:
            play: number of the experiment.

        Returns:
            Probabilities of every agent, (S, A), or (H, S, A) for a game with a horizon, in double
            precision.

        Raises:
            GameError: there is no such experiment, the game is a simulator, actions are not finite,
                or the game has no table.
        """
        plays = self.rewards.shape[1]
        if not 0 <= play < plays:
            raise GameError(f"there is no experiment {play}", hint=f"0 to {plays - 1}.")
        need_program(self)
        if not self.probabilities:
            raise GameError(
                f"what {self.method} learnt are not probabilities of finite actions",
                hint="`vsg.certify_by_search(learning)`, a lower bound.",
            )
        seen = view(self.game, self.agents)
        found = {
            agent: torch.stack([law(now)[play].double() for now in seen.everywhere(agent)])
            for agent, law in self.probabilities.items()
        }
        found = {agent: law / law.sum(-1, keepdim=True) for agent, law in found.items()}
        return {agent: law if seen.table.horizon else law[0] for agent, law in found.items()}

    def certify(self, play: int = 0, temperature: float | None = None) -> Certificate:
        """How far what one experiment's agents execute is from a Nash equilibrium, exactly.

        Args:
            play: number of the experiment.
            temperature: τ, to put the bound of Theorem 4.2 beside the gap.

        Raises:
            GameError: as `tables`.

        >>> from vsg_ppl.mai import mai
        >>> from vsg_ppl.models import PrisonersDilemma
        >>> found = mai(PrisonersDilemma(), episodes=20, plays=2)
        >>> found.certify(play=1).nash_gap >= 0
        True
        """
        return certify(self.game, self.tables(play), temperature)

    def plot(self, path: str | Path | None = None) -> Figure:
        """The learning curve; written to ``path`` if given. See `plot_learning`."""
        from vsg_ppl.plot_learning import plot_learning

        return plot_learning(self, path)

    def success(self, above: float) -> dict[str, float]:
        """How many experiments end above a reward: the rate, with a 95 % interval.

        The interval is E. B. Wilson's (1927, "Probable inference, the law of succession, and
        statistical inference").

        >>> import torch
        >>> found = Learning(None, "mai", ("a",), torch.tensor([[[1.0], [3.0]]]))
        >>> {key: round(value, 2) for key, value in found.success(2.0).items()}
        {'rate': 0.5, 'low': 0.09, 'high': 0.91}
        """
        plays = self.rewards.shape[1]
        rate, z = float((self.final() > above).double().mean()), 1.959963984540054
        middle = (rate + z * z / (2 * plays)) / (1 + z * z / plays)
        reach = rate * (1 - rate) / plays + z * z / (4 * plays * plays)
        off = z / (1 + z * z / plays) * float(reach) ** 0.5
        return {"rate": rate, "low": max(0.0, middle - off), "high": min(1.0, middle + off)}


def need_program(found: Learning) -> None:
    """Raise `GameError` if learners played an environment, which nothing here can certify."""
    game = found.game
    made = type(game).__module__ == "vsg_ppl.simulator"  # by `from_pettingzoo`
    environment = hasattr(game, "possible_agents") or callable(game)
    if made or (environment and not hasattr(game, "initial")):
        raise GameError(
            f"{found.method} learnt on a simulator, which cannot be certified: it is no program",
            hint="a game program of the same rules; `learning.rewards` for what was paid.",
        )

"""What learners give back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
        policies: what each agent does: actions (K, D) in (−1, 1), of what it sees, (K, parts).
        seconds: of CPU, for all experiments.
    """

    game: Any
    method: str
    agents: tuple[str, ...]
    rewards: Tensor
    policies: Mapping[str, Callable[[Tensor], Tensor]] = field(default_factory=dict)
    seconds: float = 0.0

    def __repr__(self) -> str:
        episodes, plays, _ = self.rewards.shape
        last = self.rewards[-LAST:].mean((0, 2)).median()
        return (
            f"Learning({self.method}: {plays} × {episodes} episodes; mean reward of the last "
            f"{min(LAST, episodes)}, median {float(last):.3g})"
        )

    def final(self) -> Tensor:
        """Mean reward of a step over the last `LAST` episodes and all agents, (K,)."""
        return self.rewards[-LAST:].mean((0, 2))

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

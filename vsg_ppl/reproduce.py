"""The paper's experiments, run again: Figure 2a."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from vsg_ppl.ddpg import iddpg, maddpg
from vsg_ppl.errors import GameError
from vsg_ppl.learning import Learning
from vsg_ppl.mai import mai
from vsg_ppl.masql import masql
from vsg_ppl.models.differential import Differential
from vsg_ppl.plot_learning import plot_learning
from vsg_ppl.sac import sac


def fading(episode: int) -> float:
    """σ of the DDPGs' noise. At a constant .1 it alone costs 2 at the narrow hill's top."""
    return float(0.1 * 0.98**episode)


METHODS: dict[str, Callable[..., Learning]] = {
    "mai": mai,
    "masql": masql,
    "maddpg": partial(maddpg, noise=fading),
    "iddpg": partial(iddpg, noise=fading),
    "sac": sac,
}
"""What may be compared, by name; MASQL takes ten times as long as the others."""

ABOVE = 9.0
"""A mean reward above this, over the last episodes, counts as the narrow hill found."""

STARTS: dict[str, Any] = {"uniform": "uniform", "bad": -0.5, "networks": "networks"}
"""How learners begin: with even random steps; near the top of the wide hill; as drawn."""


@dataclass(frozen=True)
class Figure2a:
    """Learning the differential game.

    Attributes:
        methods: of `METHODS`, in the order of the picture.
        start: of `STARTS`.
        seeds: experiments of each method.
        episodes: of each experiment.
        seed: of the stream of random numbers.
        width: of the wide hill; 3 as printed, 3**0.5 in the public code.

    Raises:
        GameError: a method or a start that there is not.
    """

    methods: tuple[str, ...] = tuple(METHODS)
    start: str = "uniform"
    seeds: int = 24
    episodes: int = 200
    seed: int = 0
    width: float = 3.0

    def __post_init__(self) -> None:
        for method in self.methods:
            if method not in METHODS:
                raise GameError(f"the method is '{method}'", hint=f"one of {', '.join(METHODS)}.")
        if self.start not in STARTS:
            raise GameError(f"the start is '{self.start}'", hint=f"one of {', '.join(STARTS)}.")

    def run(self, *, progress: bool = False) -> list[Learning]:
        """Learn by each method, all experiments of one side by side.

        >>> figure = Figure2a(methods=("mai", "sac"), seeds=1, episodes=1)
        >>> [learning.method for learning in figure.run()]
        ['mai', 'sac']
        """
        game = Differential(width=self.width)
        return [
            METHODS[method](
                game,
                episodes=self.episodes,
                plays=self.seeds,
                seed=self.seed,
                start=STARTS[self.start],
                progress=progress,
            )
            for method in self.methods
        ]

    def summary(self, learnings: Sequence[Learning]) -> dict[str, Any]:
        """The settings, and for each method how many experiments succeeded, in JSON values."""
        results = {}
        for learning in learnings:
            final = learning.final().double()
            results[learning.method] = {
                "success": learning.success(ABOVE),
                "final_median": float(final.median()),
                "final_low": float(final.quantile(0.1)),
                "final_high": float(final.quantile(0.9)),
                "cpu_seconds_per_experiment": learning.seconds / self.seeds,
            }
        return {"settings": asdict(self), "above": ABOVE, "results": results}

    def write(self, learnings: Sequence[Learning], folder: Path) -> list[str]:
        """Write curves, settings and results, and the picture; the names of the files."""
        with (folder / "curves.csv").open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(["method", "experiment", "episode", "agent", "reward"])
            for learning in learnings:
                for episode, plays in enumerate(learning.rewards.tolist()):
                    for play, paid in enumerate(plays):
                        for agent, reward in zip(learning.agents, paid, strict=True):
                            rows.writerow([learning.method, play, episode + 1, agent, reward])
        text = json.dumps(self.summary(learnings), indent=2)
        (folder / "figure-2a.json").write_text(text + "\n", encoding="utf-8")
        written = ["curves.csv", "figure-2a.json"]
        for name in ("figure-2a.png", "figure-2a.svg"):
            plot_learning(learnings, folder / name, above=ABOVE)
            written.append(name)
        return written

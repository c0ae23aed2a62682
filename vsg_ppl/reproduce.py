"""The paper's experiments, run again: what all of them have in common."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from shutil import rmtree
from typing import Any, ClassVar

from vsg_ppl.ddpg import NOISE
from vsg_ppl.errors import GameError
from vsg_ppl.learning import Learning
from vsg_ppl.mai import mai
from vsg_ppl.methods import METHODS
from vsg_ppl.plot_learning import plot_panels
from vsg_ppl.row_files import write_rows

VARIANTS: dict[str, dict[str, Any]] = {
    "mai-exclusive": {"divergence": "exclusive"},
    "mai-model-1": {"model_temperature": 1.0},
    "mai-marginal": {"conditional": False},
    "mai-observed": {"opponents": "observed"},
    "mai-known": {"opponents": "known"},
    "mai-inferred": {"opponents": "inferred"},
    "mai-ahead": {"gamma": 0.95},
    "mai-equation-9": {"gamma": 0.95, "soft_value": True},
}
"""MAI changed in one thing each: opponent models of `mai`, and critics that look ahead."""

ALL: dict[str, Callable[..., Learning]] = {
    **METHODS,
    **{name: partial(mai, **options) for name, options in VARIANTS.items()},
}

CHECKPOINTS = "checkpoints"
"""Folder of what is kept while methods learn."""

SCHEDULES = ("falling", "constant")
"""Temperatures of `Cooling` and noise that fades, or their last and first values all the time."""


def fading(episode: int) -> float:
    """σ of the DDPGs' noise. At a constant .1 it alone costs 2 at the narrow hill's top."""
    return float(NOISE * 0.98**episode)


def options_of(method: str, schedule: str, last: float) -> dict[str, Any]:
    """What a schedule means to a method.

    Args:
        method: of `ALL`.
        schedule: of `SCHEDULES`.
        last: temperature that `constant` has throughout.

    >>> options_of("iddpg", "constant", 0.1), options_of("sac", "falling", 0.1)
    ({'noise': 0.1}, {})
    """
    if method in ("maddpg", "iddpg"):
        return {"noise": fading if schedule == "falling" else NOISE}
    return {} if schedule == "falling" else {"temperature": last}


@dataclass(frozen=True)
class Panel:
    """What was learnt under one condition.

    Attributes:
        condition: by name, as "start".
        learnings: by each method.
        title: what sets it apart from the others, in words.
    """

    condition: Mapping[str, Any]
    learnings: Sequence[Learning]
    title: str = ""


@dataclass(frozen=True, kw_only=True)
class Reproduction(ABC):
    """An experiment of the paper: methods, conditions, and many seeds of each.

    Attributes:
        methods: of `METHODS` and `VARIANTS`, in the order of the picture.
        seeds: experiments of each method, computed side by side.
        episodes: of each experiment.
        seed: of the stream of random numbers.

    Raises:
        GameError: a method that there is not.
    """

    name: ClassVar[str]

    methods: tuple[str, ...] = tuple(METHODS)
    seeds: int = 24
    episodes: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        for method in self.methods:
            if method not in ALL:
                raise GameError(f"the method is '{method}'", hint=f"one of {', '.join(ALL)}.")

    @abstractmethod
    def conditions(self) -> list[dict[str, Any]]:
        """Under what all methods learn: a panel of the picture each."""

    @abstractmethod
    def learn(self, method: str, condition: Mapping[str, Any], **options: Any) -> Learning:
        """Let one method learn under one condition."""

    @abstractmethod
    def judge(self, learning: Learning) -> dict[str, Any]:
        """What is said of it, in JSON values."""

    def compared(self, panel: Panel) -> dict[str, Any]:
        """What is said of the methods beside each other; nothing, by default."""
        return {}

    def curves(self, panel: Panel) -> list[dict[str, Any]]:
        """What is drawn: rows of `plot_panels`."""
        return [{"learnings": panel.learnings, "title": panel.title}]

    def run(
        self, *, progress: bool = False, folder: Path | None = None, resume: bool = False
    ) -> list[Panel]:
        """Learn by each method under each condition, all seeds of one side by side.

        Args:
            progress: show progress bars, with the time left.
            folder: where checkpoints are kept meanwhile; `write` removes them.
            resume: go on from those that are there.

        Raises:
            GameError: there are some and they are not wanted, or of other settings.
        """
        kept = None if folder is None else folder / CHECKPOINTS
        if kept is not None:
            if kept.exists() and not resume:
                raise GameError(
                    f"{kept} has what an unfinished run left",
                    hint="--resume (resume=True) goes on from it; or remove the folder.",
                )
            kept.mkdir(exist_ok=True)
        panels, conditions = [], self.conditions()
        for condition in conditions:
            learnings = []
            for method in self.methods:
                words = [method, *(f"{value}" for value in condition.values())]
                learning = self.learn(
                    method,
                    condition,
                    episodes=self.episodes,
                    plays=self.seeds,
                    seed=self.seed,
                    progress=progress,
                    checkpoint=None if kept is None else kept / f"{'-'.join(words)}.pt",
                )
                learnings.append(learning.named(method))
            apart = [
                f"{name} {value}"
                for name, value in condition.items()
                if any(other[name] != value for other in conditions)
            ]
            panels.append(Panel(condition, learnings, ", ".join(apart)))
        return panels

    def summary(self, panels: Sequence[Panel]) -> dict[str, Any]:
        """The settings, and what is said of each method under each condition, in JSON values."""
        results = [
            {
                "method": learning.method,
                **panel.condition,
                **self.judge(learning),
                "cpu_seconds_per_experiment": learning.seconds / self.seeds,
            }
            for panel in panels
            for learning in panel.learnings
        ]
        found = [{**panel.condition, **self.compared(panel)} for panel in panels]
        return {
            "settings": {"experiment": self.name, **asdict(self)},
            "results": results,
            "compared": [row for row in found if len(row) > len(panels[0].condition)],
        }

    def write(self, panels: Sequence[Panel], folder: Path) -> list[str]:
        """Write curves, settings and results, and the picture; the names of the files."""
        written = write_rows(folder / "curves", self._rewards(panels))
        if any(learning.watched for panel in panels for learning in panel.learnings):
            written += write_rows(folder / "watched", self._watched(panels))
        text = json.dumps(self.summary(panels), indent=2)
        (folder / f"{self.name}.json").write_text(text + "\n", encoding="utf-8")
        written.append(f"{self.name}.json")
        for ending in ("png", "svg"):
            rows = [row for panel in panels for row in self.curves(panel)]
            plot_panels(rows, folder / f"{self.name}.{ending}")
            written.append(f"{self.name}.{ending}")
        rmtree(folder / CHECKPOINTS, ignore_errors=True)
        return written

    def _rewards(self, panels: Sequence[Panel]) -> list[dict[str, Any]]:
        return [
            {
                **{"method": learning.method, **panel.condition},
                **{"experiment": play, "episode": episode + 1, "agent": agent, "reward": reward},
            }
            for panel in panels
            for learning in panel.learnings
            for episode, plays in enumerate(learning.rewards.tolist())
            for play, paid in enumerate(plays)
            for agent, reward in zip(learning.agents, paid, strict=True)
        ]

    def _watched(self, panels: Sequence[Panel]) -> list[dict[str, Any]]:
        return [
            {
                **{"method": learning.method, **panel.condition},
                **{"experiment": play, "episode": episode, "what": what, "value": value},
            }
            for panel in panels
            for learning in panel.learnings
            for what, found in learning.watched.items()
            for episode, plays in zip(learning.watched_at, found.tolist(), strict=True)
            for play, value in enumerate(plays)
        ]

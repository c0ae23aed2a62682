"""What inference says of an agent: policy, reward, posterior, and how well they fit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vsg_ppl.errors import GameError
from vsg_ppl.soft_response import log_likelihood
from vsg_ppl.structure import to_json
from vsg_ppl.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from vsg_ppl.guides.policy import FixedPolicy


@dataclass(frozen=True, eq=False)
class OpponentInference:
    """An agent's wants and ways, inferred from its play; made by `infer_opponent`.

    Attributes:
        game: the program; ``None`` when a table was given, or after `load` without one.
        table: the game's table; rewards and what else depends on unknowns as at a draw of them.
        agents: who was explained.
        policies: by agent, (S, A), or (H, S, A) with a horizon: at the mode ("laplace", "map"),
            else the posterior's mean, which is the posterior predictive of the next action.
        rewards: by agent, (H|1, S, A_1|1, ..., A_N|1): at the mode, else the mean. Only
            differences that play can tell are identified.
        temperatures: by agent, likewise.
        posterior: draws of all unknowns, by site, (n, ...).
        policy_draws: the policies at draws of them, by agent, (m, H|1, S, A).
        counts: what was seen, by agent, (H|1, S, A).
        log_evidence: log p(play): Laplace's estimate, or the ELBO, a lower bound; NaN for
            "map" and "nuts".
        method: "laplace", "map", "svi" or "nuts".
        status: "solved", "not converged" or "interrupted".
        message: the status in a sentence.
        diagnostics: of the method.
        seconds: taken, by the wall clock.
    """

    game: Any
    table: Table
    agents: tuple[str, ...]
    policies: dict[str, Tensor]
    rewards: dict[str, Tensor]
    temperatures: dict[str, float]
    posterior: dict[str, Tensor]
    policy_draws: dict[str, Tensor]
    counts: dict[str, Tensor]
    log_evidence: float
    method: str
    status: str
    message: str
    diagnostics: dict[str, Any]
    seconds: float

    def __repr__(self) -> str:
        return (
            f"OpponentInference({self.table.name}: {', '.join(self.agents)}; {self.status}; "
            f"{self.message})"
        )

    @property
    def solved(self) -> bool:
        """Whether inference reached what was asked."""
        return self.status == "solved"

    @property
    def policy(self) -> Tensor:
        """The policy of the agent explained, or of the first of them."""
        return self.policies[self.agents[0]]

    @property
    def reward(self) -> Tensor:
        """The reward of the agent explained, or of the first of them."""
        return self.rewards[self.agents[0]]

    def guide(self, agent: str | None = None) -> FixedPolicy:
        """The inferred policy as a Pyro program: an opponent model for `agent_guide`."""
        from vsg_ppl.guides.policy import FixedPolicy

        agent = self._known(agent)
        return FixedPolicy(self.table, agent, self.policies[agent])

    def predict(
        self, state: Any, agent: str | None = None, *, t: int = 0, level: float = 0.9
    ) -> dict[str, tuple[float, float, float]]:
        """The next action in a state: its probability, and a credible interval of that.

        Args:
            state: by its label.
            agent: whose; the first by default.
            t: the time, in a game with a horizon.
            level: of the interval.

        Returns:
            For each action by name: probability, lower and upper end.

        >>> import vsg_ppl as vsg
        >>> from vsg_ppl.models import PrisonersDilemma
        >>> plays = vsg.nash(PrisonersDilemma(), temperature=1.0).simulate(50)
        >>> found = vsg.infer_opponent(PrisonersDilemma(), "col", plays, reward="program")
        >>> low, high = found.predict(0)["DEFECT"][1:]
        >>> 0.5 < low < high < 1.0
        True
        """
        agent = self._known(agent)
        number = int(self.table.states.index(state))
        draws = self.policy_draws[agent]
        if not 0 <= t < max(1, draws.shape[1]):
            raise GameError(
                f"the time is {t}, and {self.table.name} has times below {len(draws[0])}"
            )
        low, high = _interval(draws[:, t, number], level)
        point = self.policies[agent][t if self.table.horizon is not None else ...]
        names = self.table.actions[self.table.number(agent)].names()
        rows = zip(point[number].tolist(), low.tolist(), high.tolist(), strict=True)
        return dict(zip(names, rows, strict=True))

    def interval(self, site: str, level: float = 0.9) -> tuple[Tensor, Tensor]:
        """The central credible interval of an unknown, of its shape.

        Raises:
            GameError: no unknown has this name, or the level is not in (0, 1).
        """
        if site not in self.posterior:
            raise GameError(
                f"there is no unknown '{site}'",
                hint=f"one of {', '.join(self.posterior)}." if self.posterior else None,
            )
        return _interval(self.posterior[site], level)

    def statistics(self, agent: str | None = None) -> dict[str, float]:
        """How well the inferred policy explains what was seen.

        Returns:
            actions: how many were seen; log_loss: −log probability of them, nats each;
            prior_log_loss: the same if the agent acts by its prior; best_log_loss: of the
            frequencies themselves, which no policy beats; explained: where between these two it
            is, 0 to 1; accuracy: how often the likeliest action was taken.
        """
        agent = self._known(agent)
        counts = self.counts[agent]
        policy = self.policies[agent].reshape(1, -1, *counts.shape[1:])
        prior = self.table.log_priors[self.table.number(agent)]
        n = float(counts.sum())
        often = counts / counts.sum(-1, keepdim=True).clamp_min(1.0)
        loss, base, best = (
            -float(log_likelihood(counts, log)) / n
            for log in (policy.log(), prior, often[None].log())
        )
        chosen = counts.gather(-1, policy[0].argmax(-1, keepdim=True).expand(*counts.shape[:-1], 1))
        return {
            "actions": n,
            "log_loss": loss + 0.0,  # no -0
            "prior_log_loss": base + 0.0,
            "best_log_loss": best + 0.0,
            "explained": (base - loss) / (base - best) if base > best else 1.0,
            "accuracy": float(chosen.sum()) / n,
        }

    def summary(self, level: float = 0.9) -> dict[str, dict[str, Any]]:
        """For each unknown: mean, standard deviation and ends of the credible interval."""
        out = {}
        for site, draws in self.posterior.items():
            low, high = _interval(draws, level)
            deviation = draws.std(0) if len(draws) > 1 else torch.zeros_like(draws[0])
            out[site] = {
                "mean": draws.mean(0).tolist(),
                "sd": deviation.tolist(),
                "low": low.tolist(),
                "high": high.tolist(),
            }
        return out

    def plot(self, path: str | Path | None = None) -> Figure:
        """Posterior, intervals and policy against what was seen; written to ``path`` if given."""
        from vsg_ppl.plot_inference import plot_inference

        return plot_inference(self, path)

    def save(self, path: str | Path) -> Path:
        """Write everything but the program to one safetensors file."""
        from vsg_ppl.inference_storage import save_inference

        return save_inference(self, path)

    @staticmethod
    def load(path: str | Path, game: Any = None) -> OpponentInference:
        """Read what `save` wrote, if of the ``game`` given."""
        from vsg_ppl.inference_storage import load_inference

        return load_inference(path, game)

    def to_dict(self) -> dict[str, Any]:
        """All but the draws, in plain JSON values."""
        return {
            "game": self.table.name,
            "agents": list(self.agents),
            "method": self.method,
            "status": self.status,
            "message": self.message,
            "seconds": self.seconds,
            "log_evidence": self.log_evidence if self.log_evidence == self.log_evidence else None,
            "temperatures": dict(self.temperatures),
            "unknowns": self.summary(),
            "statistics": {agent: self.statistics(agent) for agent in self.agents},
            "actions": {
                agent: self.table.actions[self.table.number(agent)].names() for agent in self.agents
            },
            "policies": {agent: self._rows(agent) for agent in self.agents},
        }

    def _rows(self, agent: str) -> list[dict[str, Any]]:
        labels = [to_json(label) for label in self.table.states]
        counts = self.counts[agent]
        policy = self.policies[agent].reshape(-1, *counts.shape[1:])
        timed = self.table.horizon is not None
        return [
            {"state": label}
            | ({"t": t} if timed else {})
            | {"seen": int(seen.sum()), "probabilities": row}
            for t in range(len(counts))
            for label, row, seen in zip(labels, policy[t].tolist(), counts[t], strict=True)
        ]

    def _known(self, agent: str | None) -> str:
        agent = self.agents[0] if agent is None else agent
        if agent not in self.agents:
            raise GameError(
                f"'{agent}' was not explained here", hint=f"one of {', '.join(self.agents)}."
            )
        return agent


def _interval(draws: Tensor, level: float) -> tuple[Tensor, Tensor]:
    if not 0 < level < 1:
        raise GameError(f"the level of an interval is {level:g}; it lies between 0 and 1")
    tails = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=draws.dtype)
    low, high = draws.quantile(tails, 0) if len(draws) > 1 else (draws[0], draws[0])
    return low, high

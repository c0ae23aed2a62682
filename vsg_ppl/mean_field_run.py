"""What the mean-field solvers share: the best policy so far, the history, and when to stop."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from vsg_ppl.crowd_flow import backup, flow, gap, worth
from vsg_ppl.mean_field_certificate import MeanFieldCertificate
from vsg_ppl.mean_field_table import Kernel, MeanFieldTable
from vsg_ppl.progress import Progress


class Stop(Exception):  # noqa: N818 - no error: what was wanted is reached
    """The tolerance is reached."""


class Run:
    """One run of a solver.

    Attributes:
        table: the game.
        tolerance: on the exploitability, regularised while there is a temperature.
        log_prior: log π̄, (H|1, S, A).
        history: an entry for each iteration.
        status: "not converged" until something else is known.
        advice: what to do if it stays so.
    """

    def __init__(self, table: MeanFieldTable, tolerance: float, every: int, show: Progress) -> None:
        self.table, self.every, self.show = table, max(1, every), show
        self.log_prior = table.log_prior
        rewards = table.kernel(table.even()).rewards
        # below this, differences of values are rounding
        rounding = 1e-15 * (table.horizon or 1 / (1 - table.discount)) * float(rewards.abs().max())
        self.tolerance = max(tolerance, rounding)
        self.history: list[dict[str, Any]] = []
        self.status, self.message = "not converged", ""
        self.advice = "raise `max_steps`, or another `method`"
        self.aimed = False
        self.soft = False  # whether the regularised gap is what counts
        self._best: tuple[float, Tensor, float] | None = None

    def aim(self, exploitability: float) -> None:
        """Stop as soon as the exploitability is at most this, at whatever temperature."""
        self.tolerance, self.aimed = exploitability, True

    @property
    def iterations(self) -> int:
        """How many there have been."""
        return len(self.history)

    def record(
        self,
        policy: Tensor,
        temperature: float,
        residual: float,
        joint: Tensor | None = None,
        kernel: Kernel | None = None,
        *,
        last: bool = True,
    ) -> float | None:
        """Note a policy (H, S, A) and, if it is this iteration's turn, its exploitability.

        Args:
            policy: of everybody.
            temperature: at which it was found.
            residual: how far it is from solving its equations.
            joint: the crowd it makes, if known.
            kernel: the step amid that crowd, if known.
            last: whether this temperature is the one that was asked for.

        Raises:
            Stop: the tolerance is reached.
        """
        entry: dict[str, Any] = {
            "iteration": len(self.history) + 1,
            "temperature": temperature,
            "residual": residual,
            "elbo": {},
        }
        value, soft, last = None, self.soft and not self.aimed, last or self.aimed
        if (len(self.history)) % self.every == 0 or residual <= self.tolerance:
            joint = flow(self.table, policy) if joint is None else joint
            kernel = self.table.kernel(joint) if kernel is None else kernel
            entry["exploitability"] = value = gap(self.table, joint, kernel, policy)
            wanted = value
            if soft:
                entry["regularised"] = wanted = self._soft(joint, kernel, policy, temperature)
            if (last or not soft) and (self._best is None or not wanted >= self._best[0]):
                self._best = wanted, policy.clone(), temperature
        self.history.append(entry)
        self.show(entry)
        if last and value is not None and self._best is not None:
            if self._best[0] <= self.tolerance:
                self.status = "solved"
                raise Stop
        return value

    def best_policy(self) -> Tensor:
        """The policy of the least exploitability that was seen, else the prior."""
        return self.table.prior if self._best is None else self._best[1]

    def best_temperature(self) -> float:
        """The temperature at which it was found; 0 for none."""
        return 0.0 if self._best is None else self._best[2]

    def best_gap(self) -> float:
        """Its exploitability, or the regularised one."""
        return float("inf") if self._best is None else self._best[0]

    def conclude(self, certificate: MeanFieldCertificate) -> None:
        """Say how it went."""
        value = certificate.exploitability
        what = f"exploitability {value:.3g}"
        if self.soft:
            what += f" at temperature {self.best_temperature():g}"
            if certificate.regularised is not None:
                what += f", regularised {certificate.regularised:.2g}"
        self.message = {
            "solved": what,
            "interrupted": f"stopped by hand at {what}; the best policy so far is returned",
            "not converged": f"{what} (wanted {self.tolerance:.2g}): {self.advice}",
        }[self.status]

    def _soft(self, joint: Tensor, kernel: Kernel, policy: Tensor, temperature: float) -> float:
        _, _, best = backup(self.table, kernel, temperature, self.log_prior)
        _, own = worth(self.table, kernel, policy, temperature, self.log_prior)
        return float((joint[0].sum(-1) * (best[0] - own[0])).sum().clamp_min(0.0))

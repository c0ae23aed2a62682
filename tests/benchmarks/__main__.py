"""``python -m tests.benchmarks [name ...]``: run them and print a table."""

from __future__ import annotations

import argparse

import torch
from rich.console import Console
from rich.table import Table

from tests.benchmarks import (
    differential_cost,
    exact_elbo,
    exact_equilibria,
    growth,
    logit_batch,
    markov_qre,
    mean_field,
    opponent_inference,
    tabulation,
)

BENCHMARKS = {
    "tabulation": tabulation,
    "logit_batch": logit_batch,
    "markov_qre": markov_qre,
    "exact_elbo": exact_elbo,
    "exact_equilibria": exact_equilibria,
    "mean_field": mean_field,
    "opponent_inference": opponent_inference,
    "differential_cost": differential_cost,
    "growth": growth,
}
ABOUT = "\n\n".join(f"{name}: {module.__doc__}" for name, module in BENCHMARKS.items())


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description="CPU seconds of one thread, medians, ours and a peer's in turn.",
        epilog=ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(BENCHMARKS)}")
    parser.add_argument("--repeat", type=int, default=5, help="repetitions (5)")
    parser.add_argument("--episodes", type=int, default=200, help="of differential_cost (200)")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in BENCHMARKS]
    if unknown or min(options.repeat, options.episodes) < 1:
        parser.error(
            f"no benchmark '{unknown[0]}'" if unknown else "--repeat and --episodes are at least 1"
        )
    special = {"differential_cost": {"episodes": options.episodes}}

    torch.set_num_threads(1)
    console = Console(width=120)
    table = Table("task", "ours", "peer", "ratio", "target", "met")
    for name in options.names or BENCHMARKS:
        with console.status(name):
            for row in BENCHMARKS[name].rows(options.repeat, **special.get(name, {})):
                table.add_row(*row.cells())
    console.print(table)


if __name__ == "__main__":
    main()

"""What ``vsg infer`` prints: what was read, what is inferred, and how well it explains."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING, Any

from vsg_ppl.cli_options import advice
from vsg_ppl.cli_print import SHOWN, in_words, label_of, new_sheet

if TYPE_CHECKING:
    from rich.console import Console

    from vsg_ppl.compare import Comparison
    from vsg_ppl.inference import OpponentInference
    from vsg_ppl.observations import Observations
    from vsg_ppl.table import Table

MORE = "--json prints all of them, --out writes them"

WANTS = {
    "own": "what the game pays it",
    "welfare": "what the game pays everybody",
    "random": "nothing: it acts by its prior",
}
"""Hypotheses in words."""

EVIDENCE = {"laplace": "by Laplace's approximation", "svi": "at least: this is the ELBO"}
"""How a method finds log p(play)."""


def print_play(console: Console, file: str, seen: Observations) -> None:
    """What was read from the file."""
    from rich.text import Text

    visited = int((seen.visits > 0).any(0).sum())
    actions = [f"{int(counts.sum()):,} of {agent}" for agent, counts in seen.counts.items()]
    line = (
        f"{file}: {_steps(seen.steps)} of {seen.table.name}, {visited:,} of "
        f"{len(seen.table.states):,} states seen; actions: {', '.join(actions)}"
    )
    console.print(Text(line), soft_wrap=True)


def print_inference(console: Console, found: OpponentInference, level: float) -> None:
    """How it went, the unknowns, how well they explain the play, and what is played."""
    from rich.text import Text

    style = "bold green" if found.solved else "bold yellow"
    status = (f"{', '.join(found.agents)}: {found.status}", style)
    console.print(Text.assemble(status, f". {advice(found.message)}"), soft_wrap=True)
    console.print(f"{found.seconds:.1f} s\n")
    if found.posterior:
        _print_unknowns(console, found, level)
        console.print()
    _print_fit(console, found)
    for agent in found.agents:
        console.print()
        _print_policy(console, found, agent)


def _print_unknowns(console: Console, found: OpponentInference, level: float) -> None:
    from rich.text import Text

    sheet = new_sheet("unknown", "mean", "sd", f"{100 * level:g} % interval")
    for column in sheet.columns[1:3]:
        column.justify = "right"
    cut = False
    for site, numbers in found.summary(level).items():
        rows = list(zip(*map(_flat, numbers.values()), strict=True))
        if len(rows) > SHOWN:
            cut = True
            means, sds, _, _ = zip(*rows, strict=True)
            sheet.add_row(Text(f"{site}, {len(rows):,} numbers"), _range(means), _range(sds), "")
            continue
        names = _cells(found.table, site, tuple(found.posterior[site].shape[1:]))
        for name, (mean, sd, low, high) in zip(names, rows, strict=True):
            sheet.add_row(Text(name), f"{mean:.4g}", f"{sd:.2g}", f"{low:.4g} to {high:.4g}")
    console.print(sheet)
    if cut:
        console.print(MORE)


def _print_fit(console: Console, found: OpponentInference) -> None:
    from rich.table import Table as Sheet
    from rich.text import Text

    sheet = Sheet.grid(padding=(0, 2))
    for agent in found.agents:
        inferred = bool({"temperature", f"temperature.{agent}"} & set(found.posterior))
        how = "inferred" if inferred else "fixed"
        how += ", at the mode" if inferred and found.method == "laplace" else ""
        name = "temperature" + _whose(found, agent)
        sheet.add_row(Text(name), f"{found.temperatures[agent]:.4g}", how)
    for agent in found.agents:
        fit, whose = found.statistics(agent), _whose(found, agent)
        prior, best = fit["prior_log_loss"], fit["best_log_loss"]
        sheet.add_row(
            Text(f"log loss{whose}"),
            f"{fit['log_loss']:.4g}",
            f"nats for each of {fit['actions']:,.0f} actions; the prior's is {prior:.4g}, that of "
            f"the frequencies seen {best:.4g}",
        )
        explained = f"{100 * fit['explained']:.1f} %"
        sheet.add_row("explained", explained, "of what the frequencies do beyond the prior")
        taken = f"{100 * fit['accuracy']:.1f} %"
        sheet.add_row("foreseen", taken, "of the actions were the likeliest where they were taken")
    if found.method in EVIDENCE:
        how = EVIDENCE[found.method] if found.posterior else "exactly: nothing was unknown"
        sheet.add_row("log evidence", f"{found.log_evidence:.6g}", f"log p(play), {how}")
    console.print(sheet)


def _print_policy(console: Console, found: OpponentInference, agent: str) -> None:
    """The states in which the agent was seen most, with frequencies and probabilities."""
    from rich.text import Text

    table, counts = found.table, found.counts[agent]
    names = table.actions[table.number(agent)].names()
    often = counts.sum(-1)
    policy = found.policies[agent].reshape(counts.shape)
    places = [(t, k) for t, k in (often > 0).nonzero().tolist()]
    places.sort(key=lambda place: -float(often[place]))
    keys = ["t"] if table.horizon not in (None, 1) else []
    keys += ["state"] if len(table.states) > 1 else []
    sheet = new_sheet(*keys, "seen", f"{agent} was seen to play", "inferred")
    sheet.columns[len(keys)].justify = "right"
    for t, k in places[:SHOWN]:
        key = [str(t)] if "t" in keys else []
        key += [label_of(table.states[k])] if "state" in keys else []
        frequencies = (counts[t, k] / often[t, k]).tolist()
        laws = [in_words(names, frequencies), in_words(names, policy[t, k].tolist())]
        sheet.add_row(*map(Text, key), f"{float(often[t, k]):,.0f}", *map(Text, laws))
    console.print(sheet)
    if len(places) > SHOWN:
        what = "states and times" if "t" in keys else "states"
        console.print(f"and {len(places) - SHOWN:,} more {what} that were seen; {MORE}")


def print_comparison(console: Console, agent: str, comparison: Comparison) -> None:
    """Hypotheses by their evidence, the best first."""
    from rich.text import Text

    evidence = comparison.log_evidence
    sheet = new_sheet("hypothesis", f"{agent} wants", "log evidence", "probability", "status")
    for column in sheet.columns[2:4]:
        column.justify = "right"
    for name in sorted(evidence, key=lambda name: -evidence[name]):
        numbers = (f"{evidence[name]:.6g}", f"{comparison.probabilities[name]:.3g}")
        status = comparison.found[name].status
        sheet.add_row(name, WANTS.get(name, ""), *numbers, status)
    console.print()
    console.print(sheet)
    best = comparison.best
    chance = f"{comparison.probabilities[best]:.3g}"
    line = (
        f"The play of {agent} is best explained by '{best}', with probability {chance} if all were "
        "equally probable before."
    )
    console.print(Text(line), soft_wrap=True)


def _cells(table: Table, site: str, shape: tuple[int, ...]) -> list[str]:
    """A name for each number of an unknown; of a reward's, its state and actions."""
    sizes = (len(table.states), *table.sizes)
    whole = len(shape) == len(sizes) and all(
        size in (1, full) for size, full in zip(shape, sizes, strict=True)
    )
    if not (site.startswith("reward.") and whole):
        return [
            site + (f"[{','.join(map(str, place))}]" if shape else "")
            for place in product(*map(range, shape))
        ]
    states = [f"state {label_of(state)}" for state in table.states]
    labels = [states, *(actions.names() for actions in table.actions)]
    parts = [names for names, size in zip(labels, shape, strict=True) if size > 1]
    return [", ".join([site, *cell]) for cell in product(*parts)]


def _whose(found: OpponentInference, agent: str) -> str:
    return f" of {agent}" if len(found.agents) > 1 else ""


def _steps(count: int) -> str:
    return f"{count:,} step{'s' * (count != 1)}"


def _flat(numbers: Any) -> Iterator[float]:
    if isinstance(numbers, list):
        for part in numbers:
            yield from _flat(part)
    else:
        yield numbers


def _range(numbers: tuple[float, ...]) -> str:
    return f"{min(numbers):.3g} to {max(numbers):.3g}"

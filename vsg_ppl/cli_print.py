"""What the command line prints: words and tables for people, JSON for programs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any

import typer

from vsg_ppl.cli_options import advice

if TYPE_CHECKING:
    from rich.console import Console

    from vsg_ppl.certificate import Certificate
    from vsg_ppl.correlated_certificate import CorrelatedCertificate
    from vsg_ppl.finite_population import FiniteGap
    from vsg_ppl.mean_field_certificate import MeanFieldCertificate
    from vsg_ppl.solution import Solution
    from vsg_ppl.table import Table

SHOWN = 12
"""States of which policies are printed."""

ACTIONS = 5
"""Actions of a policy that are printed, if it has many."""


def new_console() -> Console:
    """The terminal, or a file or pipe of a width of its own."""
    from rich.console import Console

    # a pipe has no width; rich would take it for 80 columns and cut what is wider
    narrow = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(width=None if narrow else 160, highlight=False, emoji=False)


def print_solution(console: Console, solution: Solution) -> None:
    """How it went, what it is worth, and what is played."""
    from rich.text import Text

    from vsg_ppl.certificate import Certificate
    from vsg_ppl.correlated_certificate import CorrelatedCertificate

    style = "bold green" if solution.solved else "bold yellow"
    status = (f"{solution.table.name}: {solution.status}", style)
    console.print(Text.assemble(status, f". {advice(solution.message)}"), soft_wrap=True)
    unit = "iteration" if solution.iterations == 1 else "iterations"
    console.print(f"{solution.iterations} {unit}, {solution.seconds:.1f} s\n")
    if isinstance(solution.certificate, Certificate):
        _print_gaps(console, solution, solution.certificate)
    elif isinstance(solution.certificate, CorrelatedCertificate):
        _print_correlated(console, solution, solution.certificate)
    else:
        _print_exploitability(console, solution, solution.certificate)
    console.print()
    _print_policies(console, solution)


def _print_agents(console: Console, solution: Solution, gains: str) -> None:
    """The value and the gain of each agent."""
    from rich.text import Text

    certificate = solution.certificate
    assert not hasattr(certificate, "exploitability")
    sheet = new_sheet("agent", "value", gains)
    for column in sheet.columns[1:]:
        column.justify = "right"
    for agent in solution.table.agents:
        value, gain = certificate.values[agent], certificate.per_agent[agent]
        sheet.add_row(Text(agent), f"{float(value):.6g}", f"{float(gain):.3g}")
    console.print(sheet)
    console.print()


def _print_gaps(console: Console, solution: Solution, certificate: Certificate) -> None:
    from rich.table import Table as Sheet

    _print_agents(console, solution, "gains by deviating")
    sheet = Sheet.grid(padding=(0, 2))
    sheet.add_row("Nash gap", f"{float(certificate.nash_gap):.3g}", "from the initial law")
    worst = float(certificate.nash_gap_worst_state)
    sheet.add_row("", f"{worst:.3g}", "from the worst state")
    if certificate.bound is not None:
        where = f"bound of Theorem 4.2 at temperature {solution.temperature:.3g}"
        held = "" if certificate.within_bound() else "; not reached"
        sheet.add_row("", f"{certificate.bound:.3g}", where + held)
    console.print(sheet)


def _print_correlated(
    console: Console, solution: Solution, certificate: CorrelatedCertificate
) -> None:
    from rich.table import Table as Sheet

    from vsg_ppl.signal_table import base_states, signal_labels

    _print_agents(console, solution, "gains by swaps")
    sheet = Sheet.grid(padding=(0, 2))
    gap = certificate.correlated_gap
    sheet.add_row("correlated gap", f"{gap:.3g}", "by playing another action than the one told")
    sheet.add_row("coarse gap", f"{certificate.coarse_gap:.3g}", "by deciding before being told")
    sheet.add_row("welfare", f"{certificate.welfare:.6g}", "the sum of the values")
    if certificate.best_welfare is not None:
        sheet.add_row("", f"{certificate.best_welfare:.6g}", "at most, if signals may be private")
    console.print(sheet)
    if solution.signal is not None:
        states, names = base_states(solution.table), signal_labels(solution.table)
        law = solution.signal.reshape(-1, len(states), len(names))[0]
        console.print()
        if bool((law == law[0]).all()):
            console.print(f"signal  {in_words(names, law[0].tolist())}")
        else:
            sheet = new_sheet("state", "signal" if solution.signal.ndim == 2 else "signal at first")
            for k in range(min(SHOWN, len(states))):
                sheet.add_row(label_of(states[k]), in_words(names, law[k].tolist()))
            console.print(sheet)


def _print_exploitability(
    console: Console, solution: Solution, certificate: MeanFieldCertificate
) -> None:
    from rich.table import Table as Sheet

    first = "law at rest" if solution.table.horizon is None else "initial law"
    sheet = Sheet.grid(padding=(0, 2))
    sheet.add_row("value", f"{certificate.value:.6g}", "of one agent of the crowd")
    sheet.add_row("exploitability", f"{certificate.exploitability:.3g}", f"from the {first}")
    sheet.add_row(
        "", f"{certificate.worst_state:.3g}", "from the worst state that the crowd visits"
    )
    if certificate.regularised is not None:
        where = f"regularised, at temperature {solution.temperature:.3g}"
        sheet.add_row("", f"{certificate.regularised:.3g}", where)
    console.print(sheet)


def print_population(console: Console, gaps: Sequence[FiniteGap]) -> None:
    """What the policy is worth among so many agents."""
    if not gaps:
        return
    sheet = new_sheet("agents", "Nash gap", "gain of who sees its own state alone")
    for gap in gaps:
        seen = f"{gap.blind:.3g}" + ("" if gap.exact else f", from {gap.low:.3g} to {gap.high:.3g}")
        sheet.add_row(
            f"{gap.n:,}", f"{gap.gap:.3g}" if gap.exact else f"at least {gap.low:.3g}", seen
        )
    console.print()
    console.print(sheet)


def _print_policies(console: Console, solution: Solution) -> None:
    """A column for each agent if there is room, else a row."""
    from rich.text import Text

    table = solution.table
    places, total = _places(solution)
    keys = ["t"] if table.horizon not in (None, 1) else []
    keys += ["state"] if len(table.states) > 1 else []
    keys += ["share"] if solution.crowd is not None and len(table.states) > 1 else []
    names = [actions.names() for actions in table.actions]
    rows: list[tuple[list[str], list[str]]] = []
    for k, t in places:
        key = [str(t)] if "t" in keys else []
        key += [label_of(table.states[k])] if "state" in keys else []
        if "share" in keys:
            key.append(f"{float(solution.shares[k] if t is None else solution.shares[t, k]):.3g}")
        parts = [solution.policies[agent] for agent in table.agents]
        chances = [(part if t is None else part[t])[k].tolist() for part in parts]
        rows.append((key, list(map(in_words, names, chances))))

    columns = list(zip(*(key + laws for key, laws in rows), strict=True))
    heads = [*keys, *table.agents]
    width = sum(
        3 + max(len(head), *map(len, column)) for head, column in zip(heads, columns, strict=True)
    )
    if width <= console.width:
        sheet = new_sheet(*heads)
        for key, laws in rows:
            sheet.add_row(*map(Text, key + laws))
    else:
        sheet = new_sheet(*keys, "agent", "policy")
        for key, laws in rows:
            for i, law in enumerate(laws):
                sheet.add_row(
                    *(Text(part if i == 0 else "") for part in key),
                    Text(table.agents[i]),
                    Text(law),
                    end_section=i == len(laws) - 1,
                )
    console.print(sheet)
    if total > len(places):
        what = "states and times" if "t" in keys else "states"
        console.print(
            f"and {total - len(places):,} more {what}; --json prints all of them, --out writes them"
        )


def _places(solution: Solution) -> tuple[list[tuple[int, int | None]], int]:
    """The first states, with times if there is a horizon, that have policies to show."""
    table = solution.table
    if solution.crowd is not None:  # where somebody is
        visited = (solution.shares > 0).nonzero()
        first = [(None, *place)[-2:] for place in visited[:SHOWN].tolist()]
        return [(k, t) for t, k in first], len(visited)
    if table.horizon is None:
        return [(k, None) for k in range(min(SHOWN, len(table.states)))], len(table.states)
    if table.reachable is None:
        total = table.horizon * len(table.states)
        return [divmod(j, len(table.states))[::-1] for j in range(min(SHOWN, total))], total
    places = table.reachable.nonzero()
    return [(k, t) for t, k in places[:SHOWN].tolist()], len(places)


def in_words(names: Sequence[str], probabilities: Sequence[float]) -> str:
    """The actions that are played, and how often.

    >>> in_words(["LEFT", "STAY", "RIGHT"], [0.25, 0.75, 0.0])
    'LEFT 0.250  STAY 0.750'
    """
    law = [(name, p) for name, p in zip(names, probabilities, strict=True) if p >= 5e-4]
    rest = ""
    if len(law) > ACTIONS + 1:
        law.sort(key=lambda entry: -entry[1])
        rest = f"  {len(law) - ACTIONS} others {sum(p for _, p in law[ACTIONS:]):.3f}"
        law = law[:ACTIONS]
    return "  ".join(f"{name} {p:.3f}" for name, p in law) + rest


def label_of(state: Any) -> str:
    """A state as people read it."""
    from vsg_ppl.structure import to_json

    plain = to_json(state)
    if isinstance(plain, dict):
        return " ".join(f"{key}={label_of(value)}" for key, value in plain.items())
    if isinstance(plain, list):
        return "(" + ", ".join(map(label_of, plain)) + ")"
    return "-" if plain is None else str(plain)


def print_facts(console: Console, table: Table, facts: dict[str, Any]) -> None:
    """How large a game is, and of what kind."""
    from rich.table import Table as Sheet
    from rich.text import Text

    labels = ", ".join(label_of(state) for state in table.states[:4])
    more = ", ..." if len(table.states) > 4 else ""
    crowd = facts["mean_field"]
    horizon = "infinite" + (": the crowd is one that stays as it is" if crowd else "")
    horizon = horizon if table.horizon is None else f"{table.horizon} decisions"
    horizon = "1 decision" if table.horizon == 1 else horizon
    lines = [("agent", f"{table.agents[0]}, one of a crowd")] if crowd else []
    lines += [] if crowd else [("agents", ", ".join(table.agents))]
    for agent, actions in zip(table.agents, table.actions, strict=True):
        names = actions.names()
        shown = ", ".join(names[:ACTIONS]) + (", ..." if len(names) > ACTIONS else "")
        lines.append((f"actions of {agent}", f"{len(names)}: {shown}"))
    lines += [
        *([] if crowd else [("joint actions", f"{facts['joint_actions']:,}")]),
        ("states", f"{len(table.states):,}: {labels}{more}"),
        (
            "successors",
            f"at most {facts['successors']:,} of a state and {'' if crowd else 'joint '}action",
        ),
        ("horizon", horizon + (", changing with time" if facts["time_dependent"] else "")),
        ("discount", f"{table.discount:g}"),
        ("memory", _bytes(facts["bytes"])),
    ]
    lines += _kind_in_words(facts)
    console.print(Text(f"{table.name} is well-formed.", style="bold green"))
    sheet = Sheet.grid(padding=(0, 2))
    for name, value in lines:
        sheet.add_row(Text(name), Text(value))
    console.print(sheet)


def _kind_in_words(facts: dict[str, Any]) -> list[tuple[str, str]]:
    if facts["mean_field"]:
        moves = "rewards and next states" if facts["crowd_moves_states"] else "rewards alone"
        prior = facts["prior_exploitability"]
        worth = "makes a crowd that does not come to rest"
        return [
            ("kind", f"mean-field; the crowd moves {moves}"),
            ("the prior", worth if prior is None else f"has exploitability {prior:.6g}"),
        ]
    if len(facts["agents"]) == 1:
        return []
    kinds = {"zero_sum": "zero-sum", "identical_interest": "identical interest"}
    kind = [words for key, words in kinds.items() if facts[key]] or ["general-sum"]
    kind += ["a potential game"] * facts["potential"] + ["symmetric"] * facts["symmetric"]
    return [("kind", ", ".join(kind))]


def print_games(console: Console, listed: list[dict[str, Any]]) -> None:
    """The games that come with the library, by kind."""
    from rich.text import Text

    for crowd, title, head in (
        (False, "Games among agents", "agents"),
        (True, "Mean-field games: one agent amid a crowd", "agent"),
    ):
        sheet = new_sheet("game", head, "parameters", "what it is")
        sheet.columns[0].no_wrap = sheet.columns[2].no_wrap = True
        for entry in listed:
            if entry["mean_field"] == crowd:
                agents = entry["agents"]
                shown = ", ".join(agents) if len(agents) < 4 else f"{agents[0]} to {agents[-1]}"
                parameters = [f"{p['name']}={p['default']}" for p in entry["parameters"]]
                cells = (entry["name"], shown, "\n".join(parameters), entry["description"])
                sheet.add_row(*map(Text, cells))
        console.print(("\n" if crowd else "") + title + "\n")
        console.print(sheet)


def new_sheet(*heads: str) -> Any:
    """A table with these columns, its text printed as it is."""
    from rich import box
    from rich.table import Table as Sheet
    from rich.text import Text

    sheet = Sheet(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for head in heads:
        sheet.add_column(Text(head), overflow="fold")
    return sheet


def _bytes(count: float) -> str:
    units = ["bytes", "kB", "MB", "GB"]
    while count >= 1000 and len(units) > 1:
        count, units = count / 1000, units[1:]
    return f"{count:.3g} {units[0]}"


def print_json(value: Any) -> None:
    """One JSON value on standard output."""
    typer.echo(json_text(value))


def json_text(value: Any) -> str:
    """Strict JSON: a number that is not finite becomes null."""
    return json.dumps(_finite(value), allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not isfinite(value) else value

"""Play in files: what is written is read back, and what is wrong is told by line and column."""

import builtins
import gzip
import random
from typing import NamedTuple

import pyro.distributions as dist
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import vsg_ppl as vsg
from tests.bundled import AMID_A_CROWD, faced
from vsg_ppl import models, text_columns
from vsg_ppl.errors import MissingExtra
from vsg_ppl.observations import Observations
from vsg_ppl.observed_files import read_play, write_play
from vsg_ppl.simulate import simulate
from vsg_ppl.structure import leaves, rebuild

TWO = torch.ones(2)


class Place(NamedTuple):
    x: int
    y: int


class Scene(NamedTuple):
    position: Place
    row: int


class Moving:
    """Some state of zeros and ones that moves; `col` acts at two sites, `row` at one."""

    agents = ("row", "col")
    name = "Moving"
    discount = 0.9

    def __init__(self, state, horizon=None):
        self.state, self.horizon = state, horizon

    def initial(self):
        return self.state

    def step(self, state):
        side = vsg.act("col", dist.Categorical(TWO), name="side", labels=("LEFT", "RIGHT"))
        height = vsg.act("col", dist.Categorical(TWO), name="height", labels=("UP", "DOWN"))
        vsg.optimality("col", 1.0 * side)
        vsg.optimality("row", 1.0 * vsg.act("row", dist.Categorical(torch.ones(3))))
        moves = (side, height, side * height)
        return rebuild(
            state, [(part + move) % 2 for part, move in zip(leaves(state), moves, strict=False)]
        )


class Reserved:
    """Agents and parts of the state with the names of the other columns."""

    agents = ("t", "state")
    name = "Reserved"
    horizon = 2

    def initial(self):
        return {"episode": 0, "t": 1}

    def step(self, state):
        for agent in self.agents:
            go = vsg.act(agent, dist.Categorical(TWO))
            vsg.optimality(agent, 1.0 * go)
        return {"episode": go, "t": state["t"]}


STRUCTURES = {
    "integer": (0, "state"),
    "fields": (Place(0, 0), "x,y"),
    "field": ((0,), "state"),
    "nested": (Scene(Place(0, 0), 0), "position.x,position.y,state.row"),
    "keys": ({"x": 0, "side": 1}, "x,state.side"),
    "places": ((0, 1), "state.0,state.1"),
    "mixed": ((0, {"y": 1}), "state.0,state.1.y"),
    "none": (None, ""),
}


def uniform(table):
    return {
        agent: prior[0].exp() for agent, prior in zip(table.agents, table.log_priors, strict=True)
    }


def played(game, n=20, steps=6):
    table = game if isinstance(game, vsg.Table) else vsg.tabulate(game)
    return simulate(table, uniform(table), n, steps=min(steps, table.horizon or steps))


def same(one, other):
    assert one.steps == other.steps and bool((one.visits == other.visits).all())
    assert one.counts.keys() == other.counts.keys()
    assert all(bool((one.counts[agent] == other.counts[agent]).all()) for agent in one.counts)


@pytest.fixture
def file(tmp_path):
    def write(text, name="play.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


STAG = vsg.tabulate(models.StagHunt())
THERMOSTAT = vsg.tabulate(models.Thermostat())


# --- There and back ---


@pytest.mark.parametrize(
    "game",
    [
        models.StagHunt(),
        models.Soccer(rows=2, columns=3),
        models.GridGame(),
        models.Congestion(),
        models.Thermostat(),
        models.PrisonersDilemma(),
        Reserved(),
    ],
    ids=lambda game: type(game).__name__,
)
@pytest.mark.parametrize("name", ["play.csv", "play.csv.gz"])
def test_what_is_written_is_read(tmp_path, game, name):
    plays = played(game)
    write_play(tmp_path / name, plays)
    same(read_play(str(tmp_path / name), game), Observations.of(plays.table, plays))


def test_a_game_amid_a_crowd(tmp_path):
    assert "building_evacuation" in AMID_A_CROWD
    plays = played(faced("building_evacuation").table(), n=5)
    write_play(tmp_path / "play.csv", plays)
    same(read_play(tmp_path / "play.csv", plays.table), Observations.of(plays.table, plays))


@pytest.mark.parametrize("horizon", [None, 3])
@pytest.mark.parametrize("name", STRUCTURES)
def test_states_of_every_structure(tmp_path, name, horizon):
    state, columns = STRUCTURES[name]
    plays = played(Moving(state, horizon))
    write_play(tmp_path / "play.csv", plays)
    wanted = ["episode", "t", *filter(None, columns.split(",")), "row", "col"]
    assert (tmp_path / "play.csv").read_text().splitlines()[0] == ",".join(wanted)
    same(read_play(tmp_path / "play.csv", plays.table), Observations.of(plays.table, plays))


def test_names_of_other_columns_have_prefixes(tmp_path):
    write_play(tmp_path / "play.csv", played(Reserved()))
    first = (tmp_path / "play.csv").read_text().splitlines()[0]
    assert first == "episode,t,state.episode,state.t,action.t,action.state"


@pytest.mark.parametrize("chunk", [1, 2, 7, 119, 120, 121])
def test_chunks_end_anywhere(tmp_path, monkeypatch, chunk):
    plays = played(models.Soccer(rows=2, columns=3))
    write_play(tmp_path / "play.csv", plays)
    monkeypatch.setattr(text_columns, "CHUNK", chunk)
    monkeypatch.setattr(text_columns, "FEW", 3)
    same(read_play(tmp_path / "play.csv", plays.table), Observations.of(plays.table, plays))


ROWS = [
    [episode, t, random.Random(episode * 9 + t).randrange(11), action]
    for episode in range(4)
    for t, action in enumerate(["OFF", "LOW", "HIGH", "", "2"])
]


@given(rows=st.permutations(ROWS))
def test_the_order_of_the_rows_does_not_count(tmp_path_factory, rows):
    counted = []
    for some in (ROWS, rows):
        path = tmp_path_factory.getbasetemp() / "shuffled.csv"
        low = int(THERMOSTAT.states.values.min())
        lines = [f"{episode},{t},{low + state},{done}" for episode, t, state, done in some]
        path.write_text("\n".join(["episode,t,state,heater", *lines]))
        counted.append(read_play(path, THERMOSTAT))
    same(*counted)


# --- What a file may look like ---


def read(path, table=STAG):
    return read_play(path, table)


def counts(seen, agent):
    return seen.counts[agent][0].tolist()


def test_names_and_numbers_and_what_was_not_seen(file):
    words = ["STAG", "0", " STAG ", "0.0", "HARE", "1", "+1", "1.", "", " ", "NA", "NaN", "nan"]
    words += ["None", "null", "?"]
    seen = read(file("state,row\n" + "".join(f"1,{word}\n" for word in words)))
    assert counts(seen, "row") == [[0, 0], [4, 4]]
    assert counts(seen, "col") == [[0, 0], [0, 0]]
    assert seen.visits.tolist() == [[0, 16]] and seen.steps == 16


def test_an_action_named_as_a_number_or_as_nothing_goes_by_its_name(file):
    class Odd(Moving):
        agents = ("row",)

        def step(self, state):
            act = vsg.act("row", dist.Categorical(torch.ones(3)), labels=("1", "0", "None"))
            vsg.optimality("row", 1.0 * act)
            return state

    seen = read_play(file("row\n1\n1.0\n0\nNone\n2\nNA\n"), Odd(None))
    assert counts(seen, "row") == [[2, 1, 2]]


@pytest.mark.parametrize("mark", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
def test_marks_ends_of_lines_and_byte_order(file, mark, end, start):
    rows = ["other, state ,row, col", "x,0,STAG,1", "", 'y,"1", HARE,""', ""]
    seen = read(file(start + end.join(row.replace(",", mark) for row in rows).encode()))
    assert counts(seen, "row") == [[1, 0], [0, 1]]
    assert counts(seen, "col") == [[0, 1], [0, 0]]


def test_sites_together_or_apart(file):
    game = Moving(None)
    joint = read_play(file('col\n"LEFT,DOWN"\n"RIGHT, UP"\n3\n'), game)
    assert counts(joint, "col") == [[0, 1, 1, 1]]
    apart = "side,height,col\nLEFT,DOWN,x\nRIGHT,0,x\n1,1,x\nLEFT,,x\n?,UP,x\n"
    seen = read_play(file(apart), game)
    assert counts(seen, "col") == [[0, 1, 1, 1]] and seen.steps == 5
    named = read_play(file("action.side,action.height\n0,1\n"), game)
    assert counts(named, "col") == [[0, 1, 0, 0]]


def test_parts_of_the_state_by_their_whole_names(file):
    table = vsg.tabulate(Moving(Place(0, 0)))
    for header in ("x,y", "state.x,y", "y,state.x,x", "state.y,state.x"):
        places = {"x": "1", "y": "0", "state.x": "1", "state.y": "0"}
        row = [places[name] for name in header.split(",")]
        if header.startswith("y,"):
            row[2] = "7"  # the whole name goes first where both are there
        seen = read_play(file(f"{header},row\n{','.join(row)},2\n"), table)
        assert seen.visits[0, int(table.states.index(Place(1, 0)))] == 1


def test_one_state_needs_no_column(file):
    seen = read_play(file("row,col\nDEFECT,COOPERATE\n"), models.PrisonersDilemma())
    assert counts(seen, "row") == [[0, 1]] and seen.visits.tolist() == [[1]]
    assert read_play(file("state,t,row\n0,0,1\n"), models.PrisonersDilemma()).steps == 1


def test_times_are_read_where_the_game_has_an_end(file):
    state = THERMOSTAT.states[0]
    seen = read(file(f"t,state,heater\n23,{state},LOW\n0,{state},OFF\n"), THERMOSTAT)
    assert seen.counts["heater"].nonzero().tolist() == [[0, 0, 0], [23, 0, 1]]
    assert seen.visits.sum() == 2


def test_gaps_and_disorder_in_time_are_fine(file):
    rows = [(3, 0), (0, 0), (1, 1), (9, 0), (2, 0)]
    text = "episode,t,state,row\n" + "".join(f"a,{t},{state},0\n" for t, state in rows)
    assert read(file(text)).steps == 5


def test_rows_without_an_episode_may_be_of_one_time(file):
    assert read(file("t,state,row\n0,0,0\n0,0,0\n")).steps == 2
    assert read(file("episode,state,row\na,0,0\na,0,0\n")).steps == 2


def test_an_episode_that_comes_back_is_another_stretch(file):
    text = "episode,t,state,row\na,0,0,0\nb,0,0,0\na,0,0,0\n"
    assert read(file(text)).steps == 3


def test_fields_may_hold_ends_of_lines(file):
    path = file('note,state,row\n"one\ntwo",0,STAG\n\nx,0,STAGG\n')
    assert "play.csv, line 5, column 'row'" in fails(path)


# --- What is wrong ---


def fails(path, table=STAG):
    """The text of the error."""
    with pytest.raises(vsg.GameError) as error:
        read_play(path, table)
    assert "\n" not in str(error.value)
    return str(error.value)


ACTIONS = "or a number from 0 to 1; nothing where it was not seen."
BAD_ROWS = {
    "0,0,0,STAGG,0": f"column 'row': 'row' has no action 'STAGG'. Try: STAG, or another of HARE, "
    f"{ACTIONS}",
    "0,0,0,stag,0": f"column 'row': 'row' has no action 'stag'. Try: STAG, or another of HARE, "
    f"{ACTIONS}",
    "0,0,0,0,2": f"column 'col': 'col' has no action '2'. Try: one of STAG, HARE, {ACTIONS}",
    "0,0,0,0,-1": f"column 'col': 'col' has no action '-1'. Try: one of STAG, HARE, {ACTIONS}",
    "0,0,0,0,0.5": f"column 'col': 'col' has no action '0.5'. Try: one of STAG, HARE, {ACTIONS}",
    "0,0,2,0,0": "column 'state': the state 2 is not one of the 2 states reachable from the "
    "initial one. Try: 'state' from 0 to 1.",
    "0,0,1.5,0,0": "column 'state': '1.5' is not a whole number. Try: the state as whole numbers.",
    "0,0,99999999999999999999,0,0": "column 'state': '99999999999999999999' is not a whole number "
    "of at most 18 digits. Try: the state as whole numbers.",
    "0,0,,0,0": "column 'state': the state is missing. Try: filling it in, or leaving the row out.",
    "0,NA,0,0,0": "column 't': the time is missing. Try: filling it in, or leaving the row out.",
    "0,-2,0,0,0": "column 't': the time is -2. Try: whole numbers from 0.",
    "0,1e3,0,0,0": "column 't': '1e3' is not a whole number. Try: whole numbers from 0.",
    "0,0,0,0": "4 fields, and the header has 5. Try: ',' before every field but the first, even "
    "where an action was not seen.",
    "0,0,0,0,0,0": '6 fields, and the header has 5. Try: quotation marks (") around a field that '
    "contains ','.",
    '0,0,0,"0"x,0': "',' expected after '\"'. Try: a quotation mark (\") at both ends of a field, "
    "or none.",
    '0,0,0,"0,0': 'unexpected end of data. Try: a quotation mark (") at both ends of a field, '
    "or none.",
}


@pytest.mark.parametrize("chunk", [1, 3, 100])
@pytest.mark.parametrize("row", BAD_ROWS)
def test_a_bad_row_is_told_by_line_and_column(file, monkeypatch, row, chunk):
    monkeypatch.setattr(text_columns, "CHUNK", chunk)
    good = [f"{k},0,0,STAG," for k in range(1, 6)]
    unclosed = row.count('"') % 2
    path = file("\n".join(["episode,t,state,row,col", *good, row, *([] if unclosed else good)]))
    where = ", " if "column" in BAD_ROWS[row] else ": "
    assert fails(path) == f"play.csv, line 7{where}{BAD_ROWS[row]}"


def test_the_first_bad_row_is_told(file):
    rows = ["0,0"] * 40
    rows[17], rows[11], rows[30] = "5,0", "0,x", "y,y"
    assert "line 13, column 'row': 'row' has no action 'x'" in fails(
        file("\n".join(["state,row", *rows]))
    )


def test_many_actions_are_not_all_told(file):
    table = vsg.from_arrays(torch.zeros(1, 1, 40), agents=["one"], name="Many")
    assert fails(file("one\n40\n"), table) == (
        "play.csv, line 2, column 'one': 'one' has no action '40'. Try: 4, or another of 0, 1, 2, "
        "3, 5, 6, 7, 8, ..., or a number from 0 to 39; nothing where it was not seen."
    )


def test_a_state_of_several_parts(file):
    table = vsg.tabulate(models.Soccer(rows=2, columns=3))
    header = "state.a,state.b,ball,a,b\n"
    assert fails(file(f"{header}0,9,-1,0,0\n"), table) == (
        "play.csv, line 2, columns 'state.a', 'state.b', 'ball': the state Pitch(a=0, b=9, "
        f"ball=-1) is not one of the {len(table.states)} states reachable from the initial one. "
        "Try: 'state.b' from 0 to 5, 'ball' from 0 to 2."
    )
    text = fails(file(f"{header}2,2,0,0,0\n"), table)
    assert text.endswith(f"from the initial one. Try: a state such as {table.states[0]}.")


def test_times_after_the_end(file):
    state = THERMOSTAT.states[0]
    assert fails(file(f"t,state,heater\n24,{state},0\n"), THERMOSTAT) == (
        "play.csv, line 2, column 't': the time is 24, and Thermostat ends after 24 decisions. "
        "Try: whole numbers from 0 to 23; subtract 1 if the file counts from 1."
    )
    text = fails(file("t,row\n1,0\n"), vsg.tabulate(models.PrisonersDilemma()))
    assert text == (
        "play.csv, line 2, column 't': the time is 1, and PrisonersDilemma ends after 1 decision. "
        "Try: leaving 't' out: who plays again plays another episode."
    )


@pytest.mark.parametrize("times", [[0, 1, 2, 1], [5, 5], [0, 2, 1, 2], [4, 0, 1, 4], [3, 0, 3]])
@pytest.mark.parametrize("chunk", [1, 2, 100])
def test_two_rows_of_one_time(file, monkeypatch, times, chunk):
    monkeypatch.setattr(text_columns, "CHUNK", chunk)
    rows = ["a,0,0,0", *(f"b,{t},0,0" for t in times), "c,0,0,0"]
    before, after = 3 + times.index(times[-1]), 2 + len(times)
    assert fails(file("\n".join(["episode,t,state,row", *rows]))) == (
        f"play.csv, lines {before} and {after}: both are of episode 'b' at time {times[-1]}. "
        "Try: one row for each step; another play is another episode."
    )


HEADERS = {
    "state,agent": "play.csv has no column 'row': nobody is seen to act, nor is another agent's "
    "column there. It has 'state', 'agent'. Try: a header such as episode,t,state,row,col",
    "states,row": "play.csv has no column 'state': StagHunt has 2 states, and every row needs its "
    "own. It has 'states', 'row'. Try: 'state' in place of 'states', if that is meant; a header "
    "such as episode,t,state,row,col",
    "0,1,STAG,HARE": "play.csv has no column 'state': StagHunt has 2 states, and every row needs "
    "its own. It has '0', '1', 'STAG', 'HARE'. Try: a header such as episode,t,state,row,col",
    "state,row,row": "play.csv has two columns 'row'. Try: leaving one out.",
    "state,row,Col": "play.csv has no column 'col', but one 'Col'. Try: 'col', if that is meant; "
    "if not, another name, or no such column.",
    "Episode,state,row": "play.csv has no column 'episode', but one 'Episode'. Try: 'episode', if "
    "that is meant; if not, another name, or no such column.",
    "T,state,row": "play.csv has no column 't', but one 'T'. Try: 't', if that is meant; if not, "
    "another name, or no such column.",
}


@pytest.mark.parametrize("header", HEADERS)
def test_a_header_that_lacks_something(file, header):
    assert fails(file(f"{header}\n{header}\n")) == HEADERS[header]


def test_a_header_without_times(file):
    text = "play.csv has no column 't': Thermostat has a horizon, and every row needs its time. "
    rest = "a header such as episode,t,state,heater"
    for near in ("time", "Step"):
        found = fails(file(f"{near},state,heater\n"), THERMOSTAT)
        assert found == (
            f"{text}It has '{near}', 'state', 'heater'. Try: 't' in place of '{near}', if that is "
            f"meant; {rest}"
        )
    assert fails(file("state,heater\n"), THERMOSTAT).endswith(f"'heater'. Try: {rest}")


def test_a_header_without_some_part_or_site(file):
    game = Moving(Place(0, 0))
    assert fails(file("x,row\n"), game) == (
        "play.csv has no column 'y': Moving has 4 states, and every row needs its own. It has 'x', "
        "'row'. Try: a header such as episode,t,x,y,row,col"
    )
    assert fails(file("x,y,side\n"), game) == (
        "play.csv has no column 'height': 'col' acts at 2 sites, and only some have a column. It "
        "has 'x', 'y', 'side'. Try: a header such as episode,t,x,y,row,col"
    )
    grid = vsg.tabulate(models.GridGame())
    assert "no column 'state.a'" in fails(file("a,b\n"), grid)
    text = fails(file("state.a,a,b\n"), grid)  # what is known for another is not proposed
    assert "no column 'state.b'" in text and "in place of" not in text


def test_columns_too_many_to_tell(file):
    header = ",".join(f"c{k}" for k in range(14))
    assert "'c11' and 2 more. Try: a header" in fails(file(header))


def test_parts_of_one_name(file):
    game = Moving({"a.b": 0, "a": {"b": 0}})
    assert fails(file("row\n"), game) == "two parts of the states of Moving go by one name"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "play.csv is empty. Try: a first line that names the columns."),
        ("\nrow\n", "play.csv has an empty first line. Try: a first line that names the columns."),
        ("state,row", "play.csv has a header and no rows"),
        ("state,row\n\n\n", "play.csv has a header and no rows"),
        (
            "state,row\n0,STÄG\n".encode("latin-1"),
            "play.csv is not text in UTF-8. Try: saving it as UTF-8; a Parquet file is known by a "
            "name that ends in .parquet.",
        ),
    ],
)
def test_a_file_without_play(file, text, words):
    assert fails(file(text)) == words


def test_no_such_file(tmp_path):
    path = tmp_path / "none.csv"
    assert fails(path) == f"the file {path} does not exist"
    assert fails(tmp_path) == f"the file {tmp_path} is a directory"


def test_a_packed_file_that_is_none_or_cut_short(file):
    packed = gzip.compress(b"state,row\n" + b"0,0\n1,1\n" * 999)
    assert fails(file("state,row\n0,0\n", "play.csv.gz")).startswith(
        "play.csv.gz cannot be read: Not a gzipped file"
    )
    assert fails(file(packed[:-12], "play.csv.gz")).startswith("play.csv.gz cannot be read: ")
    assert read_play(file(packed, "play.csv.gz"), STAG).steps == 1998


def test_a_batch_of_games_was_not_played(file):
    table = vsg.from_arrays(torch.zeros(3, 1, 1, 2), batched=True)
    assert "play is of one game" in fails(file("agent1\n0\n"), table)


# --- Parquet ---


@pytest.fixture
def parquet():
    pytest.importorskip("pyarrow")
    from pyarrow import parquet

    return parquet


@pytest.mark.parametrize("game", [models.Thermostat(), models.GridGame(), Moving((0, 1))])
def test_parquet_is_read_as_csv(tmp_path, parquet, monkeypatch, game):
    from pyarrow import csv

    plays = played(game)
    write_play(tmp_path / "play.csv", plays)
    parquet.write_table(csv.read_csv(tmp_path / "play.csv"), tmp_path / "play.parquet")
    for chunk in (7, 1000):
        monkeypatch.setattr(text_columns, "CHUNK", chunk)
        same(read_play(tmp_path / "play.parquet", game), Observations.of(plays.table, plays))


def test_types_of_parquet_columns(tmp_path, parquet):
    import pyarrow as pa

    columns = {
        "episode": pa.array([1, 1, 2]),
        "state": pa.array([0, 1, 1], pa.uint8()),
        "row": pa.array(["STAG", None, "HARE"]).dictionary_encode(),
        "col": pa.array([1.0, float("nan"), None]),
        "note": pa.array([[1], [], [2]]),
    }
    parquet.write_table(pa.table(columns), tmp_path / "play.pq")
    seen = read_play(tmp_path / "play.pq", STAG)
    assert counts(seen, "row") == [[1, 0], [0, 1]] and counts(seen, "col") == [[0, 1], [0, 0]]


def test_what_is_wrong_in_parquet(tmp_path, file, parquet):
    import pyarrow as pa

    def write(**columns):
        parquet.write_table(pa.table(columns), tmp_path / "play.parquet")
        return fails(tmp_path / "play.parquet")

    assert write(state=[0, 0, 5], row=[0, 0, 0]) == (
        "play.parquet, row 3, column 'state': the state 5 is not one of the 2 states reachable "
        "from the initial one. Try: 'state' from 0 to 1."
    )
    assert write(state=[0, None], row=[0, 0]).startswith(
        "play.parquet, row 2, column 'state': the state is missing."
    )
    assert write(episode=[0, 0], t=[1, 1], state=[0, 0], row=[0, 0]).startswith(
        "play.parquet, rows 1 and 2: both are of episode '0' at time 1."
    )
    assert write(state=[0], row=[[0]]) == (
        "play.parquet: the column 'row' is of type list<element: int64>. Try: whole numbers or "
        "text."
    )
    assert write(state=pa.array([], pa.int64()), row=pa.array([], pa.int64())) == (
        "play.parquet has no rows"
    )
    assert fails(file("state,row\n0,0\n", "play.parquet")).startswith(
        "play.parquet cannot be read: "
    )


def test_parquet_needs_an_extra(file, monkeypatch):
    usual = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return usual(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtra, match=r"needs pyarrow, .*: pip install 'vsg_ppl\[parquet\]'"):
        read_play(file("", "play.parquet"), STAG)


def test_plays_are_not_written_as_parquet(tmp_path):
    with pytest.raises(vsg.GameError, match=r"play.pq: plays are written as CSV. Try: a name that"):
        write_play(tmp_path / "play.pq", played(models.StagHunt()))

"""`save` and `load`: what comes back is what was saved, and nothing else comes back at all."""

from __future__ import annotations

import errno
import json
import os
import pickle
import stat
from collections import OrderedDict
from dataclasses import dataclass, fields, replace
from enum import IntEnum
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pyro
import pyro.distributions as dist
import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pyro import poutine

import vsg_ppl as vsg
from tests.bundled import AMID_A_CROWD, SMALL_CROWDS, instances
from tests.random_games import games
from vsg_ppl import models, storage_file
from vsg_ppl.nash import random_policies
from vsg_ppl.storage import load, save
from vsg_ppl.storage_file import SOLUTION
from vsg_ppl.structure import to_json

SMALL = {
    "congestion": models.Congestion(n_agents=3, facilities=3),
    "soccer": models.Soccer(rows=2, columns=3),
}
SAVED = instances(SMALL)


def quick(game, **options):
    """A solution of a few steps, so that nothing in it is round."""
    return vsg.nash(game, **{"temperature": [1.0, 0.7], "max_steps": 3, **options})


@lru_cache
def soccer():
    return quick(SMALL["soccer"])


CROWDS = {name: SMALL_CROWDS.get(name, game()) for name, game in AMID_A_CROWD.items()}


@lru_cache
def crowd(name="beach_bar"):
    """A mean-field solution after a few steps."""
    options = {"method": "mirror_descent", "learning_rate": 0.3, "max_steps": 3}
    return vsg.mean_field_nash(CROWDS[name], temperature=0.7, **options)


def batch(horizon=None, **options):
    """A batch of three games; in one step if the horizon is 1."""
    torch.manual_seed(0)
    rewards = torch.rand(3, 2, 2, 3, 2)
    transitions = None if horizon == 1 else torch.rand(3, 2, 3, 2, 2).softmax(-1)
    table = vsg.from_arrays(
        rewards, transitions, discount=0.8, horizon=horizon, batched=True, name="three games"
    )
    return quick(table, **options)


def check_same(one, other):
    """Equal to the last bit, types and shapes included; NamedTuples may be look-alikes."""
    if isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype and torch.equal(one, other)
    elif isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            check_same(one[key], other[key])
    elif isinstance(one, tuple | list):
        assert isinstance(one, tuple) == isinstance(other, tuple) and len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            check_same(a, b)
    elif isinstance(one, vsg.Table | vsg.Certificate | vsg.MeanFieldCertificate):
        assert type(one) is type(other)
        for field in fields(one):
            check_same(getattr(one, field.name), getattr(other, field.name))
    elif type(one).__name__ == "States":
        check_same(one.values, other.values)
        check_labels(one.like, other.like)
        for a, b in zip(one, other, strict=True):
            check_labels(a, b)
            assert to_json(a) == to_json(b)
    else:
        assert type(one) is type(other) and one == other


def check_labels(one, other):
    """Of one structure; NamedTuples of one name and fields."""
    if isinstance(one, torch.Tensor | int):
        assert isinstance(other, torch.Tensor | int)
        return
    if isinstance(one, dict):
        assert list(one) == list(other)
    if isinstance(one, tuple):
        assert type(one).__name__ == type(other).__name__
        assert getattr(one, "_fields", None) == getattr(other, "_fields", None)
    if isinstance(one, dict | tuple | list):
        assert len(one) == len(other)
        parts = zip(one.values(), other.values(), strict=True) if isinstance(one, dict) else None
        for a, b in parts or zip(one, other, strict=True):
            check_labels(a, b)
        return
    assert one is None and other is None


def check_round_trip(solution):
    with TemporaryDirectory() as folder:
        path = save(solution, Path(folder) / "solution")
        assert path == Path(folder) / "solution" and os.listdir(folder) == ["solution"]
        loaded = load(path)
        again = load(save(loaded, Path(folder) / "again"))
    for other in (loaded, again):
        assert other.game is None
        for field in fields(vsg.Solution):
            if field.name != "game":
                check_same(getattr(solution, field.name), getattr(other, field.name))
    return loaded


# --- What is saved comes back --------------------------------------------------------------------


@pytest.mark.parametrize("name", SAVED)
def test_every_bundled_game_comes_back(name):
    solution = quick(SAVED[name])
    loaded = check_round_trip(solution)
    certificate = vsg.certify(loaded.table, loaded.policies, loaded.temperature)
    for found, kept in (
        (certificate.nash_gap, solution.certificate.nash_gap),
        (certificate.nash_gap_worst_state, solution.certificate.nash_gap_worst_state),
        (certificate.bound, solution.certificate.bound),
        *zip(certificate.values.values(), solution.certificate.values.values(), strict=True),
    ):
        assert found == pytest.approx(kept, rel=1e-12, abs=1e-9)
    one, other = solution.simulate(20, seed=4), loaded.simulate(20, seed=4)
    assert torch.equal(one.states, other.states)
    check_same(one.rewards, other.rewards)
    assert json.dumps(loaded.to_dict()) == json.dumps(solution.to_dict())


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(game=games(), seed=st.integers(0, 10**6))
def test_random_games_come_back(game, seed):
    table = vsg.tabulate(game)
    start = random_policies(table, seed)
    check_round_trip(quick(table, initial=start, max_steps=1, step=0.5))


@pytest.mark.parametrize("horizon", [None, 1, 4])
def test_batches_come_back(horizon):
    loaded = check_round_trip(batch(horizon))
    assert loaded.certificate.nash_gap.shape == (3,) and loaded.table.batch == 3


@pytest.mark.parametrize("game", [models.Hedge(), models.StagHunt(), models.Thermostat(horizon=3)])
def test_conditional_policies_come_back(game):
    solution = quick(game, factorisation="conditional")
    loaded = check_round_trip(solution)
    assert loaded.factorisation == "conditional" and set(loaded.answers) == set(game.agents)
    check_round_trip(batch(factorisation="conditional"))


def test_solutions_of_the_other_solvers_come_back():
    check_round_trip(vsg.logit_path(models.Chicken(), temperature=0.5))
    check_round_trip(vsg.nash_decentralised(models.StagHunt(), iterations=5))


@pytest.mark.parametrize("name", CROWDS)
def test_every_mean_field_game_comes_back(name, tmp_path):
    """Without the program, and with it; the program and the file say the same of the policy."""
    solution, game = crowd(name), CROWDS[name]
    loaded = check_round_trip(solution)
    assert isinstance(loaded.certificate, vsg.MeanFieldCertificate)
    assert loaded.certificate.regularised is not None
    assert json.dumps(loaded.to_dict()) == json.dumps(solution.to_dict())
    one, other = solution.simulate(20, seed=4), loaded.simulate(20, seed=4)
    assert torch.equal(one.states, other.states)
    again = load(save(solution, tmp_path / "s"), game)
    assert again.game is game
    check_same(again.table, solution.table)
    found = vsg.mean_field_certify(again.game, again.policies[game.agents[0]], again.temperature)
    for key, value in vars(found).items():
        assert value == pytest.approx(getattr(solution.certificate, key), rel=1e-9, abs=1e-12)


def test_odd_numbers_and_names_come_back():
    """JSON of Python: infinities, floats to the last digit, names of all scripts."""
    game = models.matrix_game(
        [[1 / 3, 1e-300], [-5e307, 2.0]],
        agents=("$tensor", 'a "b".c\\日本'),
        labels=[["", "$x_1$"], ["\n", "é"]],
        name="nom: ☃",
    )
    table = vsg.tabulate(game)
    solution = replace(
        quick(models.matrix_game([[1.0, 0.0], [0.0, 1.0]], agents=game.agents)),
        table=table,
        temperature=0.1 + 0.2,
        seconds=float("inf"),
        history=[{"iteration": 1, "residual": float("inf"), "elbo": {"$tensor": 1e-17}}],
    )
    loaded = check_round_trip(solution)
    assert loaded.table.actions[0].labels == (("", "$x_1$"),)


class Part(NamedTuple):
    x: Any
    rest: Any


class Colour(IntEnum):
    RED = 2


@dataclass
class Shaped:
    """A game whose states have a given structure around two numbers."""

    shape: Any
    agents = ("solo",)
    horizon = 2

    def initial(self):
        return self.shape(pyro.sample("one", dist.Bernoulli(0.4)).long(), torch.tensor(3))

    def step(self, state):
        vsg.optimality("solo", vsg.act("solo", dist.Categorical(torch.ones(2))))
        return state


SHAPES = {
    "tuple": lambda a, b: (a, b),
    "list": lambda a, b: [a, b],
    "named in named": lambda a, b: Part(a, Part((b,), {})),
    "dict in list": lambda a, b: [{"x": a}, {"y": b}],
    "nothing inside": lambda a, b: (None, a, (), b),
    "integer keys": lambda a, b: {1: a, 0: b},
    "enum keys": lambda a, b: {Colour.RED: a, 1: b},
    "order of keys": lambda a, b: OrderedDict(z=a, a=b),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_structure_of_state_comes_back(shape, tmp_path):
    game = Shaped(SHAPES[shape])
    solution = quick(game)
    loaded = check_round_trip(solution)
    for state, other in zip(solution.table.states, loaded.table.states, strict=True):
        one = vsg.Solution.policy(solution, "solo", state, t=1)
        assert loaded.policy("solo", other, t=1) == one
    check_same(load(save(solution, tmp_path / "s"), game).table, solution.table)


def test_named_tuples_are_look_alikes_without_the_game_and_the_games_own_with_it(tmp_path):
    path = save(soccer(), tmp_path / "soccer")
    alike, own = load(path).table.states[0], load(path, SMALL["soccer"]).table.states[0]
    assert repr(alike) == repr(own) == "Pitch(a=0, b=0, ball=2)"
    assert alike.ball == 2 and alike._fields == own._fields
    assert type(own) is type(soccer().table.states[0]) is not type(alike)


def test_what_is_loaded_with_its_game_acts_in_the_games_programs(tmp_path):
    game = SMALL["soccer"]
    loaded = load(save(soccer(), tmp_path / "soccer"), game)
    assert loaded.game is game
    model = vsg.agent_model(game, "a", {"b": loaded.guide("b")}, horizon=3)
    trace = poutine.trace(model).get_trace()
    trace.compute_log_prob()
    first = trace.nodes["b_0"]
    state = soccer().table.states.index(
        type(soccer().table.states[0])(1 * 3, 2, int(trace.nodes["ball_0"]["value"]))
    )
    wanted = soccer().policies["b"][int(state), int(first["value"])].log()
    assert float(first["log_prob"]) == pytest.approx(float(wanted), rel=1e-9)


def test_a_table_is_as_good_as_a_game(tmp_path):
    solution = batch()
    loaded = load(save(solution, tmp_path / "batch"), solution.table)
    assert loaded.table is solution.table and loaded.game is None


def test_anyone_can_read_the_tensors(tmp_path):
    """The file is an ordinary safetensors file with speaking names."""
    solution = soccer()
    tensors = safetensors.torch.load_file(save(solution, tmp_path / "soccer"))
    assert torch.equal(tensors["policies.a"], solution.policies["a"])
    assert torch.equal(tensors["values.b"], solution.values["b"])
    with safetensors.safe_open(tmp_path / "soccer", "pt") as file:
        metadata = file.metadata()
    assert metadata["format"] == "vsg_ppl.solution" and metadata["version"] == "1"
    content = json.loads(metadata["solution"])
    assert content["certificate"]["nash_gap"] == solution.certificate.nash_gap
    assert content["table"]["agents"] == ["a", "b"]


def test_no_pickle(monkeypatch, tmp_path):
    solution = soccer()

    def forbidden(*args, **kwargs):
        raise AssertionError("pickle")

    for module in (pickle, torch):
        for name in ("load", "loads", "dump", "dumps", "save", "Pickler", "Unpickler"):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, forbidden)
    check_same(load(save(solution, tmp_path / "s")).policies, solution.policies)


def test_gradients_and_strides_are_left_behind(tmp_path):
    """Policies that are views, or still have a graph, are saved by value."""
    solution = soccer()
    policies = {
        "a": solution.policies["a"].T.contiguous().T.requires_grad_(),
        "b": torch.tensor([0.0, 0.0, 0.0, 0.0, 1.0], dtype=torch.float64).expand(61, 5),
    }
    loaded = load(save(replace(solution, policies=policies), tmp_path / "s"))
    for agent, policy in policies.items():
        assert not policy.is_contiguous()
        assert torch.equal(loaded.policies[agent], policy.detach())
        assert loaded.policies[agent].is_contiguous() and not loaded.policies[agent].requires_grad


def test_files_from_before_there_were_crowds_are_read(tmp_path):
    (tmp_path / "s").write_bytes(forged(drop("crowd")))
    loaded = load(tmp_path / "s", models.StagHunt())
    assert loaded.crowd is None and loaded.certificate.nash_gap >= 0


# --- Writing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_the_old_file(error, monkeypatch, tmp_path):
    path = save(soccer(), tmp_path / "s")
    before = path.read_bytes()

    def fail(_):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(vsg.GameError if isinstance(error, OSError) else KeyboardInterrupt):
            save(quick(models.StagHunt()), path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["s"]
    save(quick(models.StagHunt()), path)
    assert load(path).table.name == "StagHunt" and os.listdir(tmp_path) == ["s"]


def test_half_a_file_is_never_seen(monkeypatch, tmp_path):
    """Until the last moment the path holds the old file."""
    path, seen = save(soccer(), tmp_path / "s"), []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (seen.append(load(path)), fsync(file)))
    before = path.read_bytes()
    with path.open("rb") as reader:  # who has begun to read reads on in the old file
        save(quick(models.StagHunt()), path)
        assert reader.read() == before
    assert [solution.table.name for solution in seen] == ["Soccer"]
    assert load(path).table.name == "StagHunt"


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_a_file_is_as_readable_as_any_other_and_links_stay_links(tmp_path):
    (tmp_path / "plain").touch()
    path = save(soccer(), tmp_path / "s")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)
    (tmp_path / "link").symlink_to("s")
    save(quick(models.StagHunt()), tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and load(path).table.name == "StagHunt"


def test_places_that_cannot_be_written_are_named(tmp_path):
    for path in (tmp_path / "none" / "s", tmp_path):
        with pytest.raises(vsg.GameError, match="cannot be written"):
            save(soccer(), path)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"history": [{"solver": object()}]}, "cannot be written as JSON"),
        ({"history": [{3: 1.0}]}, "has the key 3"),
        ({"policies": {}}, "the policies are those of"),
        ({"values": {"a": torch.zeros(2), "b": torch.zeros(2)}}, "the values of 'a'"),
        ({"policies": {"a": torch.ones(61, 5), "b": torch.ones(61, 5)}}, "float32; expected"),
        ({"policies": dict.fromkeys("ab", torch.ones(61, 5).double())}, "sum to 5"),
    ],
)
def test_what_could_not_be_loaded_is_not_saved(change, message, tmp_path):
    with pytest.raises(vsg.GameError, match=message):
        save(replace(soccer(), **change), tmp_path / "s")
    assert os.listdir(tmp_path) == []


def test_keys_that_json_lacks_are_refused(tmp_path):
    solution = quick(Shaped(lambda a, b: {(1, 2): a, "y": b}))
    with pytest.raises(vsg.GameError, match=r"the key \(1, 2\)"):
        save(solution, tmp_path / "s")


def test_a_history_beyond_the_header_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(storage_file, "HEADER", 2000)
    with pytest.raises(vsg.GameError, match="header of a file 2,000 at most"):
        save(soccer(), tmp_path / "s")
    assert os.listdir(tmp_path) == []


# --- Files that are none -------------------------------------------------------------------------


def check_refused(data, match=None):
    with TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        path.write_bytes(data)
        with pytest.raises(vsg.GameError, match=match) as caught:
            load(path)
        assert str(path) in str(caught.value)


@lru_cache
def good():
    """The bytes of a file."""
    with TemporaryDirectory() as folder:
        return save(quick(models.StagHunt()), Path(folder) / "s").read_bytes()


@settings(max_examples=300)
@given(share=st.floats(0, 1, exclude_max=True))
@example(share=0.0)
@example(share=1 - 1e-9)
def test_a_file_cut_off_anywhere_is_refused(share):
    check_refused(good()[: int(share * len(good()))])


def test_a_file_cut_off_at_every_seam_is_refused():
    length = int.from_bytes(good()[:8], "little")
    for end in (1, 7, 8, 9, 8 + length - 1, 8 + length, 8 + length + 1, len(good()) - 1):
        check_refused(good()[:end])


@settings(max_examples=400)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_is_noticed_anywhere(place, bit):
    data = bytearray(good())
    data[int(place * len(data))] ^= 1 << bit
    check_refused(bytes(data))


@settings(max_examples=200)
@given(data=st.binary(max_size=300))
def test_random_bytes_are_refused(data):
    check_refused(data)
    check_refused(len(data).to_bytes(8, "little") + data)


@settings(max_examples=100)
@given(
    header=st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda inside: (
            st.lists(inside, max_size=3)
            | st.dictionaries(
                st.sampled_from(["__metadata__", "format", "version", "solution", "sha256", "x"]),
                inside | st.just(SOLUTION.format),
                max_size=5,
            )
        ),
    )
)
def test_random_headers_are_refused(header):
    data = json.dumps(header).encode()
    check_refused(len(data).to_bytes(8, "little") + data)


FOREIGN = {
    "empty": b"",
    "JSON": json.dumps(soccer().to_dict()).encode(),
    "text": b"a game of two agents\n" * 20,
    "pickle": pickle.dumps({"policies": [0.5, 0.5]}),
    "PNG": b"\x89PNG\r\n\x1a\n" + bytes(100),
    "a header as long as can be": b"\xff" * 8 + bytes(100),
    "deep JSON": (100_000).to_bytes(8, "little") + b"[" * 100_000,
    "more behind": good() + b"\0",
    "something before": b"\0" + good(),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_foreign_files_are_refused(kind):
    check_refused(FOREIGN[kind], "is no solution that can be read")


def test_safetensors_of_others_are_refused():
    weights = {"weight": torch.zeros(3)}
    for metadata in (None, {}, {"format": "pt"}, {"format": "vsg_ppl.other", "version": "1"}):
        data = safetensors.torch.save(weights, metadata)
        check_refused(data, "lacks the mark 'vsg_ppl.solution'")
    for metadata in ({}, {"version": "1"}, {"version": "one", "solution": "{}", "sha256": ""}):
        data = safetensors.torch.save(weights, {"format": "vsg_ppl.solution", **metadata})
        check_refused(data, "header is incomplete")


def test_a_newer_version_says_to_update():
    metadata = {"format": "vsg_ppl.solution", "version": "2", "solution": "{}", "sha256": ""}
    data = safetensors.torch.save({"x": torch.zeros(1)}, metadata)
    check_refused(data, "version 2 of the format.*up to 1.*pip install --upgrade")


@pytest.mark.parametrize("missing", ["nothing", ".", "nothing/inside"])
def test_paths_that_hold_no_file(missing, tmp_path):
    with pytest.raises(vsg.GameError, match="cannot be read"):
        load(tmp_path / missing)


@lru_cache
def good_crowd():
    """The bytes of a mean-field solution's file."""
    with TemporaryDirectory() as folder:
        return save(crowd(), Path(folder) / "s").read_bytes()


def forged(edit, data=None):
    """A file with other content and a right fingerprint."""
    data = good() if data is None else data
    tensors = safetensors.torch.load(data)
    length = int.from_bytes(data[:8], "little")
    tree = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["solution"])
    edit(tree, tensors)
    content = json.dumps(tree)
    metadata = {
        "format": SOLUTION.format,
        "version": str(SOLUTION.version),
        "sha256": storage_file.digest(content, tensors),
        "solution": content,
    }
    return safetensors.torch.save(tensors, metadata)


def put(*path, value):
    """Set a part of the JSON."""

    def edit(tree, tensors):
        for key in path[:-1]:
            tree = tree[key]
        tree[path[-1]] = value

    return edit


def drop(*path):
    """Remove a part of the JSON."""

    def edit(tree, tensors):
        for key in path[:-1]:
            tree = tree[key]
        del tree[path[-1]]

    return edit


def change(name, function):
    """Replace a tensor."""

    def edit(tree, tensors):
        tensors[name] = function(tensors[name]).contiguous().clone()

    return edit


FORGERIES = {
    "no tree": lambda tree, tensors: tree.clear(),
    "no table": drop("table"),
    "no agents": drop("table", "agents"),
    "an agent more": put("table", "agents", value=["row", "col", "x"]),
    "a table that is a number": put("table", value=3),
    "a part no table has": put("table", "colour", value=3),
    "no certificate": drop("certificate"),
    "a certificate of another kind": put("certificate", value={"gap": 0.0}),
    "no policy": drop("policies", "row"),
    "no values": put("values", value={}),
    "a tensor that is not there": put("policies", "row", value={"$tensor": "nothing"}),
    "a policy that is a number": put("policies", "row", value=0.5),
    "a policy of another shape": change("policies.row", lambda x: x[:, :1]),
    "a policy with another time": change("policies.row", lambda x: x[None]),
    "a policy off the simplex": change("policies.row", lambda x: 2 * x),
    "a policy of NaN": change("policies.row", lambda x: x * torch.nan),
    "values of another shape": change("values.col", lambda x: x[:1]),
    "values in float32": change("values.col", lambda x: x.float()),
    "a reward that is infinite": change("table.rewards.0", lambda x: x / 0),
    "a reward of another shape": change(
        "table.rewards.0", lambda x: x[..., :1, :1].repeat(1, 1, 1, 3, 3)
    ),
    "a reward for more states": change("table.rewards.0", lambda x: torch.cat([x, x], 2)),
    "a prior of NaN": change("table.log_priors.1", lambda x: x * torch.nan),
    "a prior above 1": change("table.log_priors.1", lambda x: x + 1),
    "negative probabilities": change("table.probabilities", lambda x: -x),
    "large probabilities": change("table.probabilities", lambda x: 2 * x),
    "probabilities of NaN": change("table.probabilities", lambda x: x * torch.nan),
    "fewer successors": change("table.probabilities", lambda x: x[..., :1]),
    "an initial law of more": change("table.initial", lambda x: torch.cat([x, x], 1) / 2),
    "states that repeat parts": change("table.states.values", lambda x: torch.cat([x, x], 1)),
    "states that are fractions": change("table.states.values", lambda x: x.double()),
    "structure unknown": put("table", "states", "structure", value="real"),
    "structure of two": put("table", "states", "structure", value={"tuple": ["integer"] * 2}),
    "a NamedTuple of no names": put(
        "table",
        "states",
        "structure",
        value={"named": "1; import os", "fields": [["x", "integer"]]},
    ),
    "a field that is code": put(
        "table", "states", "structure", value={"named": "S", "fields": [["x=exit()", "integer"]]}
    ),
    "names of other actions": put("table", "actions", 0, "labels", value=[["A", "B", "C"]]),
    "actions of nobody": put("table", "actions", value=[]),
    "answers of a stranger": put("answers", value={"x": {"$tensor": "policies.row"}}),
    "answers of another shape": put("answers", value={"row": {"$tensor": "policies.row"}}),
    "a crowd": put("crowd", value={"$tensor": "policies.row"}),
    "a crowd that is asked for": put("concept", value="mean_field"),
    "a horizon": put("table", "horizon", value=3),
    "a batch": put("table", "batched", value=True),
}


def shift(x):
    """The same crowd a place further, where it does not act by its policy."""
    return x.roll(1, dims=-2)


CROWD_FORGERIES = {
    "no crowd": put("crowd", value=None),
    "no crowd at all": drop("crowd"),
    "a crowd of another shape": change("crowd", lambda x: x[:1]),
    "a crowd in float32": change("crowd", lambda x: x.float()),
    "a crowd of too many": change("crowd", lambda x: 2 * x),
    "a crowd of NaN": change("crowd", lambda x: x * torch.nan),
    "negative shares": change("crowd", lambda x: x + torch.tensor([-1.0, 0.5, 0.5]).double()),
    "a crowd that plays otherwise": change("crowd", shift),
    "a policy that is not the crowd's": change("policies.bather", lambda x: x.flip(-1)),
    "a number": put("crowd", value=0.25),
    "another concept": put("concept", value="nash"),
    "a certificate of another kind": put("certificate", value={"nash_gap": 0.0}),
    "a certificate without a number": put("certificate", "exploitability", value=None),
    "a certificate of words": put("certificate", "value", value="much"),
    "a certificate that is not finite": put("certificate", "worst_state", value=float("nan")),
}


def test_a_forgery_that_changes_nothing_is_read(tmp_path):
    (tmp_path / "s").write_bytes(forged(lambda tree, tensors: None))
    assert load(tmp_path / "s").table.name == "StagHunt"
    (tmp_path / "s").write_bytes(forged(lambda tree, tensors: None, good_crowd()))
    assert load(tmp_path / "s").table.name == "BeachBar"
    (tmp_path / "s").write_bytes(
        forged(put("certificate", "regularised", value=None), good_crowd())
    )
    assert load(tmp_path / "s").certificate.regularised is None


@pytest.mark.parametrize("forgery", CROWD_FORGERIES)
def test_crowds_that_do_not_fit_are_refused(forgery):
    check_refused(forged(CROWD_FORGERIES[forgery], good_crowd()))


@pytest.mark.parametrize("forgery", FORGERIES)
def test_parts_that_do_not_fit_are_refused(forgery):
    check_refused(forged(FORGERIES[forgery]))


@pytest.mark.parametrize(
    "name", ["table.successors", "table.reachable"], ids=["successors", "reachable"]
)
def test_indices_outside_the_table_are_refused(name, tmp_path):
    """The sparse parts, which a stag hunt lacks."""
    solution = quick(models.Thermostat(horizon=3))
    table = solution.table
    assert table.successors is not None and table.reachable is not None
    changed = {
        "table.successors": {"successors": table.successors + 1},
        "table.reachable": {"reachable": table.reachable[:2]},
    }[name]
    with pytest.raises(vsg.GameError, match="next state is not among|what is reachable"):
        save(replace(solution, table=replace(table, **changed)), tmp_path / "s")


# --- The game at hand must be the game solved ----------------------------------------------------


@dataclass(frozen=True)
class Weather(models.StagHunt):
    """A stag hunt of which one thing is changed."""

    what: str = "nothing"

    @property
    def name(self):
        return "StagHunt"

    def _renamed(self, weather):
        for agent in self.agents:
            vsg.optimality(agent, vsg.act(agent, dist.Categorical(torch.ones(2).double())))
        return pyro.sample("weather", dist.Categorical(models.stag_hunt.SEASON[weather]))

    def initial(self):
        first = [0.5, 0.5] if self.what != "initial law" else [0.4, 0.6]
        weather = pyro.sample("weather", dist.Categorical(torch.tensor(first, dtype=torch.float64)))
        return (weather,) if self.what == "states" else weather

    def step(self, weather):
        if self.what == "states":
            return (super().step(weather[0]),)
        if self.what == "rewards":
            vsg.optimality("col", torch.tensor(1e-6), name="more")
        if self.what == "names":
            return self._renamed(weather)
        following = super().step(weather)
        return torch.where(weather == 1, 1, following) if self.what == "transitions" else following


def test_the_same_game_is_accepted(tmp_path):
    path = save(quick(models.StagHunt()), tmp_path / "s")
    for game in (models.StagHunt(), Weather(), vsg.tabulate(models.StagHunt())):
        assert load(path, game).policies["row"].shape == (2, 2)


@pytest.mark.parametrize(
    ("game", "part"),
    [
        (models.Congestion(n_agents=2, facilities=2), "agents"),
        (models.PrisonersDilemma(), "horizon"),
        (Weather(what="names"), "actions"),
        (Weather(what="states"), "states"),
        (models.StagHunt(discount=0.8), "discount"),
        (Weather(what="rewards"), "rewards"),
        (Weather(what="transitions"), "transitions"),
        (Weather(what="initial law"), "initial law"),
    ],
)
def test_another_game_is_refused(game, part, tmp_path):
    path = save(quick(models.StagHunt()), tmp_path / "s")
    with pytest.raises(vsg.GameError, match=f"StagHunt, which differs from .* in its {part}"):
        load(path, game)


@pytest.mark.parametrize(
    ("solved", "given", "part"),
    [
        (models.Thermostat(horizon=4), models.Thermostat(horizon=5), "horizon"),
        (models.Thermostat(horizon=20), models.Thermostat(horizon=21), "horizon"),
        (SMALL["soccer"], models.Soccer(rows=3, columns=3), "states"),
        (models.GridGame(slip=0.1), models.GridGame(slip=0.2), "transitions"),
    ],
)
def test_other_parameters_are_refused(solved, given, part, tmp_path):
    path = save(quick(solved), tmp_path / "s")
    with pytest.raises(vsg.GameError, match=f"differs from .* in its ({part})"):
        load(path, given)


def test_a_batch_is_not_its_first_game(tmp_path):
    solution = batch()
    path = save(solution, tmp_path / "s")
    with pytest.raises(vsg.GameError, match="differs from three games in its"):
        load(path, replace(solution.table, rewards=tuple(r[:2] for r in solution.table.rewards)))
    with pytest.raises(vsg.GameError, match="in its batch"):
        load(path, replace(solution.table, batched=False))


# --- and amid the same crowd ---------------------------------------------------------------------


def test_a_mean_field_game_is_accepted_as_program_table_and_game_amid_the_crowd(tmp_path):
    solution, game = crowd(), models.BeachBar()
    path = save(solution, tmp_path / "s")
    for form in (game, vsg.mean_field_table(game), vsg.facing(game, solution.crowd)):
        loaded = load(path, form)
        check_same(loaded.crowd, solution.crowd)
        assert torch.allclose(loaded.table.rewards[0], solution.table.rewards[0], atol=1e-12)
    assert load(path, vsg.mean_field_table(game)).game is None


@pytest.mark.parametrize(
    ("game", "part"),
    [
        (models.BeachBar(places=5), "states"),
        (models.BeachBar(places=3), "states"),
        (models.BeachBar(horizon=4), "horizon"),
        (models.BeachBar(bar=1), "rewards"),
        (models.BeachBar(still=0.4), "transitions"),
        (models.LeftRight(), "agents"),
        (models.StagHunt(), "agents"),
    ],
)
def test_another_mean_field_game_is_refused(game, part, tmp_path):
    path = save(crowd(), tmp_path / "s")
    with pytest.raises(vsg.GameError, match=f"BeachBar, which differs from .* in its {part}"):
        load(path, game)


def test_what_the_crowd_pays_is_compared_amid_the_crowd_that_was_saved(tmp_path):
    """The same game, but for what it pays in crowds of more than 35 %."""

    class Crowded(models.BeachBar):
        name = "BeachBar"

        def step(self, place, crowd):
            vsg.optimality("bather", -1e-3 * (crowd.at(place) > 0.35), name="more")
            return super().step(place, crowd)

    spread, dense = (
        vsg.mean_field_nash(models.BeachBar(), **o) for o in ({"temperature": 9.0}, {})
    )
    assert float(spread.shares.max()) < 0.35 < float(dense.shares.max())
    assert load(save(spread, tmp_path / "spread"), Crowded()).game is not None
    with pytest.raises(vsg.GameError, match="in its rewards"):
        load(save(dense, tmp_path / "dense"), Crowded())


def test_nash_and_mean_field_solutions_are_not_mixed_up(tmp_path):
    path = save(quick(models.StagHunt()), tmp_path / "s")
    with pytest.raises(vsg.GameError, match="StagHunt without a crowd, and BeachBar is a mean"):
        load(path, models.BeachBar())
    with pytest.raises(vsg.GameError, match="is a class, not a game"):
        load(path, models.BeachBar)


def test_states_that_a_solver_met_on_its_way_are_states_of_the_game(tmp_path):
    """A table may have more states than exploring the program finds."""
    game = models.LinearQuadratic(reach=3, sigma=0.0, horizon=2)
    game = replace_initial(game)
    small = vsg.mean_field_table(game)
    large = vsg.mean_field_table(game, more=torch.tensor([[3]]))
    solution = vsg.mean_field_nash(large, temperature=1.0)
    assert len(solution.table.states) > len(small.states)
    loaded = load(save(solution, tmp_path / "s"), game)
    assert loaded.game is game and torch.equal(
        loaded.table.states.values, solution.table.states.values
    )


def replace_initial(game):
    """The same game in which all start at 0."""

    class Start(type(game)):
        name = "Start"

        def initial(self):
            return torch.tensor(0)

    return Start(**{field.name: getattr(game, field.name) for field in fields(game)})

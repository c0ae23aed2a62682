"""What is inferred comes back from a file as it was, and nothing else comes back at all."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pyro
import pyro.distributions as dist
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import vsg_ppl as vsg
from tests.test_storage import change, check_same, drop, put
from vsg_ppl import models, storage_file
from vsg_ppl.inference_storage import load_inference, save_inference
from vsg_ppl.storage_file import INFERENCE


@dataclass(frozen=True)
class Taste:
    """A stag hunt whose hunters' taste for stags, and patience, an observer does not know."""

    kinds: int = 2
    agents = ("row", "col")
    horizon: int | None = None

    @property
    def discount(self):
        return pyro.sample("patience", dist.Beta(5.0, 5.0))

    def initial(self):
        return torch.tensor(0)

    def step(self, state):
        taste = pyro.sample("taste", dist.Normal(0.0, 1.0))
        actions = [vsg.act(who, dist.Categorical(torch.ones(self.kinds))) for who in self.agents]
        both = (actions[0] == 0) & (actions[1] == 0)
        for who in self.agents:
            vsg.optimality(who, taste * both + 0.3 * state)
        return 1 - state


@lru_cache
def plays(game, **options):
    fixed = vsg.given(game, {"patience": 0.4, "taste": 1.5}) if isinstance(game, Taste) else game
    steps = 5 if getattr(game, "horizon", None) is None else None
    return vsg.nash(fixed, temperature=1.0, max_steps=20).simulate(100, steps=steps, seed=1)


@lru_cache
def inferred(case):
    hunt, stove = models.StagHunt(), models.Thermostat(horizon=3)
    options = {
        "laplace": {},
        "svi": {"method": "svi", "steps": 40},
        "nuts": {"method": "nuts", "samples": 12, "warmup": 12},
        "both": {"others": "equilibrium", "samples": 20},
        "nothing to infer": {"reward": "program", "temperature": 1.0},
        "horizon": {"samples": 20},
        "unknowns": {"samples": 20, "temperature": 1.0},
        "lapse": {"samples": 20, "lapse": dist.Beta(1.0, 9.0)},
    }[case]
    game = {"horizon": stove, "unknowns": Taste()}.get(case, hunt)
    agent = {"horizon": "heater", "both": ["row", "col"]}.get(case, "col")
    return vsg.infer_opponent(game, agent, plays(game), **options)


CASES = ("laplace", "svi", "nuts", "both", "nothing to infer", "horizon", "unknowns", "lapse")


@pytest.mark.parametrize("case", CASES)
def test_what_is_inferred_comes_back(case, tmp_path):
    found = inferred(case)
    path = found.save(tmp_path / "found")
    assert path == tmp_path / "found" and os.listdir(tmp_path) == ["found"]
    loaded = vsg.OpponentInference.load(path)
    again = vsg.OpponentInference.load(loaded.save(tmp_path / "again"))
    for other in (loaded, again):
        assert other.game is None
        for field in fields(vsg.OpponentInference):
            if field.name == "log_evidence" and case == "nuts":
                assert other.log_evidence != other.log_evidence
            elif field.name == "diagnostics":
                assert repr(other.diagnostics) == repr(found.diagnostics)  # NaN included
            elif field.name != "game":
                check_same(getattr(found, field.name), getattr(other, field.name))
    assert json.dumps(loaded.to_dict()) == json.dumps(found.to_dict())


@pytest.mark.parametrize("case", ["laplace", "horizon", "unknowns"])
def test_what_comes_back_answers_the_same(case, tmp_path):
    found = inferred(case)
    loaded = load_inference(found.save(tmp_path / "found"), found.game)
    assert loaded.game is found.game
    state, agent = found.table.states[0], found.agents[0]
    assert loaded.predict(state, level=0.5) == found.predict(state, level=0.5)
    assert loaded.statistics() == found.statistics()
    for site in found.posterior:
        check_same(loaded.interval(site), found.interval(site))
    assert torch.equal(loaded.guide().log_table(), found.guide().log_table())
    assert agent in repr(loaded)


def test_diagnostics_of_all_kinds_come_back(tmp_path):
    diagnostics = {
        "r_hat": {"taste": torch.tensor([1.0, 1.1])},
        "losses": [3.0, float("inf"), 1e-300],
        "flat": 2,
        "sampler": "NUTS",
        "nothing": None,
    }
    found = replace(inferred("laplace"), diagnostics=diagnostics)
    check_same(load_inference(found.save(tmp_path / "f")).diagnostics, diagnostics)


def test_anyone_can_read_the_tensors(tmp_path):
    found = inferred("laplace")
    tensors = safetensors.torch.load_file(found.save(tmp_path / "f"))
    assert torch.equal(tensors["policies.col"], found.policy)
    assert torch.equal(tensors["posterior.reward.col"], found.posterior["reward.col"])


# --- What is not written -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"diagnostics": {"sampler": object()}}, "inference cannot be written as JSON"),
        ({"diagnostics": {3: 1.0}}, "has the key 3"),
        ({"policies": {}}, "the policies are those of"),
        ({"policies": {"col": torch.ones(2, 2).double()}}, "sum to 2, not 1"),
        ({"method": "guess"}, "the method is 'guess', not one of laplace, map, svi, nuts"),
        ({"posterior": {"a": torch.ones(3), "b": torch.ones(2)}}, "as many draws of every"),
    ],
)
def test_what_could_not_be_loaded_is_not_saved(parts, message, tmp_path):
    with pytest.raises(vsg.GameError, match=message):
        replace(inferred("laplace"), **parts).save(tmp_path / "f")
    assert os.listdir(tmp_path) == []


def test_diagnostics_beyond_the_header_are_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(storage_file, "HEADER", 2000)
    with pytest.raises(vsg.GameError, match="the diagnostics and names take .*diagnostics={}"):
        inferred("svi").save(tmp_path / "f")


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(vsg.GameError, match="cannot be written"):
        inferred("laplace").save(tmp_path / "none" / "f")


# --- Files that are none -------------------------------------------------------------------------


@lru_cache
def good(case="laplace"):
    """The bytes of a file."""
    with TemporaryDirectory() as folder:
        return save_inference(inferred(case), Path(folder) / "f").read_bytes()


def check_refused(data, match=None):
    with TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        path.write_bytes(data)
        with pytest.raises(vsg.GameError, match=match) as caught:
            load_inference(path)
        assert str(path) in str(caught.value)


@settings(max_examples=100, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_is_noticed_anywhere(place, bit):
    data = bytearray(good("nothing to infer"))
    data[int(place * len(data))] ^= 1 << bit
    check_refused(bytes(data))


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_file_cut_off_is_refused(share):
    check_refused(good()[: int(share * len(good()))], "is no inference that can be read")


def test_what_others_wrote_is_refused():
    weights = {"weight": torch.zeros(3)}
    for metadata in (None, {"format": "pt"}, {"format": "vsg_ppl.other", "version": "1"}):
        data = safetensors.torch.save(weights, metadata)
        check_refused(data, "lacks the mark 'vsg_ppl.inference'")
    marks = {"format": "vsg_ppl.inference", "version": "2", "inference": "{}", "sha256": ""}
    check_refused(safetensors.torch.save(weights, marks), "version 2 .* up to 1")


def test_a_solution_is_no_inference_nor_an_inference_a_solution(tmp_path):
    solved = vsg.nash(models.StagHunt(), max_steps=3).save(tmp_path / "solved")
    found = inferred("laplace").save(tmp_path / "found")
    with pytest.raises(vsg.GameError, match="solved holds a solution, not an inference") as caught:
        vsg.OpponentInference.load(solved)
    assert caught.value.hint == "Solution.load(path)."
    with pytest.raises(vsg.GameError, match="found holds an inference, not a solution") as caught:
        vsg.Solution.load(found)
    assert caught.value.hint == "OpponentInference.load(path)."


def forged(edit, data):
    """A file with other content and a right fingerprint."""
    tensors = safetensors.torch.load(data)
    length = int.from_bytes(data[:8], "little")
    tree = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["inference"])
    edit(tree, tensors)
    content = json.dumps(tree)
    metadata = {
        "format": INFERENCE.format,
        "version": "1",
        "sha256": storage_file.digest(content, tensors),
        "inference": content,
    }
    return safetensors.torch.save(tensors, metadata)


FORGERIES = {
    "no tree": lambda tree, tensors: tree.clear(),
    "no table": drop("table"),
    "another table": change("table.probabilities", lambda x: 2 * x),
    "nobody": put("agents", value=[]),
    "a stranger": put("agents", value=["cat"]),
    "twice the same": put("agents", value=["col", "col"]),
    "one more": put("agents", value=["col", "row"]),
    "agents that are a number": put("agents", value=3),
    "no policies": drop("policies"),
    "a policy of another shape": change("policies.col", lambda x: x[:1]),
    "a policy in float32": change("policies.col", lambda x: x.float()),
    "a policy off the simplex": change("policies.col", lambda x: 2 * x),
    "a policy of NaN": change("policies.col", lambda x: x * torch.nan),
    "a negative policy": change("policies.col", lambda x: x + torch.tensor([1.0, -1.0])),
    "draws off the simplex": change("policy_draws.col", lambda x: x / 2),
    "draws of another shape": change("policy_draws.col", lambda x: x[:, :, :1]),
    "no draws": change("policy_draws.col", lambda x: x[:0]),
    "a reward of another shape": change("rewards.col", lambda x: x[0]),
    "an infinite reward": change("rewards.col", lambda x: x / 0),
    "counts of another shape": change("counts.col", lambda x: x[0]),
    "negative counts": change("counts.col", lambda x: -x),
    "nothing seen": change("counts.col", lambda x: 0 * x),
    "a temperature of zero": put("temperatures", "col", value=0.0),
    "a temperature of words": put("temperatures", "col", value="warm"),
    "temperatures of others": put("temperatures", value={"row": 1.0}),
    "unknown draws of NaN": change("posterior.reward.col", lambda x: x * torch.nan),
    "whole draws": change("posterior.reward.col", lambda x: x.long()),
    "none of them": change("posterior.reward.col", lambda x: x[:0]),
    "draws that are a number": put("posterior", "reward.col", value=0.5),
    "evidence of words": put("log_evidence", value="much"),
    "no method": drop("method"),
    "another method": put("method", value="guess"),
    "another status": put("status", value="perhaps"),
    "diagnostics without names": put("diagnostics", value=[1.0]),
    "a horizon": put("table", "horizon", value=3),
    "a batch": put("table", "batched", value=True),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_parts_that_do_not_fit_are_refused(forgery):
    check_refused(forged(FORGERIES[forgery], good()))


def test_a_forgery_that_changes_nothing_is_read(tmp_path):
    (tmp_path / "f").write_bytes(forged(lambda tree, tensors: None, good()))
    assert load_inference(tmp_path / "f").agents == ("col",)


# --- The game at hand must be the game played ----------------------------------------------------


def test_the_game_and_its_table_are_accepted(tmp_path):
    path = inferred("laplace").save(tmp_path / "f")
    table = vsg.tabulate(models.StagHunt())
    assert load_inference(path, models.StagHunt()).game == models.StagHunt()
    loaded = load_inference(path, table)
    assert loaded.game is None and loaded.table is table


@pytest.mark.parametrize(
    ("game", "part"),
    [
        (models.Congestion(n_agents=2, facilities=2), "agents"),
        (models.PrisonersDilemma(), "horizon"),
        (models.StagHunt(discount=0.8), "discount"),
        (Taste(), "actions"),
    ],
)
def test_another_game_is_refused(game, part, tmp_path):
    path = inferred("laplace").save(tmp_path / "f")
    message = f"holds an inference of StagHunt, which differs from .* in its {part}"
    with pytest.raises(vsg.GameError, match=message):
        load_inference(path, game)


@pytest.mark.parametrize(
    ("game", "part"),
    [(Taste(kinds=3), "actions"), (Taste(horizon=4), "horizon"), (models.StagHunt(), "actions")],
)
def test_another_game_with_unknowns_is_refused(game, part, tmp_path):
    path = inferred("unknowns").save(tmp_path / "f")
    with pytest.raises(vsg.GameError, match=f"differs from .* in its ({part}|discount)"):
        load_inference(path, game)


def test_unknowns_are_not_compared(tmp_path):
    """Two programs that differ in what is unknown alone."""

    class Strong(Taste):
        @property
        def discount(self):
            return pyro.sample("patience", dist.Beta(1.0, 9.0))

        def step(self, state):
            vsg.optimality("row", pyro.sample("habit", dist.Normal(0.0, 1.0)), name="more")
            return super().step(state)

    path = inferred("unknowns").save(tmp_path / "f")
    assert load_inference(path, Strong()).posterior.keys() == {"patience", "taste"}


@pytest.mark.parametrize("game", [models.BeachBar(), vsg.mean_field_table(models.BeachBar())])
def test_a_mean_field_game_is_refused(game, tmp_path):
    path = inferred("laplace").save(tmp_path / "f")
    with pytest.raises(vsg.GameError, match="a game among agents, and BeachBar is a mean-field"):
        load_inference(path, game)


def test_a_class_is_no_game(tmp_path):
    path = inferred("laplace").save(tmp_path / "f")
    with pytest.raises(vsg.GameError, match="is a class, not a game"):
        load_inference(path, models.StagHunt)

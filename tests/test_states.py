from math import prod

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import vsg_ppl.states
from vsg_ppl.errors import GameError
from vsg_ppl.states import Codec, Finder, States


@st.composite
def rows(draw):
    """Distinct rows of integers in lexicographic order."""
    width = draw(st.integers(1, 3))
    row = st.tuples(*[st.integers(-50, 50)] * width)
    return sorted(draw(st.sets(row, min_size=1, max_size=20)))


@given(rows())
def test_codes_are_one_to_one_and_ordered(found):
    values = torch.tensor(found)
    low, high = values.amin(0).tolist(), values.amax(0).tolist()
    codec = Codec(low, [b - a + 1 for a, b in zip(low, high, strict=True)])
    codes = codec.encode(list(values.unbind(1)))
    assert codes.tolist() == sorted(set(codes.tolist()))
    assert 0 <= codes.min() and codes.max() < codec.size
    assert torch.equal(codec.decode(codes), values)
    shuffled = torch.cat([codes, codes.flip(0)])
    assert torch.equal(codec.distinct(shuffled), codes)


@given(rows(), st.booleans())
def test_every_state_is_found_by_its_label_and_by_its_number(found, direct):
    with pytest.MonkeyPatch.context() as patch:
        if not direct:  # look codes up by bisection, as for huge ranges
            patch.setattr(vsg_ppl.states, "DIRECT", 0)
        states = States((0,) * len(found[0]), torch.tensor(found))
        assert list(states) == found == [states[k] for k in range(len(states))]
        assert states[1:] == found[1:]
        numbers = torch.arange(len(found))
        assert torch.equal(states.index(states.tensors()), numbers)
        for k, label in enumerate(found):
            assert int(states.index(label)) == k
        stranger = (51,) + found[0][1:]
        with pytest.raises(GameError, match=r"is not one of the \d+ states"):
            states.index(stranger)


@given(rows())
def test_codes_that_are_not_there_have_no_number(found):
    values = torch.tensor(found)
    states = States((0,) * len(found[0]), values)
    codes = torch.arange(prod(states.codec.span))
    wanted = {int(code): k for k, code in enumerate(states.codec.encode(list(values.unbind(1))))}
    numbers = [wanted.get(k, -1) for k in range(len(codes))]
    assert states.find(codes).tolist() == numbers
    bisected = Finder(torch.tensor(sorted(wanted)), vsg_ppl.states.DIRECT + 1)
    assert bisected.direct is None
    assert bisected(codes).tolist() == numbers


def test_leaves_of_a_state_broadcast():
    states = States({"x": 0, "y": 0}, torch.tensor([[0, 0], [0, 1], [2, 0], [2, 1]]))
    found = states.index({"x": torch.tensor([[0], [2]]), "y": torch.tensor([1, 0])})
    assert found.tolist() == [[1, 0], [3, 2]]


def test_states_with_more_dimensions_at_the_right():
    states = States((0, 0), torch.tensor([[0, 5], [1, 4]]))
    parts = states.tensors(reserved=3)
    assert [tuple(part.shape) for part in parts] == [(2, 1, 1)] * 2


def test_a_state_of_another_structure_is_refused():
    states = States((0, 0), torch.tensor([[0, 5], [1, 4]]))
    with pytest.raises(GameError, match=r"structure integer was given.*\(integer, integer\)"):
        states.index(torch.tensor(0))


def test_a_hole_between_states_is_no_state():
    states = States((0, 0), torch.tensor([[0, 5], [1, 4]]))
    with pytest.raises(GameError, match=r"the state \(0, 4\) is not one of the 2 states"):
        states.index((torch.tensor([1, 0]), torch.tensor([4, 4])))


def test_parts_too_wide_to_number():
    with pytest.raises(GameError, match="3 parts of the state span more than"):
        Codec([0, 0, 0], [2**21, 2**21, 2**21])

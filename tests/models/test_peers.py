"""The peers of ./dev peers that are installed agree with libattn, also on small words.

Those that are not are not missed: that libattn is right is for other tests to say.
"""

from __future__ import annotations

import pytest
import torch

from compare.agree import DisagreementError, compare
from compare.inputs import make_inputs, unpack_rows
from compare.libraries import PEERS, open_peers
from compare.peer import LocalCall, fastest
from compare.peer_libattn import Libattn
from compare.problem import parse
from compare.progress import Progress

HALF = "query=f16 key=f16 value=f16 out=f16"
PROBLEMS = [
    "b2 h4/2 q20 k30 d16/8 causal scale=0.3",
    "b2 h4/2 q20 k30 d16 causal align=br",
    "b3 h4 q20 d16 qlens kvlens causal",
    "b2 h4 q20 d16 docs window=5,3",
    "h4/2 q20 d16 mask bias",
    "h4 q32 d16 block=8x8 alibi",
    "h4 q20 d16 softcap=3",
    f"h4/2 q20 d16 {HALF}",
    "b2 h4/2 q20 d16 causal backward",
    "b3 h4/2 q20 d16 packed causal",
    "b3 h4 q20 d16 packed window=4,4",
    "h4/2 q1 k40 d16 cache",
    "b3 h4/2 q1 k40 d16 cache=8 kvlens",
    "h4/2 q3 k40 d16 causal align=br cache",
    "h4/2 q1 k40 d16 causal cache",
    f"h4/2 q1 k40 d16 cache {HALF}",
    "b2 h4 q20 d16 layer causal",
    "b2 h4 q20 d16 layer constant",
    "b2 h4 q20 d16 layer constant bound",
    "b2 h4/2 q20 d16 causal bound",
    "b3 h4/2 q1 k40 d16 cache bound",
    "b2 h4 q20 d16 layer backward",
]


@pytest.fixture(scope="module")
def peers():
    return open_peers(list(PEERS), Progress())


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("text", PROBLEMS)
def test_agreement(text, peers):
    problem = parse(text)
    inputs = make_inputs(problem)
    ours = Libattn().prepare(problem, inputs).results()
    able = []
    for peer in peers:
        peer.set_threads(1)
        call = peer.prepare(problem, inputs)
        if call is not None:
            compare(problem, inputs, ours, call.results(), peer.name)
            able.append(peer.name)
        peer.forget()
    assert "pytorch" in able or problem.softcap != 0


def test_disagreement_names_peer_and_problem():
    problem = parse("this one: h2 q4 d8")
    inputs = make_inputs(problem)
    ours = Libattn().prepare(problem, inputs).results()
    with pytest.raises(DisagreementError, match=r"this one: .* somebody .* result"):
        compare(problem, inputs, ours, (ours[0] + 0.1,), "somebody")
    nan = ours[0].clone()
    nan[0, 0, 0, 0] = torch.nan
    with pytest.raises(DisagreementError):
        compare(problem, inputs, ours, (nan,), "somebody")


def test_rows_that_attend_nothing_are_not_compared():
    problem = parse("b2 h2 q4 d8 qlens")
    inputs = make_inputs(problem)
    ours = Libattn().prepare(problem, inputs).results()
    theirs = torch.where(inputs.masks.attending[..., None], ours[0], torch.nan)
    compare(problem, inputs, ours, (theirs,), "somebody")


def test_packed_rows_are_those_within_their_lengths():
    problem = parse("b3 h2 q16 d4 packed")
    inputs = make_inputs(problem)
    starts = inputs.packed.q_starts
    assert sorted(starts.diff().tolist()) == [1, 9, 16]
    padded = unpack_rows(inputs.packed.query, starts, 16)
    wanted = torch.where(inputs.masks.attending[..., None], inputs.query, 0)
    assert torch.equal(padded, wanted)


def test_the_fastest_way_that_works():
    def fails():
        raise ValueError("this way is closed")

    def call(how):
        return lambda: LocalCall(lambda: sum(range(cost[how])), lambda _: (), how)

    cost = {"slow": 100000, "fast": 10}
    assert fastest([fails, call("slow"), call("fast")]).how == "fast"
    with pytest.raises(ValueError, match="closed"):
        fastest([fails, fails])

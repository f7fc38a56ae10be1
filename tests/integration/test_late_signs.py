"""A carrier's signs that are read late: its call is its own all the same, and
no phone rings twice. On the simulator, whose number 38 rings after a second
and answers after nine."""

import os
import signal
import time

import pytest
from harness.waiting import wait_until

TRUNK_MS = 1500
CALLS = 10
SETTINGS = {
    "http.workers": 2,
    "trunks.timeout_ms": TRUNK_MS,
    "asterisk.ping_interval_ms": 10000,
    "asterisk.reconnect_max_ms": 500,
}


@pytest.fixture
def node(simulator, database, make_kaphila):
    """A kaphila whose calls have a second trunk to go to."""
    return make_kaphila(simulator, database, SETTINGS)


def place(node, sink, key, n):
    """A call to a phone that rings late, by whichever worker."""
    return node.api(key).make_call(f"1415555{n:02d}38", webhookUrl=sink.url)


def rings(simulator):
    """How many channels have rung."""
    states = [one["state"] for one in simulator.state()["channels"]]
    return sum(state in ("Ringing", "Up") for state in states)


def check(simulator, sink, calls):
    """Each was answered by its first trunk, and rang there alone."""
    for call_id in calls:
        ended = sink.wait(call_id, "call.ended", 60)
        assert (ended["status"], ended["endReason"]) == (
            "completed",
            "normal_hangup",
        )
        kinds = [event["event"] for event in sink.events(call_id)]
        assert "call.rerouted" not in kinds
    rung = simulator.state()["rung"]["by_number"]
    assert len(rung) == len(calls)
    assert set(rung.values()) == {1}, rung


def test_asterisk_frozen_while_it_rings(node, simulator, sink):
    """What Asterisk could not tell yet is no silence of its carrier's."""
    key = node.create_key(trunks=("carrier", "carrier2"))
    calls = [place(node, sink, key, n) for n in range(CALLS)]
    simulator.fault("freeze", seconds=TRUNK_MS / 1000 + 3)
    check(simulator, sink, calls)


def test_node_killed_before_it_rings(node, simulator, sink):
    """The timers of a whole life before are due at the start: what happened
    meanwhile is found out first."""
    key = node.create_key(trunks=("carrier", "carrier2"))
    calls = [place(node, sink, key, n) for n in range(CALLS)]
    node.allow_errors("recording")
    children = [child["pid"] for child in node.children().values()]
    for pid in (node.pid(), *children):
        os.kill(pid, signal.SIGKILL)
    node.kill()
    wait_until(
        lambda: rings(simulator) == CALLS,
        lambda: f"all to ring: {simulator.state()['channels']}",
    )
    time.sleep(TRUNK_MS / 1000)
    node.start()
    check(simulator, sink, calls)

"""Those who judge loads and storms: each kind of violation is found, and what
is well is not found fault with. No server is needed."""

import sys

import pytest
from harness import paths

sys.path[:0] = [str(paths.TOP / "tests" / one) for one in ("load", "faults")]
# pylint: disable=wrong-import-position
import amd_set  # noqa: E402
import gather_judge  # noqa: E402

CALL = "1795000000.1001"


def story(*kinds):
    """Events of CALL in this order; a digit alone is its dtmf.received."""
    events = []
    for kind in kinds:
        fields = {"event": kind}
        if isinstance(kind, tuple):
            fields = {"event": kind[0], **kind[1]}
        elif len(kind) == 1:
            fields = {"event": "dtmf.received", "digit": kind}
        sequence = len(events) + 1
        events.append(
            {
                "eventId": f"evt_{sequence}",
                "sequence": sequence,
                "callId": CALL,
                **fields,
            }
        )
    return events


def complete(digits):
    """The end that all digits bring about."""
    fields = {"digits": digits, "method": "digits_complete"}
    return "gather.complete", fields


def ended(digits, reason="timeout"):
    """Any other."""
    return "gather.timeout", {"digits": digits, "reason": reason}


BEGUN = "gather.started"


@pytest.mark.parametrize(
    ("behaviour", "events", "found"),
    [
        ("07", story(BEGUN, *"1234", complete("1234")), 0),
        # begun late: what came before it is told, what came behind counts
        ("07", story("1", BEGUN, *"234", ended("234")), 0),
        ("07", story(*"1234", BEGUN, ended("")), 0),
        ("14", story(BEGUN, *"123", ended("123")), 0),
        ("11", story(BEGUN, ended("")), 0),
        ("08", story(BEGUN, ended("", "call_ended")), 0),
        ("07", story(BEGUN, ended("")), 1),  # DTMF is dead
        ("07", story(BEGUN, *"123", ended("123")), 2),  # the last one lost
        ("07", story(BEGUN, *"234", ended("234")), 1),  # the first one
        ("07", story(BEGUN, *"1234", ended("1234")), 1),  # not by the digits
        ("07", story(BEGUN, *"1234", complete("123")), 1),
        ("07", story(BEGUN, *"1234", complete("1234"), ended("")), 1),
        ("07", story(BEGUN, *"1234"), 1),  # no end
        ("07", story(BEGUN, BEGUN, *"1234", complete("1234")), 1),
        ("14", story(BEGUN, *"12", ended("12")), 2),
        ("11", story(BEGUN, "5", ended("5")), 2),  # of nobody
        ("08", story(BEGUN, ended("")), 1),
    ],
)
def test_gather_load(behaviour, events, found):
    """One end, the right one; no digit lost, none made up."""
    verdict = gather_judge.judge({CALL: behaviour}, {CALL}, events)
    assert len(verdict.wrong) == found, verdict.wrong


def test_gather_load_without_a_gather():
    """Refused: only where the callee may have gone before."""
    events = story(*"1234")
    assert gather_judge.judge({CALL: "07"}, set(), events).wrong
    assert not gather_judge.judge({CALL: "08"}, set(), []).wrong


HUMAN = {
    "status": "HUMAN",
    "cause": "HUMAN",
    "detail": "HUMAN-800-800",
    "confidence": 0.9,
    "decidedAt": "2026-11-22T18:09:06.446Z",
}


@pytest.mark.parametrize(
    ("changes", "seconds"),
    [
        ({}, 1.5),
        ({"status": "UNKNOWN", "cause": "", "detail": "", "confidence": 0}, 1.5),
        ({"status": "PENDING"}, None),
        ({"confidence": 0}, None),
        ({"detail": ""}, None),
        ({"decidedAt": "2026-11-22T18:09:04.945Z"}, None),
        ({"decidedAt": None}, None),
    ],
)
def test_amd_verdict(changes, seconds):
    """Its fields must go together."""
    told = {
        "amd": {**HUMAN, **changes},
        "answeredAt": "2026-11-22T18:09:04.946Z",
    }
    if seconds is None:
        with pytest.raises((ValueError, AttributeError)):
            amd_set.read_verdict(told)
    else:
        assert amd_set.read_verdict(told)[2] == pytest.approx(seconds)


class OneGreeting:
    """A greeting by its number."""

    number = 1


class Node:
    """Whose calls end in a way of their own."""

    def __init__(self, error):
        self._error = error

    def create_key(self, **_):
        """A key."""
        return "ak_test"

    def api(self, _):
        """Itself."""
        return self

    def make_call(self, *_, **__):
        """Never a call."""
        raise self._error


class Sink:
    """An address."""

    url = "http://127.0.0.1:1/hook"


@pytest.mark.parametrize(
    "error", [KeyError("amd"), OSError("reset"), RuntimeError("whatever")]
)
def test_amd_set_tells_of_every_greeting(error, capsys):
    """Whatever goes wrong with one, it is told, and the status is 1."""
    greetings = [OneGreeting(), OneGreeting()]
    callers = amd_set.Callers(Node(error), Sink(), greetings)
    callers.run(1)
    assert amd_set.report(callers, greetings, False) == 1
    assert capsys.readouterr().out.count("no verdict:") == 2
    callers.failures.clear()
    assert amd_set.report(callers, greetings, False) == 1

"""Those who judge loads and storms: each kind of violation is found, and what
is well is not found fault with. No server is needed."""

import asyncio
import sys

import pytest
from harness import paths

sys.path[:0] = [str(paths.TOP / "tests" / one) for one in ("load", "faults")]
# pylint: disable=wrong-import-position
import amd_set  # noqa: E402
import callers  # noqa: E402
import gather_judge  # noqa: E402
import judge  # noqa: E402
import talk  # noqa: E402

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


def told(kind="call.initiated", number="1000000000008", call_id=CALL, n=1):
    """An event of a call to that number."""
    return {
        "eventId": f"evt_{call_id}_{n}",
        "callId": call_id,
        "event": kind,
        "number": number,
    }


FIRST, SECOND = "1000000000008", "2000000000010"
LEG = "1795000000.1002"
REROUTED = told("call.rerouted", n=2)


def outcome(**fields):
    """What a customer knows of his call to FIRST."""
    made = callers.Outcome(FIRST, call_id=CALL)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize(
    ("known", "events", "rung", "found"),
    [
        ({}, [told()], {FIRST: 1}, 0),
        ({}, [told(), REROUTED], {FIRST: 2}, 0),
        ({}, [told()], {FIRST: 2}, 1),
        ({}, [told(), REROUTED, REROUTED], {FIRST: 3}, 1),
        ({"timed_out": [LEG]}, [told()], {FIRST: 2}, 0),
        ({}, [told(), told(call_id=LEG)], {FIRST: 2}, 2),
        ({"timed_out": [LEG]}, [told(), told(call_id=LEG)], {FIRST: 2}, 0),
        ({"call_id": LEG}, [told()], {FIRST: 1}, 1),
        # second legs
        ({}, [told(number=SECOND, call_id=LEG)], {SECOND: 1}, 0),
        ({}, [told(number=SECOND, call_id=LEG)], {SECOND: 2}, 1),
        (
            {},
            [told("call.rerouted", SECOND, LEG)],
            {SECOND: 2},
            0,
        ),
        (
            {},
            [told(number=SECOND, call_id=LEG), told(number=SECOND)],
            {SECOND: 1},
            1,
        ),
        ({}, [], {"3000000000010": 1}, 1),  # nobody asked for it
    ],
)
def test_storm_doubles(known, events, rung, found):
    """One key, one call; one forward, one leg; one call, one ringing."""
    faults = list(judge.doubles([outcome(**known)], events, rung))
    assert len(faults) == found, faults


def test_storm_accepted():
    """First legs and second ones that an answer named."""
    known = outcome()
    known.told.forwards.add(LEG)
    nobody = outcome(call_id=None, timed_out=["x"])
    assert judge.accepted_ids([known, nobody]) == {CALL, LEG}
    assert judge.timed_out_ids([known, nobody]) == {"x"}


def test_storm_that_shows_nothing():
    """Each kind that never came is a fault."""
    events = [told("gather.complete")]
    assert not list(judge.unseen(events, {"gather.complete"}))
    assert len(list(judge.unseen(events, judge.CONTROL_KINDS))) == 4


def own(kind, **fields):
    """An event of CALL, as a storm's judge sees it."""
    return {"event": kind, **fields}


PLAY = f"tts-{CALL}-1"


@pytest.mark.parametrize(
    ("fields", "events", "found"),
    [
        ({"plays": {PLAY}}, [own("tts.played", playbackId=PLAY)], 0),
        ({"lost_plays": 1}, [own("tts.played", playbackId=PLAY)], 0),
        ({}, [own("tts.played", playbackId=PLAY)], 1),
        ({"plays": {"tts-x-1"}}, [own("tts.played", playbackId="tts-x-1")], 1),
        ({"gathers": 1}, [own("gather.started")], 0),
        ({"gathers": 1}, [], 1),
        ({}, [own("gather.started")], 1),
        ({"forwards": {LEG}}, [own("call.transferred", forwardedCallId=LEG)], 0),
        ({}, [own("call.transferred", forwardedCallId=LEG)], 1),
    ],
)
def test_storm_talk(fields, events, found):
    """What was played, gathered and forwarded is what was asked for."""
    known = talk.Told(**fields)
    faults = list(talk.faults(known, CALL, events))
    assert len(faults) == found, faults


@pytest.mark.parametrize(
    ("status", "answer", "known", "surprise"),
    [
        (200, {"callId": CALL}, True, False),
        (500, {"code": "ORIGINATION_FAILED"}, True, False),
        (409, {"code": "IDEMPOTENCY_IN_PROGRESS"}, False, False),
        (503, {"code": "TELEPHONY_TIMEOUT", "callId": CALL}, False, False),
        (503, {"code": "DRAINING"}, False, False),
        (400, {"code": "INVALID_NUMBER"}, True, True),
    ],
)
@pytest.mark.parametrize("as_list", [False, True])
def test_storm_posts_until_it_knows(status, answer, known, surprise, as_list):
    """Alone or in a list: asked again, with the same key, until it is known
    what became of the call."""
    made = callers.Callers(("127.0.0.1", 1), "k", "http://127.0.0.1:1", 1, 7)
    # pylint: disable=protected-access
    orders = [made._order(n) for n in range(3 if as_list else 1)]
    asked = []

    async def ask(_, headers, body):
        keys = [headers.get("Idempotency-Key")]
        if as_list:
            keys = [call["idempotencyKey"] for call in body["calls"]]
        asked.append(keys)
        if len(asked) == 1:
            raise callers.Refused("gone")
        answers = [(200, {"callId": key}) for key in keys]
        if len(asked) == 2:
            answers[-1] = (status, answer)
        if not as_list:
            return answers[0][0], {}, answers[0][1]
        return 200, {}, {
            "results": [{"statusCode": code, **one} for code, one in answers]
        }

    made._ask = ask
    asyncio.run(
        made._place_list(orders) if as_list else made._place(orders[0])
    )
    keys = [f"storm-7-{n}" for n in range(len(orders))]
    assert asked == [keys, keys] + ([] if known else [keys[-1:]])
    assert bool(made.surprises) == surprise
    last = orders[-1].outcome
    assert last.timed_out == ([CALL] if "TIMEOUT" in str(answer) else [])
    assert all(order.outcome.call_id for order in orders[:-1])
    assert bool(last.call_id) == (status == 200 or not known)

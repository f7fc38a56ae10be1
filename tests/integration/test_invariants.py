"""The invariants themselves: each kind of violation is found, and what is well
is not found fault with. No server is needed."""

from datetime import datetime

import pytest
from harness import invariants

CALL = "1795000000.1001"


def event(sequence, kind, call_id=CALL, **fields):
    """An event as a webhook has it."""
    return {
        "eventId": f"evt_{call_id}_{sequence}",
        "sequence": sequence,
        "callId": call_id,
        "event": kind,
        **fields,
    }


def ended(sequence, status="completed", answered=True):
    """call.ended"""
    return event(sequence, "call.ended", status=status, wasAnswered=answered)


TALK = [
    event(1, "call.initiated"),
    event(2, "call.answered"),
    ended(3),
]
ROW = {CALL: ("completed", True, 1)}
BUSY = [event(1, "call.initiated"), ended(2, "busy", False)]


@pytest.mark.parametrize(
    ("events", "found"),
    [
        ([], 0),
        (TALK, 0),
        (TALK + TALK[1:], 0),  # at least once
        (list(reversed(TALK)), 0),
        (TALK[:1] + TALK[2:], 1),  # a gap
        (TALK[1:], 1),
        ([*TALK, {**TALK[2], "status": "busy"}], 1),  # another body
        ([*TALK, {**TALK[2], "eventId": "other"}], 2),  # twice, two ids
        ([*TALK, ended(4)], 1),
        ([*TALK, event(4, "recording.completed")], 0),
        ([*TALK, *(event(n, "recording.completed") for n in (4, 5))], 1),
    ],
)
def test_events(events, found):
    """Sequences without a gap, bodies that don't change, one end."""
    faults = list(invariants.event_faults(events))
    assert len(faults) == found, faults


@pytest.mark.parametrize(
    ("events", "accepted", "logs", "silent", "found"),
    [
        (TALK, [CALL], ROW, (), 0),
        (BUSY, [CALL], {CALL: ("busy", False, 1)}, (), 0),
        (TALK, [], ROW, (), 0),
        ([], [], {CALL: ("failed", False, 1)}, (), 0),  # refused at once
        ([], [CALL], {CALL: ("failed", False, 1)}, (), 1),
        ([], [CALL], ROW, (CALL,), 0),
        (TALK, [CALL], {}, (), 1),  # no row
        ([], [CALL], {}, (), 1),
        (TALK[:2], [CALL], ROW, (), 1),  # no end
        (TALK, [CALL], {CALL: ("busy", True, 1)}, (), 1),
        (BUSY, [CALL], {CALL: ("busy", True, 1)}, (), 2),
        (TALK, [CALL], {CALL: ("completed", False, 1)}, (), 2),
        (TALK, [CALL, "1795000000.2001"], ROW, (), 1),
    ],
)
def test_calls(events, accepted, logs, silent, found):
    """One end and one row for each call, and both say the same."""
    faults = list(invariants.call_faults(events, accepted, logs, silent))
    assert len(faults) == found, faults


def digit(sequence, value, collected=None):
    """dtmf.received, or gather.progress where something is collected."""
    if collected is None:
        return event(sequence, "dtmf.received", digit=value)
    return event(sequence, "gather.progress", digit=value, collected=collected)


def gathered(sequence, digits, kind="gather.complete"):
    """The end of a gather."""
    return event(sequence, kind, digits=digits)


STARTED = event(1, "gather.started")


@pytest.mark.parametrize(
    ("events", "found"),
    [
        ([STARTED, digit(2, "4"), digit(3, "4", "4"), gathered(4, "4")], 0),
        ([STARTED, digit(2, "4"), gathered(3, "", "gather.timeout")], 0),
        ([STARTED, gathered(2, ""), event(3, "gather.started")], 0),
        ([digit(1, "4")], 0),
        ([STARTED, ended(2)], 1),  # no end of it
        ([STARTED, event(2, "gather.started"), gathered(3, "")], 1),
        ([gathered(1, "")], 1),
        ([STARTED, gathered(2, ""), gathered(3, "", "gather.timeout")], 1),
        ([STARTED, digit(2, "4", "4"), gathered(3, "4")], 1),  # no dtmf
        ([STARTED, digit(2, "5"), digit(3, "4", "4"), gathered(4, "4")], 1),
        ([STARTED, digit(2, "4"), digit(3, "4", "4"), gathered(4, "")], 1),
        ([STARTED, digit(2, "4"), digit(3, "4", "44"), gathered(4, "44")], 1),
        ([digit(1, "4"), digit(2, "4", "4")], 1),
    ],
)
def test_gathers(events, found):
    """One end for each start, and its digits one by one."""
    faults = list(invariants.gather_faults(events))
    assert len(faults) == found, faults


def play(sequence, kind, name="tts-1"):
    """An event of a playback."""
    return event(sequence, kind, playbackId=name)


@pytest.mark.parametrize(
    ("events", "found"),
    [
        ([play(1, "tts.played"), play(2, "playback.finished")], 0),
        ([play(1, "tts.played"), play(2, "tts.played", "tts-2")], 0),
        ([play(1, "playback.failed")], 0),
        ([play(1, "tts.played"), play(2, "tts.played")], 1),
        ([play(1, "playback.finished"), play(2, "tts.played")], 1),
        ([play(1, "playback.finished"), play(2, "playback.failed")], 1),
    ],
)
def test_plays(events, found):
    """One beginning and one end for each playback."""
    faults = list(invariants.play_faults(events))
    assert len(faults) == found, faults


def judged(sequence, kind, status, **fields):
    """An event with a verdict in it."""
    return event(sequence, kind, amd={"status": status}, **fields)


DIGIT = {"digit": "4", "answeredAt": "2026-11-22T18:09:04.946Z"}


@pytest.mark.parametrize(
    ("events", "found"),
    [
        (TALK, 0),
        (BUSY, 0),
        ([judged(1, "call.answered", "HUMAN"), ended(2)], 0),
        (
            [
                judged(1, "call.answered", "PENDING"),
                judged(2, "amd.result", "MACHINE"),
                judged(3, "call.ended", "MACHINE"),
            ],
            0,
        ),
        ([event(1, "call.answered"), event(2, "call.answered")], 1),
        ([judged(1, "amd.result", "HUMAN")], 1),  # never answered
        (
            [
                judged(1, "call.answered", "HUMAN"),
                judged(2, "amd.result", "HUMAN"),
            ],
            1,
        ),
        (
            [
                judged(1, "call.answered", "PENDING"),
                judged(2, "amd.result", "HUMAN"),
                judged(3, "amd.result", "HUMAN"),
            ],
            1,
        ),
        ([judged(1, "call.answered", "PENDING"), ended(2)], 1),
        ([event(1, "dtmf.received", **DIGIT)], 0),
        ([event(1, "dtmf.received", digit="4")], 1),
    ],
)
def test_answers(events, found):
    """One answer, one verdict."""
    faults = list(invariants.answer_faults(events))
    assert len(faults) == found, faults


LEG = "1795000000.1002"
TRANSFERRED = event(1, "call.transferred", forwardedCallId=LEG)


def of_leg(sequence, kind, first=CALL):
    """An event of a second leg."""
    return event(sequence, kind, call_id=LEG, forwardedFrom=first)


@pytest.mark.parametrize(
    ("events", "found"),
    [
        (TALK, 0),
        ([TRANSFERRED], 0),  # the leg's own are on their way
        ([TRANSFERRED, of_leg(1, "call.initiated")], 0),
        ([TRANSFERRED, of_leg(1, "call.initiated", "other")], 1),
        (
            [
                TRANSFERRED,
                event(2, "call.transfer_failed", forwardedCallId=LEG),
            ],
            1,
        ),
        (
            [
                of_leg(1, "call.initiated"),
                event(2, "call.ended", call_id=LEG),
            ],
            1,
        ),
    ],
)
def test_transfers(events, found):
    """Each leg knows the other, and what became of it is told once."""
    faults = list(invariants.transfer_faults(events))
    assert len(faults) == found, faults


def at_second(second):
    """As an event has it."""
    return f"2026-11-22T18:09:{second:02}.000Z"


@pytest.mark.parametrize(
    ("told", "came_at", "ended_at", "found"),
    [
        ([], 10, 20, 1),  # lost
        ([], 30, 20, 0),  # the first leg was gone by then, perhaps
        ([], 20, 20, 0),
        ([], None, 20, 0),  # nobody knows when it came
        ([], 10, None, 0),  # that it never ended is told elsewhere
        ([event(1, "call.transfer_failed", forwardedCallId=LEG)], 10, 20, 0),
        ([TRANSFERRED], 10, 20, 0),
        ([event(1, "call.transferred", forwardedCallId="other")], 10, 20, 1),
    ],
)
def test_transfers_that_nobody_told_of(told, came_at, ended_at, found):
    """What became of a leg is told to the first one, if that outlives it."""
    leg_end = of_leg(2, "call.ended")
    begin = datetime.fromisoformat("2026-11-22T18:09:00+00:00").timestamp()
    timed = [(begin, one) for one in (*told, of_leg(1, "call.initiated"))]
    if came_at is not None:
        timed.append((begin + came_at, leg_end))
        timed.append((begin + 50, leg_end))  # once more
    if ended_at is not None:
        end = event(5, "call.ended", timestamp=at_second(ended_at))
        timed.append((begin + ended_at, end))
    faults = list(invariants.transfer_faults(invariants.Events(timed)))
    assert len(faults) == found, faults


def dump(**changes):
    """What the store of a node at rest has."""
    tables = {name: 0 for name in invariants.EMPTY_TABLES}
    tables.update({"keys": 3, "accounts": 1, "streams": 2})
    account = {"key": 1, "holds": 0, "live": 0, "charges": 5, "calls": 9}
    trunk = {"trunk": "carrier", "live": 0}
    found = {"calls": [], "commands": [], "trunks": [trunk]}
    for name, value in changes.items():
        if name in tables:
            tables[name] = value
        elif name == "on_trunk":
            trunk["live"] = value
        else:
            account[name] = value
    return {"tables": tables, "accounts": [account], **found}


@pytest.mark.parametrize(
    ("changes", "found"),
    [({}, 0), ({"timers": 1}, 1), ({"holds": 1}, 1), ({"live": 2}, 1), ({"on_trunk": 1}, 1)]
    + [({name: 1}, 1) for name in invariants.EMPTY_TABLES],
)
def test_tables(changes, found):
    """Nothing of a call is left, no hold."""
    faults = list(invariants.table_faults(dump(**changes)))
    assert len(faults) == found, faults


class Node:
    """A kaphila of answers: of its database, and folders."""

    def __init__(self, folder, rows):
        self.recordings_dir = folder / "recordings"
        self.recordings_dir.mkdir()
        self.database = self
        self.asterisk = self
        self.recording_dir = folder / "spool"
        self.recording_dir.mkdir()
        self._rows = rows

    def query(self, sql):
        """The rows for the first of the words that the statement has."""
        return next(v for k, v in self._rows.items() if k in sql)


@pytest.mark.parametrize(
    ("charges", "keys", "found"),
    [
        ([(CALL,)], [(1, 9, 10, 1, 1)], 0),
        ([], [(1, 9, 10, 1, 1)], 1),
        ([(CALL,), ("other",)], [(1, 9, 10, 1, 1)], 1),
        ([(CALL,)], [(1, 8, 10, 1, 1)], 1),
        ([(CALL,)], [(1, 9, 10, 2, 1)], 1),
        ([(CALL,)], [(1, 9, 10, 1, 1), (2, 5, 5, 0, 0)], 0),
    ],
)
def test_money(tmp_path, charges, keys, found):
    """Balance = granted - answered."""
    node = Node(tmp_path, {"SELECT id": keys, "kind = 'charge'": charges})
    faults = list(invariants.money_faults(node, ROW))
    assert len(faults) == found, faults


NAME = f"call-{CALL}-1795000000123.wav"
TOLD = [
    event(3, "recording.started", filename=NAME),
    event(4, "recording.completed", filename=NAME, size=5),
]


@pytest.mark.parametrize(
    ("files", "rows", "events", "found"),
    [
        ([f"2026/11/{NAME}"], [(NAME, 5)], TOLD, 0),
        ([], [], [], 0),
        ([], [(NAME, 5)], TOLD, 1),
        ([f"2026/11/{NAME}", f"2026/12/{NAME}"], [(NAME, 5)], TOLD, 1),
        ([f"2026/11/{NAME}"], [], TOLD, 1),
        ([f"2026/11/{NAME}"], [(NAME, 6)], TOLD, 1),
        ([f"2026/11/{NAME}"], [(NAME, 5)], [], 1),
        ([f"2026/11/{NAME}"], [(NAME, 5)], TOLD[:1], 2),
        ([f"2026/11/{NAME}", "incoming/x.part"], [(NAME, 5)], TOLD, 1),
        ([f"2026/11/{NAME}", "damaged/x.wav"], [(NAME, 5)], TOLD, 1),
        ([f"2026/11/{NAME}", f"../spool/{NAME}"], [(NAME, 5)], TOLD, 1),
    ],
)
def test_recordings(tmp_path, files, rows, events, found):
    """One file, one row, one event for each; nothing on its way."""
    node = Node(tmp_path, {"FROM recordings": rows})
    for name in files:
        path = node.recordings_dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345")
    faults = list(invariants.recording_faults(node, events))
    assert len(faults) == found, faults

"""What is wrong with the gathers of gather_load.py: each has one end, with the
digits that came since it began; and every digit that a callee sent is told of,
whenever it came. Knows events alone, so it is tested by itself
(tests/integration/test_judges.py)."""

from collections import Counter

from harness import invariants

WANTED = 4  # digits, of each gather

# Behaviour of the carrier → the digits that it sends before a gather is over.
SENT = {"07": "1234", "14": "123", "11": "", "08": ""}


class Verdict:
    """Of all calls.

    wrong  texts; empty is good
    late   gathers that began behind the first digit: the client's lateness
    ends   {"07 digits_complete": how many}
    """

    def __init__(self):
        self.wrong, self.late, self.ends = [], 0, Counter()


def _digits(events):
    return "".join(
        event["digit"] for event in events if event["event"] == "dtmf.received"
    )


def _wanted_end(behaviour, heard):
    """(digits, how) of the right end."""
    if behaviour == "08":
        return heard, "call_ended"
    return heard, "digits_complete" if len(heard) == WANTED else "timeout"


def _judge_gather(verdict, behaviour, own):
    """The faults of one call that was gathered from."""
    kinds = [event["event"] for event in own]
    ends = [e for e in own if e["event"] in invariants.GATHER_ENDS]
    if kinds.count("gather.started") != 1 or len(ends) != 1:
        yield f"no one gather with one end: {kinds}"
        return
    heard = _digits(own[kinds.index("gather.started") :])
    verdict.late += heard != SENT[behaviour]
    if not SENT[behaviour].endswith(heard):
        yield f"heard {heard}, which ends no {SENT[behaviour]}"
    (end,) = ends
    how = end.get("reason", end.get("method"))
    verdict.ends[f"{behaviour} {how}"] += 1
    wanted = _wanted_end(behaviour, heard)
    if (end.get("digits"), how) != wanted:
        yield f"{end}, wanted {wanted}"


def judge(calls, gathering, events):
    """The Verdict.

    calls      {call id: its behaviour}
    gathering  ids of the calls whose /gather was a 200
    events     of all, repeats included
    """
    verdict = Verdict()
    by_call = invariants.by_call(events)
    for call_id, behaviour in calls.items():
        own = sorted(
            by_call[call_id].values(), key=lambda event: event["sequence"]
        )
        faults = []
        if _digits(own) != SENT[behaviour]:
            faults.append(f"told {_digits(own)}, sent {SENT[behaviour]}")
        if call_id in gathering:
            faults += _judge_gather(verdict, behaviour, own)
        elif behaviour != "08":
            faults.append("no gather")
        verdict.wrong += [f"{call_id} ({behaviour}): {f}" for f in faults]
    return verdict

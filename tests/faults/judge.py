"""What is wrong after a storm, from what its customers were told, the events
and how often phones rang. Knows no server, so it is tested by itself
(tests/integration/test_judges.py).

First legs have numbers that begin with 1, second legs with 2.
"""

from collections import defaultdict

# What a storm with control of its calls must have brought about at least once:
# else it has proved nothing of it.
CONTROL_KINDS = {
    "tts.played", "playback.finished", "gather.complete", "gather.timeout",
    "call.transferred",
}


def accepted_ids(outcomes):
    """The calls that an answer with 200 named, second legs too."""
    first = {outcome.call_id for outcome in outcomes if outcome.call_id}
    return first.union(*(outcome.told.forwards for outcome in outcomes))


def timed_out_ids(outcomes):
    """Those that a 503 named."""
    return {one for outcome in outcomes for one in outcome.timed_out}


def _by_number(events):
    """{number: its call ids}, {number: how often it was rerouted}"""
    calls, reroutes = defaultdict(set), defaultdict(set)
    for event in events:
        calls[event["number"]].add(event["callId"])
        if event["event"] == "call.rerouted":
            reroutes[event["number"]].add(event["eventId"])
    return calls, {number: len(ids) for number, ids in reroutes.items()}


def doubles(outcomes, events, rung):
    """One Idempotency-Key, one call; one request to forward, one second leg;
    one call, one ringing phone.

    rung  {number: how often it was dialled}
    """
    calls, reroutes = _by_number(events)
    timed_out = timed_out_ids(outcomes)
    allowed = {number: 1 for number in rung if number.startswith("2")}
    for outcome in outcomes:
        ids = calls[outcome.number] - timed_out
        if len(ids) > 1:
            yield f"one key, several calls: {outcome.number} {ids}"
        if outcome.call_id and ids and outcome.call_id not in ids:
            yield f"told {outcome.call_id}, but it was {ids}"
        allowed[outcome.number] = 1 + len(outcome.timed_out)
    for number, ids in calls.items():
        if number.startswith("2") and len(ids) > 1:
            yield f"forwarded once, several second legs: {number} {ids}"
    for number, rings in rung.items():
        if rings > allowed.get(number, 0) + reroutes.get(number, 0):
            yield f"{number} rang {rings} times"


def unseen(events, wanted):
    """Kinds of events that never came."""
    for kind in sorted(wanted - {event["event"] for event in events}):
        yield f"the storm had no {kind}: it shows nothing of it"

"""What must hold when the calls of a node are over, whatever was killed
meanwhile. Each rule is a function that yields its violations as texts, so a
test shows all of them at once.

    wait_settled(kaphila, left=lambda: left_in_asterisk(media))
    found = check(kaphila, sink_events(sink), accepted)
    assert not found, "\\n".join(found)

Events are the bodies of webhooks that were answered 2xx, repeats included, as
dicts, where it is known with their times (Events); `accepted` are the ids of calls that an answer of /makecall named.
"""

import json
import subprocess
from collections import defaultdict
from datetime import datetime

from . import paths, sanitizer
from .waiting import wait_until

STORE_DUMP = paths.BUILD / "tests" / "store-dump"

# What a call leaves nothing in. Keys, accounts, streams and answers that are
# kept for Idempotency-Keys stay.
EMPTY_TABLES = (
    "calls",
    "call_cold",
    "calls_by_key",
    "commands",
    "timers",
    "webhooks",
    "webhook_retry",
    "recordings",
    "ledger",
    "ledger_aside",
    "plays",
    "webhook_details",
)
GATHER_ENDS = ("gather.complete", "gather.timeout")
PLAY_ENDS = ("playback.finished", "playback.failed")
# An answer that waits for its verdict may be told behind them.
ONLY_ANSWERED = (
    "dtmf.received",
    "gather.started",
    "tts.played",
    *PLAY_ENDS,
    "call.transferred",
    "call.transfer_failed",
)
SHOWN = 20  # of the violations of one rule


def store_dump(kaphila):
    """What is in the node's store: tables, accounts, calls, commands."""
    done = subprocess.run(
        [STORE_DUMP, kaphila.data_dir],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        env=sanitizer.environment(kaphila.sanitizer_dir, leaks=False),
        check=False,
    )
    assert done.returncode == 0, f"store-dump: {done.stdout}{done.stderr}"
    return json.loads(done.stdout)


class Events(list):
    """Events, repeats included, and when each came first.

    received  {event id: seconds since the epoch}
    """

    def __init__(self, timed):
        """timed: (seconds since the epoch, event), as they came"""
        super().__init__(event for _, event in timed)
        self.received = {}
        for at_s, event in timed:
            self.received.setdefault(event.get("eventId"), at_s)


def sink_events(sink):
    """Every event that a sink took, repeats included."""
    return Events(
        [
            (d.received_at, d.event)
            for d in list(sink.deliveries)
            if d.answer < 300
        ]
    )


def left_in_asterisk(media, known=None):
    """Channels and bridges that a media Asterisk has; with `known` only those
    whose name tells of one of these calls."""
    ari = media.ari()
    try:
        names = [
            f"{kind} {thing['id']}"
            for kind in ("channel", "bridge")
            for thing in ari.get(f"{kind}s")
        ]
    finally:
        ari.close()
    if known is None:
        return names
    return [name for name in names if any(one in name for one in known)]


def wait_settled(kaphila, left=None, timeout_s=60.0):
    """Until nothing of any call is in the store, and left() is empty."""
    last = [None]

    def settled():
        dump = store_dump(kaphila)
        last[0] = {
            name: count
            for name, count in dump["tables"].items()
            if count and name in EMPTY_TABLES
        }
        if last[0]:
            last[0].update({k: dump[k] for k in ("calls", "commands")})
            return False
        last[0] = left() if left else []
        return not last[0]

    wait_until(
        settled, lambda: f"everything to settle: {last[0]}", timeout_s, 0.2
    )


def check(kaphila, events, accepted, left=(), *, silent=(), whole_files=True):
    """Every violation, as a list of texts; empty is good.

    kaphila      a settled node, running or not; its database is its own
    events       see above
    accepted     ids of accepted calls; further ones are found by themselves
    left         what left_in_asterisk (or a simulator) told
    silent       ids of calls that have no webhook
    whole_files  every recording that began came whole into the store: false
                 where an Asterisk died, or has no files
    """
    logs = call_rows(kaphila)
    found = []
    rules = (
        event_faults(events),
        gather_faults(events),
        play_faults(events),
        answer_faults(events),
        transfer_faults(events),
        call_faults(events, accepted, logs, silent),
        table_faults(store_dump(kaphila)),
        money_faults(kaphila, logs),
        recording_faults(kaphila, events, silent, whole_files),
        (f"left in Asterisk: {thing}" for thing in left),
    )
    for rule in rules:
        faults = list(rule)
        found += faults[:SHOWN]
        if len(faults) > SHOWN:
            found.append(f"... and {len(faults) - SHOWN} more like these")
    return found


def call_rows(kaphila):
    """{call id: (status, was_answered, key)} of call_logs."""
    return {
        call_id: rest
        for call_id, *rest in kaphila.database.query(
            "SELECT call_id, status, was_answered, api_key_id FROM call_logs"
        )
    }


def by_call(events):
    """{call id: {event id: event}}, repeats left out."""
    calls = defaultdict(dict)
    for event in events:
        calls[event["callId"]].setdefault(event["eventId"], event)
    return calls


def event_faults(events):
    """Of each call: sequences 1, 2, 3 ..., one event each; call.ended once;
    what comes twice is the same both times."""
    first = {}
    for event in events:
        if first.setdefault(event["eventId"], event) != event:
            yield f"{event['eventId']} came with two bodies"
    for call_id, own in by_call(events).items():
        numbers = sorted(event["sequence"] for event in own.values())
        told = [(e["sequence"], e["event"]) for e in own.values()]
        if numbers != list(range(1, len(numbers) + 1)):
            yield f"{call_id}: a gap or a double in {sorted(told)}"
        kinds = [event["event"] for event in own.values()]
        for kind in set(kinds):
            if kinds.count(kind) > 1 and kind in (
                "call.initiated",
                "call.answered",
                "call.ended",
                "recording.started",
                "recording.stopped",
                "recording.completed",
            ):
                yield f"{call_id}: {kinds.count(kind)} × {kind}"


def _in_order(own):
    """The events of one call, of by_call(), as they happened."""
    return sorted(own.values(), key=lambda event: event["sequence"])


def gather_faults(events):
    """Each gather.started has one end, before the next and before call.ended;
    its digits are those that were told of one by one."""
    for call_id, own in by_call(events).items():
        collected = None  # nothing is gathered
        before = {"event": "nothing"}
        for event in _in_order(own):
            kind = event["event"]
            what = f"{call_id}: {event['sequence']} {kind}"
            if kind in (*GATHER_ENDS, "gather.progress") and collected is None:
                yield f"{what} of no gather"
            elif kind in ("gather.started", "call.ended") and (
                collected is not None
            ):
                yield f"{what} while it gathers"
            if kind == "gather.progress":
                if before["event"] != "dtmf.received" or (
                    before.get("digit") != event["digit"]
                ):
                    yield f"{what} behind {before['event']}"
                if event["collected"] != (collected or "") + event["digit"]:
                    yield f"{what}: {event['collected']} after {collected}"
                collected = event["collected"]
            elif kind in GATHER_ENDS:
                if event["digits"] != (collected or ""):
                    yield f"{what}: {event['digits']}, collected {collected}"
                collected = None
            elif kind == "gather.started":
                collected = ""
            elif kind == "call.ended":
                collected = None
            before = event


def answer_faults(events):
    """call.answered is told once, and its verdict with it or, once, behind
    it; nothing that only an answered call has is told of any other."""
    for call_id, own in by_call(events).items():
        told = answered = False
        verdict = None
        for event in _in_order(own):
            kind = event["event"]
            what = f"{call_id}: {event['sequence']} {kind}"
            status = event.get("amd", {}).get("status")
            if kind == "call.answered":
                if answered:
                    yield f"{what} again"
                answered = True
                verdict = status
            elif kind == "amd.result":
                if verdict != "PENDING" or told:
                    yield f"{what}: {status} after {verdict}"
                told = True
                verdict = status
            elif kind == "call.ended":
                if verdict == "PENDING" or status == "PENDING":
                    yield f"{what} without a verdict"
            elif kind in ONLY_ANSWERED and "answeredAt" not in event:
                yield f"{what} of a call that nobody answered"


def _happened_at(event):
    """In seconds since the epoch."""
    text = event["timestamp"].replace("Z", "+00:00")
    return datetime.fromisoformat(text).timestamp()


def _ended(own):
    """call.ended of a call, of by_call(); None: it isn't there."""
    return next((e for e in own.values() if e["event"] == "call.ended"), None)


def _outlived(calls, first, leg, received):
    """Surely: the one's end was told before the other's came about. Which
    happened first doesn't count, for two workers may learn of them."""
    end, leg_end = _ended(calls.get(first, {})), _ended(calls[leg])
    if end is None or leg_end is None or leg_end["eventId"] not in received:
        return False
    return received[leg_end["eventId"]] < _happened_at(end)


def transfer_faults(events):
    """A second leg's events all name its first leg, which tells once what
    became of it: at the most, and where it lived longer exactly."""
    received = getattr(events, "received", {})
    calls = by_call(events)
    of_leg, legs_of = {}, defaultdict(list)
    for call_id, own in calls.items():
        named = {event.get("forwardedFrom") for event in own.values()}
        if len(named) > 1:
            yield f"{call_id}: forwarded from {named}"
        of_leg[call_id] = named
        for first in named:
            legs_of[first].append(call_id)
    for call_id, own in calls.items():
        told = defaultdict(list)
        for event in _in_order(own):
            if event["event"].startswith("call.transfer"):
                told[event["forwardedCallId"]].append(event["event"])
        for leg, kinds in told.items():
            if len(kinds) > 1:
                yield f"{call_id}: {kinds} of {leg}"
            if of_leg.get(leg, {call_id}) != {call_id}:
                yield f"{leg}: from {of_leg[leg]}, told of by {call_id}"
        for leg in legs_of[call_id]:
            if leg not in told and _outlived(calls, call_id, leg, received):
                yield f"{call_id}: what became of {leg} was never told"


def play_faults(events):
    """No playback begins or ends twice, and none begins behind its end."""
    for call_id, own in by_call(events).items():
        begun, ended = set(), set()
        for event in _in_order(own):
            play = event.get("playbackId")
            what = f"{call_id}: {event['sequence']} {event['event']} of {play}"
            if event["event"] == "tts.played":
                if play in begun | ended:
                    yield f"{what} again, or behind its end"
                begun.add(play)
            elif event["event"] in PLAY_ENDS:
                if play in ended:
                    yield f"{what} again"
                ended.add(play)


def call_faults(events, accepted, logs, silent=()):
    """Each call has one call.ended and one row, and both say the same."""
    calls = by_call(events)
    for call_id in {*accepted, *calls, *logs}:
        kinds = {e["event"]: e for e in calls[call_id].values()}
        row = logs.get(call_id)
        if row is None:
            yield f"{call_id}: no row in call_logs"
            continue
        status, was_answered, _ = row
        if call_id in silent:
            continue
        # Refused by every trunk at once, and nobody heard the answer.
        if not kinds and call_id not in accepted and status == "failed":
            continue
        ended = kinds.get("call.ended")
        if ended is None:
            yield f"{call_id}: no call.ended, of {sorted(kinds)}"
        elif ended["status"] != status or ended["wasAnswered"] != was_answered:
            yield (
                f"{call_id}: call.ended says {ended['status']}, answered"
                f" {ended['wasAnswered']}; its row {row}"
            )
        if ("call.answered" in kinds) != was_answered:
            yield f"{call_id}: answered {was_answered}, of {sorted(kinds)}"


def table_faults(dump):
    """Nothing of a call is left in the store, no hold, no live call."""
    for name in EMPTY_TABLES:
        if dump["tables"][name]:
            yield f"the store has {dump['tables'][name]} records in {name}"
    for call in dump["calls"]:
        yield f"left in the store: {call}"
    for command in dump["commands"]:
        yield f"left in the outbox: {command}"
    for account in dump["accounts"]:
        if account["holds"] or account["live"]:
            yield f"an account that is not at rest: {account}"
    for trunk in dump["trunks"]:
        if trunk["live"]:
            yield f"a trunk with calls that are none: {trunk}"


def money_faults(kaphila, logs):
    """Balance = granted - answered, by call and in sum; the counters agree."""
    query = kaphila.database.query
    answered = {call_id for call_id, row in logs.items() if row[1]}
    charged = {
        row[0]
        for row in query(
            "SELECT call_id FROM credit_ledger WHERE kind = 'charge'"
        )
    }
    for call_id in answered - charged:
        yield f"{call_id}: answered and not charged"
    for call_id in charged - answered:
        yield f"{call_id}: charged and not answered"
    for key, credits, granted, total, successful in query(
        "SELECT id, credits, (SELECT COALESCE(sum(amount), 0)::bigint FROM"
        " credit_ledger WHERE api_key_id = id AND kind = 'grant'),"
        " total_calls, successful_calls FROM api_keys"
    ):
        own = [row for row in logs.values() if row[2] == key]
        paid = [row for row in own if row[1]]
        if credits != granted - len(paid):
            yield (
                f"key {key}: balance {credits}, granted {granted},"
                f" answered {len(paid)}"
            )
        if (total, successful) != (len(own), len(paid)):
            yield (
                f"key {key}: counts {total} and {successful},"
                f" rows {len(own)} and {len(paid)}"
            )


def recording_faults(kaphila, events, silent=(), whole_files=True):
    """One file, one row, one recording.completed for each recording; nothing
    on its way, nothing left in Asterisk's spool."""
    folder = kaphila.recordings_dir
    files = defaultdict(list)
    for path in folder.rglob("*"):
        if not path.is_file():
            continue
        if "incoming" in path.parts or (
            whole_files and "damaged" in path.parts
        ):
            yield f"left in the recordings' folder: {path.relative_to(folder)}"
        elif "damaged" not in path.parts:
            files[path.name].append(path.stat().st_size)
    rows = dict(
        kaphila.database.query("SELECT filename, size_bytes FROM recordings")
    )
    told = defaultdict(set)
    for event in events:
        if event["event"] == "recording.completed":
            told[event["filename"]].add(event["size"])
    for name in {*files, *rows, *told}:
        sizes = files[name]
        if len(sizes) != 1 or rows.get(name) != sizes[0]:
            yield f"{name}: files {sizes}, row {rows.get(name)}"
        elif name.split("-")[1] not in silent and told[name] != set(sizes):
            yield f"{name}: of {sizes} bytes, told {told[name]}"
    if not whole_files:
        return
    for call_id, own in by_call(events).items():
        kinds = {event["event"] for event in own.values()}
        if "recording.started" in kinds and "recording.completed" not in kinds:
            yield f"{call_id}: its recording never completed"
    yield from _spool_faults(kaphila, {e["callId"] for e in events})


def _spool_faults(kaphila, calls):
    spool = kaphila.asterisk.recording_dir
    for path in spool.iterdir() if spool.is_dir() else ():
        if any(path.name.startswith(f"call-{one}-") for one in calls):
            yield f"left in Asterisk's spool: {path.name}"

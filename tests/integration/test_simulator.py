"""The ARI simulator beside a real Asterisk, and kaphila on it: the same events
and answers; and each fault that it can be told to have, with the rules that
hold after every one of them."""

import collections
import itertools
import json
import os
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import pytest
import requests
import websocket
from harness import invariants
from harness.simulator import ARI_SIM, EVENT_SINK, EventSink
from harness.waiting import wait_until
from test_calls import check_events, log_row, number
from test_outages import FAST

VERSION = int(os.environ.get("KAPHILA_TEST_ASTERISK", "22"))
_numbers = itertools.count(1)

# What depends on the media, or on the moment: of no channel's story.
OMITTED = {"ChannelVarset", "ChannelConnectedLine"}


# --- beside a real Asterisk ---


@pytest.fixture
def both(asterisk, simulator):
    """(name, ARI client) of each, connected for the app "test"."""
    clients = [
        ("asterisk", asterisk.media.ari()),
        ("simulator", simulator.ari()),
    ]
    for _, client in clients:
        client.listen("test")
    yield clients
    for _, client in clients:
        client.close()


def originate(client, digits, timeout=30, trunk="carrier", channel=None):
    """A call to that behaviour; the response."""
    return client.request(
        "POST",
        "channels",
        endpoint=f"PJSIP/001555010{digits}@{trunk}",
        channelId=channel or f"sim-{os.getpid()}-{next(_numbers)}",
        app="test",
        appArgs="dialed",
        timeout=timeout,
        callerId="15550100",
    )


def story(client, channel):
    """A channel's events as (type, what it says), in order. The two that tell
    of ringing come from different threads of Asterisk's: in either order. That
    dialling began may be told before the app is told anything of the channel.
    """
    found = []
    for event in client.of_channel(channel):
        if event["type"] in OMITTED or event.get("dialstatus") == "":
            continue
        what = event.get("dialstatus")
        if event["type"] == "ChannelDestroyed":
            what = event["cause"]
        if event["type"] == "ChannelStateChange":
            what = event["channel"]["state"]
        found.append((event["type"], what))
    ringing = [
        i for i, step in enumerate(found) if step[1] in ("RINGING", "Ringing")
    ]
    if len(ringing) == 2 and ringing[1] == ringing[0] + 1:
        found[ringing[0] : ringing[1] + 1] = sorted(
            found[ringing[0] : ringing[1] + 1]
        )
    return found


def members(event):
    """The names of all members, those of the members' members too."""
    found = set()
    for name, value in event.items():
        found.add(name)
        if isinstance(value, dict):
            found |= {f"{name}.{inner}" for inner in members(value)}
    return found


def told(client, channel):
    """What each type of a channel's events consists of. Whether a request to
    hang up names a cause is a matter of the technology."""
    return {
        event["type"]: members(event) - {"cause", "tech_cause"}
        if event["type"] == "ChannelHangupRequest"
        else members(event)
        for event in client.of_channel(channel)
        if event["type"] not in OMITTED
    }


@pytest.mark.simulator(version=VERSION)
@pytest.mark.parametrize("digits", ["03", "04", "05", "06", "08", "09", "10"])
def test_same_events(both, digits):
    """Each way to end: the same types in the same order, with the same
    causes, made of the same members."""
    stories, shapes = [], []
    for _, client in both:
        timeout = 2 if digits == "04" else 30
        channel = originate(client, digits, timeout).json()["id"]
        if digits == "10":
            client.wait_event(channel, "StasisStart")
            assert (
                client.request("DELETE", f"channels/{channel}").status_code
                == 204
            )
        client.wait_event(channel, "ChannelDestroyed", 30)
        stories.append(story(client, channel))
        shapes.append(told(client, channel))
    assert stories[0] == stories[1]
    assert shapes[0] == shapes[1]


@pytest.mark.simulator(version=VERSION)
def test_same_recording(both, asterisk, simulator):
    """A bridge that is recorded until its channel hangs up: the same events;
    a file that is there from the start, and whole at the end."""
    kinds = []
    for media, (_, client) in zip((asterisk.media, simulator), both):
        channel = originate(client, "08").json()["id"]
        client.wait_event(channel, "StasisStart")
        for path, params in (
            (f"bridges/b-{channel}", {"type": "mixing", "name": "test"}),
            (f"bridges/b-{channel}/addChannel", {"channel": channel}),
            (
                f"bridges/b-{channel}/record",
                {"name": f"r-{channel}", "format": "wav", "ifExists": "fail"},
            ),
        ):
            response = client.request("POST", path, **params)
            assert response.status_code in (200, 201, 204), response.text
        file = media.recording_dir / f"r-{channel}.wav"
        wait_until(
            lambda file=file: file.exists() and file.stat().st_size >= 44, file
        )
        assert file.read_bytes()[40:44] == b"\0\0\0\0"
        done = client.wait_recording(f"r-{channel}")
        assert done["type"] == "RecordingFinished"
        data = file.read_bytes()
        assert int.from_bytes(data[40:44], "little") == len(data) - 44
        assert int.from_bytes(data[4:8], "little") == len(data) - 8
        client.wait_event(channel, "ChannelDestroyed")
        kinds.append(
            (
                story(client, channel),
                members(done),
                [e["type"] for e in client.events if "recording" in e],
            )
        )
        assert (
            client.request("DELETE", f"bridges/b-{channel}").status_code == 204
        )
    assert kinds[0] == kinds[1]


# (method, path, parameters); {c} is a channel in Stasis, {r} one that rings,
# {b} a bridge. Asked in this order.
ASKED = [
    ("GET", "channels/nope", {}),
    ("GET", "channels/nope/variable", {"variable": "A"}),
    ("GET", "channels/{c}/variable", {"variable": "A"}),
    ("GET", "channels/{c}/variable", {}),
    ("POST", "channels/{c}/variable", {"variable": "A", "value": "b"}),
    ("DELETE", "channels/nope", {}),
    ("POST", "channels", {"app": "test"}),
    ("POST", "channels", {"endpoint": "PJSIP/001@carrier"}),
    ("POST", "channels", {"endpoint": "PJSIP/001@no-trunk", "app": "test"}),
    ("POST", "channels", {"endpoint": "FOO/001", "app": "test"}),
    (
        "POST",
        "channels",
        {"endpoint": "PJSIP/001@carrier", "app": "test", "channelId": "{c}"},
    ),
    ("POST", "bridges/{b}", {"type": "mixing", "name": "test"}),
    ("POST", "bridges/{b}", {"type": "mixing", "name": "test"}),
    ("POST", "bridges/{b}/addChannel", {"channel": "nope"}),
    ("POST", "bridges/{b}/addChannel", {"channel": "{r}"}),
    ("POST", "bridges/nope/addChannel", {"channel": "{c}"}),
    ("POST", "bridges/{b}/addChannel", {"channel": "{c}"}),
    ("POST", "bridges/nope/record", {"name": "x", "format": "wav"}),
    ("POST", "bridges/{b}/record", {"name": "{b}", "format": "nope"}),
    (
        "POST",
        "bridges/{b}/record",
        {"name": "{b}", "format": "wav", "ifExists": "fail"},
    ),
    (
        "POST",
        "bridges/{b}/record",
        {"name": "{b}", "format": "wav", "ifExists": "fail"},
    ),
    ("GET", "recordings/live/{b}", {}),
    ("GET", "recordings/live/nope", {}),
    ("POST", "recordings/live/{b}/stop", {}),
    ("GET", "bridges/nope", {}),
    ("POST", "channels/nope/play", {"media": "sound:hello-world"}),
    ("POST", "channels/{r}/play", {"media": "sound:hello-world"}),
    ("POST", "channels/{c}/play", {}),
    ("POST", "channels/{c}/play/p1", {"media": "sound:silence/5"}),
    ("POST", "bridges/nope/play", {"media": "sound:hello-world"}),
    ("POST", "bridges/{b}/play/p2", {"media": "sound:silence/5"}),
    ("GET", "playbacks/p1", {}),
    ("GET", "playbacks/nope", {}),
    ("DELETE", "playbacks/p1", {}),
    ("DELETE", "playbacks/p2", {}),
    ("DELETE", "playbacks/nope", {}),
    ("POST", "channels/nope/snoop", {"spy": "in", "app": "test"}),
    ("POST", "channels/{c}/snoop", {"app": "test"}),
    ("POST", "channels/{c}/snoop/s-{c}", {"spy": "in"}),
    ("POST", "channels/{c}/snoop/s-{c}", {"spy": "in", "app": "test"}),
    ("POST", "channels/{c}/snoop/s-{c}", {"spy": "in", "app": "test"}),
    ("POST", "channels/nope/continue", {}),
    ("POST", "channels/{r}/continue", {}),
    ("DELETE", "channels/s-{c}", {}),
    ("GET", "asterisk/variable", {}),
    ("GET", "asterisk/variable", {"variable": "KAPHILA_AMD_VERSION"}),
    ("GET", "asterisk/variable", {"variable": "NOPE"}),
    ("GET", "asterisk/modules/app_amd.so", {}),
    ("GET", "asterisk/modules/nope.so", {}),
    # not right behind the first: for a moment that is a 409
    ("POST", "recordings/live/{b}/stop", {}),
    ("DELETE", "bridges/{b}", {}),
    ("DELETE", "bridges/nope", {}),
    ("GET", "applications/nope", {}),
    ("PUT", "applications/nope/eventFilter", {}),
    ("POST", "applications/test/subscription", {}),
    (
        "POST",
        "applications/nope/subscription",
        {"eventSource": "channel:{r}"},
    ),
    ("POST", "applications/test/subscription", {"eventSource": "nope:{r}"}),
    (
        "POST",
        "applications/test/subscription",
        {"eventSource": "channel:nope"},
    ),
    (
        "POST",
        "applications/test/subscription",
        {"eventSource": "channel:{r}"},
    ),
    ("POST", "events/user/here", {}),
    ("POST", "events/user/here", {"application": "nope"}),
    ("POST", "events/user/here", {"application": "test"}),
    ("DELETE", "channels/{c}", {}),
    ("GET", "nope", {}),
    ("PUT", "channels", {}),
]


@pytest.mark.simulator(version=VERSION)
def test_same_answers(both):
    """Statuses, and what they say, of good and bad requests."""
    tables = []
    for _, client in both:
        channel = originate(client, "10").json()["id"]
        ringing = originate(client, "04").json()["id"]
        client.wait_event(channel, "StasisStart")
        client.wait_event(ringing, "ChannelStateChange")
        # the names are the same for both, so that the texts can be
        names = {"c": channel, "r": ringing, "b": f"b-{channel}"}
        answers = []
        for method, path, params in ASKED:
            filled = {k: v.format(**names) for k, v in params.items()}
            response = client.request(method, path.format(**names), **filled)
            text = response.text
            for name, value in sorted(names.items()):
                text = text.replace(value, name)
            body = response.json() if text else {}
            said = body.get("message", sorted(body)) if body else None
            if isinstance(said, str):
                for name, value in names.items():
                    said = said.replace(value, name)
            answers.append((method, path, response.status_code, said))
        tables.append(answers)
        client.hang_up_all()
    assert tables[0] == tables[1]


def plays(client, names):
    """The events of playbacks as (name, type, state), in order, and what one
    of each type consists of."""
    told = [e for e in list(client.events) if "playback" in e]
    return [
        (names.get(e["playback"]["id"]), e["type"], e["playback"]["state"])
        for e in told
    ], {e["type"]: members(e) for e in told}


# What is played, one behind the other, and which of them are stopped, in that
# order, once the first one plays.
PLAYED = {
    "through": (["hello-world", "hello-world"], []),
    "missing": (["no-such-sound", "hello-world"], []),
    "first stopped": (["silence/5", "hello-world"], [0]),
    "queued stopped": (["silence/1", "silence/5", "hello-world"], [1]),
    "all stopped": (["silence/5", "silence/5", "silence/5"], [2, 1, 0]),
}


@pytest.mark.simulator(version=VERSION)
@pytest.mark.parametrize("target", ["bridge", "channel"])
@pytest.mark.parametrize("case", PLAYED)
def test_same_playbacks(both, target, case):
    """Queues of sounds: what is told of each, and in which order."""
    sounds, stopped = PLAYED[case]
    stories = []
    for _, client in both:
        channel = originate(client, "10").json()["id"]
        client.wait_event(channel, "StasisStart")
        client.request("POST", f"bridges/b-{channel}", type="mixing")
        client.request(
            "POST", f"bridges/b-{channel}/addChannel", channel=channel
        )
        path = f"channels/{channel}"
        if target == "bridge":
            path = f"bridges/b-{channel}"
        ids = {f"{n}-{channel}": n for n in range(len(sounds))}
        for name, sound in zip(ids, sounds):
            response = client.request(
                "POST", f"{path}/play/{name}", media=f"sound:{sound}"
            )
            assert response.status_code == 201, response.text
            assert response.headers["Location"].endswith(f"/playbacks/{name}")
        if stopped:
            wait_until(lambda c=client: plays(c, {})[0], "the first to play")
        for n in stopped:
            done = client.request("DELETE", f"playbacks/{n}-{channel}")
            assert done.status_code == 204
        wait_until(
            lambda c=client: len(
                [e for e in c.events if e["type"] == "PlaybackFinished"]
            )
            == len(sounds),
            lambda c=client, ids=ids: f"their ends: {plays(c, ids)[0]}",
            20,
        )
        stories.append(plays(client, ids))
        client.hang_up_all()
    assert stories[0] == stories[1]


@pytest.mark.simulator(version=VERSION)
@pytest.mark.parametrize("target", ["bridge", "channel"])
def test_same_end_of_playbacks(both, target):
    """Two sounds, and the channel and the bridge end during the first. (What
    becomes of a channel's second is a matter of the moment in Asterisk.)"""
    stories = []
    for _, client in both:
        channel = originate(client, "10").json()["id"]
        client.wait_event(channel, "StasisStart")
        client.request("POST", f"bridges/b-{channel}", type="mixing")
        client.request(
            "POST", f"bridges/b-{channel}/addChannel", channel=channel
        )
        path = f"channels/{channel}"
        if target == "bridge":
            path = f"bridges/b-{channel}"
        ids = {f"{n}-{channel}": n for n in range(2)}
        for name in ids:
            client.request(
                "POST", f"{path}/play/{name}", media="sound:silence/5"
            )
        wait_until(lambda c=client: plays(c, {})[0], "the first to play")
        client.request("DELETE", f"channels/{channel}")
        client.wait_event(channel, "ChannelDestroyed")
        client.request("DELETE", f"bridges/b-{channel}")
        # what a later call tells comes behind all of it
        later = originate(client, "03").json()["id"]
        client.wait_event(later, "ChannelDestroyed")
        stories.append(
            [
                told
                for told in plays(client, ids)[0]
                if target == "bridge" or told[0] == 0
            ]
        )
    assert stories[0] == stories[1]


# What is pressed, and how long after the answer the last of it is at least.
PRESSED = {
    "07": ("1234", 4.0),
    "13": ("9876", 10.5),
    "14": ("123", 7.5),
    "15": ("12#*0AD", 8.5),
    "16": ("5", 4.0),
    "17": ("1", 9.0),
    "18": ("9", 9.0),
}


def at(event):
    """When Asterisk made it, in seconds since the epoch."""
    return datetime.strptime(
        event["timestamp"], "%Y-%m-%dT%H:%M:%S.%f%z"
    ).timestamp()


@pytest.mark.simulator(version=VERSION)
def test_same_digits(both):
    """Each number presses what it does on the carrier, no sooner; each digit
    is told with how long it lasted."""
    shapes = []
    for _, client in both:
        placed = {d: originate(client, d).json()["id"] for d in PRESSED}
        for digits, (wanted, after_s) in PRESSED.items():
            channel = placed[digits]

            def told(channel=channel, client=client):
                return [
                    event
                    for event in client.of_channel(channel)
                    if event["type"] == "ChannelDtmfReceived"
                ]

            wait_until(
                lambda: len(told()) == len(wanted),
                lambda: f"{wanted} of {digits}: {told()}",
                60,
            )
            assert "".join(e["digit"] for e in told()) == wanted, digits
            assert all(e["duration_ms"] > 0 for e in told())
            begun = client.wait_event(channel, "StasisStart")
            assert at(told()[-1]) - at(begun) > after_s, digits
            shapes.append((digits, members(told()[0])))
        client.hang_up_all()
    half = len(PRESSED)
    assert shapes[:half] == shapes[half:]


@pytest.mark.simulator(version=VERSION)
@pytest.mark.parametrize("ends", [False, True])
def test_same_analysis(both, ends):
    """A snoop channel goes to AMD and comes back with a verdict, or ends with
    its channel before: the same of both, but for the figures."""
    stories = []
    for name, client in both:
        channel = originate(client, "02").json()["id"]
        snoop = f"amd-{channel}"
        client.wait_event(channel, "StasisStart")
        done = client.request(
            "POST", f"channels/{channel}/snoop/{snoop}", spy="in", app="test"
        )
        assert done.status_code == 200, done.text
        assert client.wait_event(snoop, "StasisStart")["args"] == []
        for path, params in (
            ("variable", {"variable": "KAPHILA_AMD", "value": "test|"}),
            (
                "continue",
                {"context": "kaphila-amd", "extension": "s", "priority": 1},
            ),
        ):
            done = client.request("POST", f"channels/{snoop}/{path}", **params)
            assert done.status_code == 204, (name, done.text)
        client.wait_event(snoop, "StasisEnd")
        if ends:
            client.request("DELETE", f"channels/{channel}")
        else:
            wait_until(
                lambda c=client, s=snoop: [
                    e for e in c.of_channel(s) if e.get("args")
                ],
                "the verdict",
                20,
            )
            client.request("DELETE", f"channels/{channel}")
        client.wait_event(channel, "ChannelDestroyed")
        wait_until(lambda c=client: c.get("channels") == [], "their ends")
        later = originate(client, "03").json()["id"]
        client.wait_event(later, "ChannelDestroyed")
        stories.append(
            [
                (e["type"], e.get("args", [])[:2])
                for e in client.of_channel(snoop)
                if e["type"] not in OMITTED
            ]
        )
    assert stories[0] == stories[1]
    assert (("StasisStart", ["amd", "MACHINE"]) in stories[0]) != ends


@pytest.mark.simulator(version=VERSION)
def test_same_subscription(both):
    """A call that was originated while its app was not there is none that the
    app is told of, until it subscribes to it: then it hears of its end."""
    told_before = []
    for name, client in both:
        client.close()
        late = type(client)(client.url, client.user, client.password)
        wait_until(
            lambda late=late: late.get("applications") == [],
            f"no app in {name}",
        )
        channel = originate(late, "04").json()["id"]
        late.listen("test")
        told_before.append(late.get("applications/test")["channel_ids"])
        response = late.request(
            "POST",
            "applications/test/subscription",
            eventSource=f"channel:{channel}",
        )
        assert response.json()["channel_ids"] == [channel], name
        told = late.get("applications/test")["channel_ids"]
        assert told == [channel], name
        late.request("DELETE", f"channels/{channel}")
        late.wait_event(channel, "ChannelDestroyed")
        late.close()
    assert told_before == [[], []]


def test_same_mark(both):
    """An event on demand: told at once, to who has the app."""
    shapes = []
    for _, client in both:
        client.request("POST", "events/user/a-mark", application="test")
        event = wait_until(
            lambda client=client: [
                e for e in client.events if e["type"] == "ChannelUserevent"
            ],
            "the event",
        )[0]
        assert event["eventname"] == "a-mark"
        shapes.append({k: type(v).__name__ for k, v in event.items()})
    assert shapes[0] == shapes[1]


def test_same_place_of_a_mark(both):
    """Behind what was told of a channel that can't be found any more."""
    for name, client in both:
        for n in range(30):
            channel = originate(client, "03").json()["id"]
            wait_until(
                lambda client=client, channel=channel: client.request(
                    "GET", f"channels/{channel}"
                ).status_code
                == 404,
                "the end of the channel",
                every_s=0.001,
            )
            mark = f"mark-{n}"
            client.request("POST", f"events/user/{mark}", application="test")
            wait_until(
                lambda client=client, mark=mark: any(
                    e.get("eventname") == mark for e in client.events
                ),
                "the mark",
            )
            told = [
                e.get("eventname", e["type"])
                for e in client.events
                if e.get("eventname") == mark
                or e.get("channel", {}).get("id") == channel
            ]
            assert told.index("ChannelDestroyed") < told.index(mark), name


def test_same_news_for_who_is_replaced(both):
    """A second connection for an app: the first is told, and gets no more."""
    for name, client in both:
        second = type(client)(client.url, client.user, client.password)
        second.listen("test")
        wait_until(
            lambda client=client: any(
                e["type"] == "ApplicationReplaced" for e in client.events
            ),
            f"ApplicationReplaced of {name}",
        )
        before = len(client.events)
        channel = originate(second, "03").json()["id"]
        second.wait_event(channel, "ChannelDestroyed")
        assert len(client.events) == before
        second.close()


def test_same_end_when_nobody_is_connected(both):
    """Answered while nobody has the app: the call is dropped."""
    for name, client in both:
        channel = originate(client, "10").json()["id"]
        client.wait_event(channel, "StasisStart")
        client.request("DELETE", f"channels/{channel}")
        client.close()
        other = type(client)(client.url, client.user, client.password)
        originate(other, "10")
        wait_until(
            lambda other=other: other.get("channels") == [],
            f"{name} to drop the call",
        )
        other.close()


@pytest.mark.simulator(version=VERSION)
def test_same_events_of_an_app_that_comes_late(both):
    """Originated while the app was not there, answered when it is: it hears
    of Stasis, and of nothing behind it."""
    stories = []
    for name, client in both:
        client.close()
        late = type(client)(client.url, client.user, client.password)
        wait_until(
            lambda late=late: late.get("applications") == [],
            f"no app in {name}",
        )
        channel = originate(late, "08").json()["id"]
        late.listen("test")
        late.wait_event(channel, "StasisEnd")
        wait_until(lambda late=late: late.get("channels") == [], "its end")
        after = originate(late, "03").json()["id"]
        late.wait_event(after, "ChannelDestroyed")
        stories.append([step for step, _ in story(late, channel)])
        late.close()
    assert stories[0] == stories[1]
    assert "ChannelDestroyed" not in stories[0]


@pytest.mark.skipif(VERSION < 22, reason="no requests over a WebSocket")
def test_same_end_of_an_app(both):
    """What stands in a connection whose other end is gone is carried out, and
    the app goes behind the last of it: kaphila's fence builds on that."""
    asked = 400
    for name, client in both:
        address = client.url.replace("http://", "ws://", 1)
        line = websocket.create_connection(
            f"{address}/ari/events?app=gone"
            f"&api_key={client.user}:{client.password}",
            timeout=10,
            suppress_origin=True,
        )
        for n in range(asked):
            line.send(
                json.dumps(
                    {
                        "type": "RESTRequest",
                        "request_id": str(n),
                        "method": "POST",
                        "uri": f"bridges/left-{n}?type=mixing",
                    }
                )
            )
        line.sock.shutdown(socket.SHUT_WR)
        wait_until(
            lambda client=client: client.request(
                "GET", "applications/gone"
            ).status_code
            == 404,
            f"the end of the app in {name}",
            every_s=0.005,
        )
        left = [b for b in client.get("bridges") if b["id"][:5] == "left-"]
        assert len(left) == asked, name
        line.close()
        client.hang_up_all()


# --- kaphila on it ---


def check_story(events):
    """What holds for all events of one call. Where nothing was ever seen of
    it in Asterisk, its end is all that there is to tell."""
    events = sorted(events, key=lambda event: event["sequence"])
    if [event["event"] for event in events] == ["call.ended"]:
        assert events[0]["sequence"] == 1
        assert events[0]["status"] in ("failed", "canceled")
    else:
        check_events(events)


class Calls:
    """Calls of one test, and what has to hold for all of them at its end."""

    def __init__(self, kaphila, simulator, sink):
        self.kaphila, self.simulator, self.sink = kaphila, simulator, sink
        self.client = kaphila.client()
        self.ids = []

    def place(self, digits, **body):
        """/makecall; the id of the call that came of it, if any did."""
        response = self.client.post(
            "/makecall",
            json={
                "number": number(digits),
                "webhookUrl": self.sink.url,
                **body,
            },
        )
        call_id = response.json().get("callId")
        assert response.status_code == 200 or response.status_code >= 500
        if call_id is not None:
            self.ids.append(call_id)
        return call_id

    def wait(self, call_id, kind, timeout_s=60.0):
        """An event of a call."""
        return self.sink.wait(call_id, kind, timeout_s)

    def hang_up(self):
        """Whatever still lives, by the API."""
        for call in self.client.get("/calls").json()["calls"]:
            self.client.post("/hangup", json={"callId": call["callId"]})

    def settle(self):
        """Until each call has ended, once, and nothing is left of any; their
        call.ended by id."""
        ended = {}
        for call_id in self.ids:
            ended[call_id] = self.wait(call_id, "call.ended")
        wait_until(
            self.simulator.empty,
            lambda: f"nothing to be left: {self.simulator.state()}",
            60,
        )
        wait_until(
            lambda: self.client.get("/calls").json()["totalCalls"] == 0,
            "no call to be left",
        )
        known = {event["callId"] for event in self.sink.events()}
        assert known == set(self.ids)
        for call_id in self.ids:
            check_story(self.sink.events(call_id))
        rung = self.simulator.state()["rung"]["by_channel"]
        assert {count for count in rung.values()} <= {1}, rung
        assert self.simulator.state()["totals"]["rung_twice"] == 0
        return ended

    def check_health(self):
        """A call as any other, from its beginning to its recording; once all
        has come to rest, for a worker notices a fault only after a while."""

        def goes_well():
            self.kaphila.wait_ready()
            call_id = self.place("08")
            if call_id is None:
                return None
            ended = self.wait(call_id, "call.ended")
            return call_id if ended["status"] == "completed" else None

        self.wait(
            wait_until(goes_well, "a call that goes well", 90, 0.3),
            "recording.completed",
        )


@pytest.fixture
def calls(simulator, database, make_kaphila, sink):
    """Calls of a kaphila on the simulator."""
    kaphila = make_kaphila(simulator, database, FAST)
    return Calls(kaphila, simulator, sink)


# digits → (status, endReason, hangupCause), by the far end's doing
ENDS = {
    "03": ("busy", "busy", "17"),
    "05": ("failed", "congestion", "34"),
    "06": ("failed", "rejected", "21"),
    "08": ("completed", "normal_hangup", "16"),
    "09": ("failed", "invalid_number", "1"),
    "35": ("busy", "busy", "17"),
    "36": ("completed", "normal_hangup", "16"),
}


def test_behaviours(calls, database):
    """Each behaviour ends as on a real Asterisk: events, row, recording."""
    placed = {digits: calls.place(digits) for digits in ENDS}
    silent = calls.place("04", ringTimeout=5)
    early = calls.place("32")
    refused = calls.client.post("/makecall", json={"number": number("34")})
    assert refused.status_code == 500
    assert refused.json()["code"] == "ORIGINATION_FAILED"
    calls.wait(early, "recording.started")
    calls.client.post("/hangup", json={"callId": early})

    ended = calls.settle()
    for digits, expected in ENDS.items():
        end = ended[placed[digits]]
        assert (end["status"], end["endReason"], end["hangupCause"]) == expected
        assert log_row(database, placed[digits])[:3] == expected
    assert ended[silent]["status"] == "no-answer"
    assert ended[early]["endReason"] == "api_hangup"
    done = calls.wait(placed["08"], "recording.completed")
    assert len(list(calls.kaphila.recordings_dir.rglob(done["filename"]))) == 1


@pytest.mark.simulator(version=16)
def test_commands_over_http(calls):
    """As Asterisk 16: REST over the WebSocket is not heard; HTTP works."""
    calls.check_health()
    live = calls.place("11")
    calls.wait(live, "recording.started")
    kinds = collections.Counter(
        connection["kind"]
        for connection in calls.simulator.state()["connections"]
        if connection["commands"]
    )
    assert set(kinds) == {"http"}
    assert calls.simulator.fired(calls.simulator.fault("cut_commands")) == 1
    calls.check_health()
    calls.hang_up()
    calls.settle()


@pytest.mark.simulator(
    mix="answer=60,busy=15,congestion=10,refuse=15",
    fixed="none",
    ring="10-200",
    talk="100-500",
    seed=7,
)
def test_mix(calls):
    """Behaviours by chance, in about their shares."""
    for _ in range(60):
        calls.place("99")
    ended = calls.settle()
    seen = collections.Counter(end["endReason"] for end in ended.values())
    assert set(seen) == {"normal_hangup", "busy", "congestion", "rejected"}
    assert 20 < seen["normal_hangup"] < 50, seen


# --- faults ---

# (fault, details): each in the middle of live calls
SUDDEN = [
    ("cut_events", {}),
    ("cut_commands", {}),
    ("half_frame", {}),
    ("repeat_frame", {"count": 40}),
    ("unknown_event", {"count": 3}),
    ("huge_event", {}),
    ("huge_event", {"bytes": 1 << 21}),
    ("silence", {}),
    ("silence", {"seconds": 1}),
    ("silence_commands", {}),
    ("out_of_order", {"count": 20}),
    ("replace_app", {}),
    ("steal_app", {}),
    ("forget_app", {}),
    ("freeze", {"seconds": 3}),
    ("freeze", {"seconds": 3, "timers": False}),
    ("delay_replies", {"ms": 300, "count": 20}),
    ("refuse_connect", {"seconds": 1}),
]


def name_of(spec):
    """Of a fault, for the test's name."""
    return "-".join([spec[0], *(f"{k}{v}" for k, v in spec[1].items())])


@pytest.mark.parametrize("spec", SUDDEN, ids=name_of)
def test_sudden_fault(calls, spec):
    """In the middle of an answered and a ringing call: neither ends by it, all
    goes on, and nothing is left over or done twice."""
    name, details = spec
    calls.kaphila.allow_errors("taken the Stasis app over")
    answered, ringing = calls.place("11"), calls.place("04")
    calls.wait(answered, "recording.started")
    calls.wait(ringing, "call.ringing")

    fault = calls.simulator.fault(name, **details)
    during = calls.place("08")
    wait_until(lambda: calls.simulator.fired(fault) > 0, "the fault")
    calls.check_health()
    live = {
        call["callId"] for call in calls.client.get("/calls").json()["calls"]
    }
    assert {answered, ringing} <= live
    calls.simulator.clear_faults()
    calls.hang_up()

    ended = calls.settle()
    assert ended[answered]["endReason"] == "api_hangup"
    assert ended[answered]["status"] == "completed"
    assert ended[ringing]["status"] == "canceled"
    if during is not None:
        calls.wait(during, "call.ended")
    calls.wait(answered, "recording.completed")


@pytest.mark.parametrize("graceful", [False, True])
@pytest.mark.parametrize("seconds", [0, 1])
def test_restart(calls, seconds, graceful):
    """Asterisk is another process: its calls end as media_server_lost (or as
    it says, where it hung up before it went), and the next ones are made."""
    calls.kaphila.allow_errors("recording")
    answered, ringing = calls.place("11"), calls.place("04")
    calls.wait(answered, "recording.started")
    calls.wait(ringing, "call.ringing")
    calls.simulator.fault("restart", seconds=seconds, graceful=graceful)
    reasons = {calls.wait(c, "call.ended")["endReason"] for c in calls.ids}
    if not graceful:
        assert reasons == {"media_server_lost"}
    calls.check_health()
    ended = calls.settle()
    assert ended[answered]["status"] == "completed"
    assert ended[answered]["wasAnswered"] is True
    assert ended[ringing]["wasAnswered"] is False


# What a moment is worth trying with.
EVENTS = [
    "dial",
    "ringing",
    "answer",
    "stasis_start",
    "recording_started",
    "recording_finished",
    "stasis_end",
    "destroyed",
]
COMMANDS = [
    "originate",
    "bridge_create",
    "bridge_add",
    "record",
    "bridge_destroy",
]


def at_each(calls, name, moments, digits="08", **details):
    """One call with the fault at each of the moments, one after the other;
    (moment, id, fault) of each."""
    done = []
    for moment in moments:
        calls.kaphila.wait_ready()
        fault = calls.simulator.fault(name, at=moment, **details)
        call_id = calls.place(digits)
        wait_until(
            lambda fault=fault: calls.simulator.fired(fault) == 1,
            lambda moment=moment: f"{name} at {moment}",
            30,
        )
        if call_id is not None:
            calls.wait(call_id, "call.ended", 90)
        done.append((moment, call_id))
    return done


@pytest.mark.parametrize("name", ["cut_events", "half_frame"])
def test_event_link_lost_at(calls, name):
    """The event that it happens to is lost, and made up for: an answered call
    is told of as answered, one that is over has ended. (Where nobody is back
    when the far end answers, Asterisk drops the call.)"""
    done = at_each(calls, name, EVENTS)
    calls.check_health()
    ended = calls.settle()
    for moment, call_id in done:
        assert ended[call_id]["endReason"] in ("normal_hangup", "lost"), moment
        if moment not in ("dial", "ringing", "answer"):
            assert ended[call_id]["status"] == "completed", moment


@pytest.mark.parametrize("name", ["repeat_frame", "out_of_order"])
def test_event_goes_wrong_at(calls, name):
    """Twice, or behind the next one: the call is as any other."""
    done = at_each(calls, name, EVENTS)
    calls.check_health()
    ended = calls.settle()
    for moment, call_id in done:
        end = ended[call_id]
        assert (end["status"], end["endReason"]) == (
            "completed",
            "normal_hangup",
        ), moment


def test_late_ringing(calls):
    """Ringing that is told of after the answer changes nothing."""
    fault = calls.simulator.fault("late_ringing", at="ringing")
    call_id = calls.place("08")
    calls.check_health()
    ended = calls.settle()
    assert calls.simulator.fired(fault) == 1
    assert ended[call_id]["endReason"] == "normal_hangup"
    kinds = calls.sink.kinds(call_id)
    assert "call.ringing" not in kinds[kinds.index("call.answered") :]


HTTP = pytest.mark.simulator(version=16)
LINKS = [pytest.param(22), pytest.param(16, marks=HTTP)]


@pytest.mark.parametrize("version", LINKS)
@pytest.mark.parametrize("when", ["before", "after"])
def test_command_link_cut_at(calls, when, version):
    """Whether the command was carried out or not: it is found out."""
    assert calls.simulator.version == version
    at_each(calls, "cut_commands", [f"{c}.{when}" for c in COMMANDS])
    calls.check_health()
    calls.settle()


@pytest.mark.parametrize("version", LINKS)
@pytest.mark.parametrize(
    "name", ["drop_reply", "drop_request", "delay_replies"]
)
def test_no_reply_to(calls, name, version):
    """A command without a reply, or one that comes late."""
    assert calls.simulator.version == version
    details = {"ms": 500} if name == "delay_replies" else {}
    at_each(calls, name, COMMANDS, **details)
    calls.check_health()
    calls.settle()


CONTROL = ["snoop", "continue", "play", "play_stop"]


@pytest.mark.simulator(play="300", amd_ms="200")
@pytest.mark.parametrize(
    "name",
    ["drop_reply", "drop_request", "cut_commands", "refuse_command"],
)
def test_control_command_lost(calls, name):
    """An answer is told once, with its verdict or none; a sound is heard once
    at the most, and its end is told once."""
    for command in CONTROL:
        calls.kaphila.wait_ready()
        fault = calls.simulator.fault(name, at=command)
        call_id = calls.place("10", useAmd=True)
        calls.wait(call_id, "call.answered", 30)
        for sound in ("silence/1", "hello-world"):
            calls.client.post(
                "/play", json={"callId": call_id, "file": sound}, timeout=30
            )
        calls.client.delete(f"/calls/{call_id}/playback", timeout=30)
        wait_until(
            lambda call_id=call_id: len(
                [
                    event
                    for event in calls.sink.events(call_id)
                    if event["event"].startswith("playback.")
                ]
            )
            == 2,
            lambda call_id=call_id, command=command: f"{name} at {command}: "
            f"{[e['event'] for e in calls.sink.events(call_id)]}",
            40,
        )
        assert calls.simulator.fired(fault) == 1, command
        calls.client.post("/hangup", json={"callId": call_id})
        calls.wait(call_id, "call.ended", 90)
    calls.check_health()
    calls.settle()
    events = [e for i in calls.ids for e in calls.sink.events(i)]
    for rule in (invariants.answer_faults, invariants.play_faults):
        assert not list(rule(events))
    assert calls.simulator.state()["totals"]["played_twice"] == 0


# Nothing leaves on a command connection but what the test has it say.
NO_PINGS = {"asterisk.ping_interval_ms": 9000}


def wait_said(simulator, lane):
    """Until the dead worker's last words are through."""

    def lines():
        """The connections on which such commands are said."""
        return [
            connection["app"]
            for connection in simulator.state()["connections"]
            if f"-{lane}-" in connection["app"]
        ]

    wait_until(lambda: len(lines()) == 1, lambda: f"one of {lines()}", 60)


@pytest.mark.simulator(play="300")
@pytest.mark.parametrize(
    ("late_ms", "told"),
    [
        (2500, "playback.finished"),
        (6000, "playback.finished"),
        # Far longer than anybody waits, however slow the successor comes:
        # never said again, and told to have failed.
        (40000, "playback.failed"),
    ],
)
def test_play_behind_a_late_reply(
    simulator, database, make_kaphila, sink, tmp_path, monkeypatch, late_ms, told
):
    """What a worker that is dead had said is still to be read by Asterisk,
    which is busy with what that had said before: a sound is heard once."""
    monkeypatch.setenv("KAPHILA_CRASH_DIR", str(tmp_path))
    kaphila = make_kaphila(
        simulator, database, {**FAST, "http.workers": 1, **NO_PINGS}
    )
    kaphila.allow_restarts()
    calls = Calls(kaphila, simulator, sink)
    worker = kaphila.pid("worker.0")
    placed = [calls.place("10") for _ in range(2)]
    for call_id in placed:
        calls.wait(call_id, "recording.started")
    late = simulator.fault("delay_replies", at="play", ms=late_ms)
    with ThreadPoolExecutor(2) as pool:
        for n, call_id in enumerate(placed):
            if n == 1:
                wait_until(lambda: simulator.fired(late) == 1, "the fault")
                (tmp_path / "worker.command_bytes_left").touch()
            # their answers are lost
            pool.submit(play, kaphila.api(calls.client.key), call_id)
    kaphila.wait_new_pid("worker.0", worker)
    kaphila.wait_ready()
    calls.wait(placed[0], "playback.finished")
    calls.wait(placed[1], told)
    wait_said(simulator, "control")
    calls.hang_up()
    calls.settle()
    assert simulator.state()["totals"]["played_twice"] == 0
    assert not list(invariants.play_faults(sink.events()))


def first_end(sink):
    """The first call.ended, of a call whose id was never told."""
    return wait_until(
        lambda: [e for e in sink.events() if e["event"] == "call.ended"],
        "the end of a call",
        60,
    )[0]


def test_originate_behind_a_late_reply(
    simulator, database, make_kaphila, sink, tmp_path, monkeypatch
):
    """The same of an originate whose call is over as soon as it is carried
    out, so that Asterisk wouldn't refuse a second one."""
    monkeypatch.setenv("KAPHILA_CRASH_DIR", str(tmp_path))
    kaphila = make_kaphila(
        simulator,
        database,
        {
            **FAST,
            "http.workers": 1,
            "calls.originate_timeout_ms": 9000,
            "asterisk.command_timeout_ms": 9000,
            **NO_PINGS,
        },
    )
    kaphila.allow_restarts()
    calls = Calls(kaphila, simulator, sink)
    worker = kaphila.pid("worker.0")
    late = simulator.fault("delay_replies", at="originate", ms=3000)
    with ThreadPoolExecutor(2) as pool:
        for n, digits in enumerate(["04", "03"]):
            if n == 1:
                wait_until(lambda: simulator.fired(late) == 1, "the fault")
                (tmp_path / "worker.command_bytes_left").touch()
            # their answers are lost
            pool.submit(
                kaphila.api(calls.client.key).post,
                "/makecall",
                json={"number": number(digits), "webhookUrl": sink.url},
            )
    kaphila.wait_new_pid("worker.0", worker)
    kaphila.wait_ready()
    assert first_end(sink)["status"] == "busy"
    wait_said(simulator, "originate")
    calls.hang_up()
    calls.ids += {event["callId"] for event in sink.events()}
    assert len(calls.ids) == 2
    calls.settle()


@pytest.mark.parametrize("fault", ["steal_app", "forget_app"])
def test_originate_while_deaf(
    simulator, database, make_kaphila, sink, tmp_path, monkeypatch, fault
):
    """Asterisk sends the app's events elsewhere without a word, and a worker
    dies behind an originate: its successor finds no channel and heard of none,
    for the call was busy. That it heard of none says nothing now."""
    monkeypatch.setenv("KAPHILA_CRASH_DIR", str(tmp_path))
    kaphila = make_kaphila(
        simulator,
        database,
        {**FAST, "http.workers": 1, **NO_PINGS},
    )
    kaphila.allow_restarts()
    calls = Calls(kaphila, simulator, sink)
    worker = kaphila.pid("worker.0")
    simulator.fault(fault)
    (tmp_path / "worker.command_bytes_left").touch()
    with ThreadPoolExecutor(1) as pool:
        # its answer is lost
        pool.submit(
            kaphila.api(calls.client.key).post,
            "/makecall",
            json={"number": number("03"), "webhookUrl": sink.url},
        )
        kaphila.wait_new_pid("worker.0", worker)
    kaphila.wait_ready()
    assert first_end(sink)["status"] == "failed"
    calls.ids += {event["callId"] for event in sink.events()}
    # All is well again: the link was found to be deaf, and connected anew.
    calls.place("08")
    calls.settle()
    assert simulator.state()["totals"]["rung_twice"] == 0


def test_calls_wait_for_the_events(simulator, database, make_kaphila, sink):
    """The event link is up and gets nothing, which nobody can know while the
    command links are down: no call is made before it was found and mended."""
    kaphila = make_kaphila(
        simulator,
        database,
        {**FAST, "http.workers": 1, "asterisk.ping_interval_ms": 1000},
    )
    calls = Calls(kaphila, simulator, sink)
    simulator.fault("steal_app")
    cut = simulator.fault("cut_commands")
    wait_until(lambda: simulator.fired(cut) > 0, "the fault")
    placed = wait_until(
        lambda: [c for c in [calls.place("08")] if c],
        "a call that is accepted",
        60,
    )
    ended = calls.wait(placed[0], "call.ended")
    assert ended["status"] == "completed", ended
    calls.settle()


def play(client, call_id):
    """/play of a sound."""
    client.post("/play", json={"callId": call_id, "file": "hello-world"})


@pytest.mark.parametrize(
    "name", ["drop_reply", "drop_request", "cut_commands", "a crash"]
)
def test_stop_of_a_recording_lost(calls, name):
    """It is said again, until it is known to be done; told of once."""
    call_id = calls.place("11")
    calls.wait(call_id, "recording.started")
    fault = calls.simulator.fault(
        "drop_request" if name == "a crash" else name, at="record_stop"
    )
    with ThreadPoolExecutor(1) as pool:
        # its answer may be lost as well
        pool.submit(calls.client.post, f"/recordings/{call_id}/stop")
        wait_until(lambda: calls.simulator.fired(fault) == 1, "the fault")
        if name == "a crash":
            for worker in ("worker.0", "worker.1"):
                calls.kaphila.signal(worker)
        calls.wait(call_id, "recording.stopped")
    calls.wait(call_id, "recording.completed")
    calls.kaphila.wait_ready()
    assert calls.client.get(f"/calls/{call_id}").json()["status"] == "answered"
    calls.check_health()
    calls.hang_up()
    calls.settle()
    kinds = calls.sink.kinds(call_id)
    for kind in ("recording.started", "recording.stopped"):
        assert kinds.count(kind) == 1, kinds


@pytest.mark.simulator(amd_ms="200")
@pytest.mark.parametrize(
    ("digits", "status", "cause"),
    [
        ("10", "HUMAN", "HUMAN"),
        ("02", "MACHINE", "LONGGREETING"),
        ("11", "MACHINE", "INITIALSILENCE"),
        ("37", "UNKNOWN", "TOOLONG"),
    ],
)
def test_verdicts(calls, digits, status, cause):
    """What AMD finds, with the answer and behind it."""
    for asynchronous in (False, True):
        call_id = calls.place(digits, useAmd=True, asyncAmd=asynchronous)
        kind = "amd.result" if asynchronous else "call.answered"
        amd = calls.wait(call_id, kind)["amd"]
        assert (amd["status"], amd["cause"]) == (status, cause)
        assert amd["detail"].startswith(cause) and amd["decidedAt"]
        calls.client.post("/hangup", json={"callId": call_id})
    calls.settle()


def test_hangup_after_a_lost_reply(calls):
    """What Asterisk shows of a channel stands for the reply to its originate:
    the call is recorded, and /hangup ends it at once."""
    fault = calls.simulator.fault("drop_reply", at="originate")
    call_id = calls.place("10")
    calls.wait(call_id, "recording.started")
    assert calls.simulator.fired(fault) == 1
    calls.client.post("/hangup", json={"callId": call_id})
    assert calls.wait(call_id, "call.ended", 20)["endReason"] == "api_hangup"
    calls.check_health()
    calls.settle()


def test_command_refused(calls):
    """500 to each command: the call goes on, or ends, and is gone. (A bridge
    that can't be destroyed goes with the next reconcile.)"""
    at_each(calls, "refuse_command", COMMANDS)
    calls.simulator.fault("cut_events")
    calls.check_health()
    calls.settle()


@pytest.mark.parametrize("version", LINKS)
@pytest.mark.parametrize("when", ["before", "after"])
def test_restart_at_command(calls, when, version):
    """A restart in the middle of each command: once ended, never rung again."""
    assert calls.simulator.version == version
    calls.kaphila.allow_errors("recording")
    at_each(calls, "restart", [f"{c}.{when}" for c in COMMANDS])
    calls.check_health()
    calls.settle()


def test_restart_at_event(calls):
    """…and at each event."""
    calls.kaphila.allow_errors("recording")
    done = at_each(calls, "restart", EVENTS)
    calls.check_health()
    ended = calls.settle()
    for moment, call_id in done:
        if moment in ("answer", "stasis_start", "recording_started"):
            assert ended[call_id]["endReason"] == "media_server_lost", moment


def test_freeze_at(calls):
    """Frozen for longer than its links hold, at commands and events."""
    moments = ["originate.before", "originate.after", "record.before", "answer"]
    at_each(calls, "freeze", moments, seconds=4)
    calls.check_health()
    calls.settle()


def test_recording_whose_end_is_not_told(calls):
    """The event is lost: the recording is handed over all the same."""
    fault = calls.simulator.fault("lose_event", at="recording_finished")
    call_id = calls.place("08")
    calls.wait(call_id, "call.ended")
    assert calls.simulator.fired(fault) == 1
    calls.wait(call_id, "recording.completed", 120)
    calls.settle()


def test_others_are_left_alone(calls):
    """Channels and bridges of nobody, of another node, without our mark: each
    reconcile leaves them; our own strays it removes."""
    other = calls.simulator.ari()
    node = calls.kaphila.settings["node.id"]
    now = int(time.time())
    kept = {}
    for channel, mark in (
        ("somebody-1", node),
        (f"{now}.99001{node:03d}", None),
        (f"{now}.99002{node:03d}", node + 1),
    ):
        body = {"variables": {"KAPHILA_NODE": str(mark)}} if mark else {}
        response = requests.post(
            f"{calls.simulator.url}/ari/channels",
            params={
                "endpoint": "PJSIP/0015550104@carrier",
                "app": "other",
                "channelId": channel,
                "timeout": 120,
            },
            json=body,
            auth=(calls.simulator.user, calls.simulator.password),
            timeout=10,
        )
        assert response.status_code == 200, response.text
        kept[channel] = mark
    other.request("POST", "bridges/bridge-1.5", type="mixing", name="other")
    calls.simulator.fault("cut_events")
    calls.kaphila.wait_log("reconciled with asterisk.*channels=[1-9]")
    calls.check_health()
    left = {channel["id"] for channel in calls.simulator.state()["channels"]}
    assert left == set(kept)
    assert [b["id"] for b in calls.simulator.state()["bridges"]] == [
        "bridge-1.5"
    ]
    other.hang_up_all()
    other.close()
    calls.settle()


# --- the programs themselves ---


def test_raw_faults(simulator):
    """What a fault does to the bytes, seen without kaphila."""
    client = simulator.ari()
    client.listen("raw")
    for name in ("unknown_event", "replace_app"):
        simulator.fault(name, app="raw")
    wait_until(lambda: len(client.events) == 2, "both")
    assert client.events[0]["type"] == "NeverHeardOf"
    assert client.events[1]["type"] == "ApplicationReplaced"
    client.close()

    link = websocket.create_connection(
        simulator.url.replace("http", "ws", 1)
        + f"/ari/events?app=raw&api_key={simulator.user}:{simulator.password}",
        timeout=10,
        suppress_origin=True,
    )
    simulator.fault("huge_event", app="raw", bytes=70000)
    assert len(link.recv()) == 70000
    simulator.fault("half_frame", at="dial", app="raw")
    other = simulator.ari()
    other.request(
        "POST", "channels", endpoint="PJSIP/0015550103@carrier", app="raw"
    )
    with pytest.raises(
        (websocket.WebSocketException, ConnectionError, OSError)
    ):
        link.recv()
    link.close()
    other.close()
    assert [f["fired"] for f in simulator.faults()] == [1, 1, 1, 1]


def test_snoops_that_are_refused(simulator):
    """Of a snoop channel, and by an id that is longer than any: neither is
    there, and all goes on."""
    client = simulator.ari()
    client.listen("test")
    channel = originate(client, "10", channel="far").json()["id"]
    client.wait_event(channel, "StasisStart")
    first = client.request(
        "POST", "channels/far/snoop/near", spy="in", app="test"
    )
    assert first.status_code == 200, first.text
    for path in ("channels/near/snoop/nearer", f"channels/far/snoop/{'x' * 96}"):
        refused = client.request("POST", path, spy="in", app="test")
        assert refused.status_code == 500, refused.text
        assert refused.json()["message"] == "Snoop channel could not be created"
    assert {c["id"] for c in client.get("channels")} == {"far", "near"}
    client.close()


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"fault": "nothing"},
        {"fault": "cut_events", "at": "tea time"},
        {"fault": "half_frame", "at": "originate.before"},
        {"fault": "drop_reply", "at": "answer"},
        {"fault": "cut_events", "count": 0},
        {"fault": "cut_events", "app": 7},
    ],
)
def test_bad_fault(simulator, spec):
    """Refused, with a reason."""
    response = requests.post(
        f"http://127.0.0.1:{simulator.control_port}/fault",
        json=spec,
        timeout=10,
    )
    assert response.status_code == 400
    assert response.json()["error"]
    assert simulator.faults() == []


@pytest.mark.parametrize("program", [ARI_SIM, EVENT_SINK])
def test_options(program):
    """--help, and what is not understood."""
    done = subprocess.run(
        [program, "--help"],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 0 and "usage:" in done.stdout and not done.stderr
    for bad in ([], ["--listen", "0.0.0.0:80"], ["--nothing"], ["word"]):
        done = subprocess.run(
            [program, *bad],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert done.returncode == 2 and done.stderr and not done.stdout


def test_event_sink(ports, tmp_path):
    """Each accepted event is a line with its time; refusals are not."""
    sink = EventSink(ports, tmp_path / "sink" / "events.txt")
    sink.start()
    for n in range(20):
        query = "?fail-percent=100&status=503" if n % 4 == 0 else ""
        response = requests.post(
            sink.url + query, data=f'{{"n":\n{n}}}'.encode(), timeout=10
        )
        assert response.status_code == (503 if query else 200)
    assert requests.post(
        sink.url + "?delay-ms=50", data=b'{"n":99}', timeout=10
    ).ok
    timed = sink.timed_events()
    assert [event["n"] for _, event in timed] == [
        n for n in range(20) if n % 4
    ] + [99]
    assert [at for at, _ in timed] == sorted(at for at, _ in timed)
    assert sink.count()["accepted"] == 16 and sink.count()["refused"] == 5
    assert sink.close()["accepted"] == 16
    assert len(sink.events()) == 16

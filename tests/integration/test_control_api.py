"""POST /voice, /play and /gather, DELETE /calls/:callId/playback, as a client
sees them: answers to the letter, refusals, and the order of the checks. What
is heard, and what the webhooks tell, is test_voice.py's, test_play.py's and
test_gather.py's."""

import json
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness.talk import Talk
from harness.waiting import wait_until
from test_api import HEADER_TEXT, KEY_TEXT, NOBODYS_CALL, allow, refused
from test_bad_input import Wire, answers, receive, reset_when_closed
from test_calls import number

CONTROL = ["/voice", "/play", "/gather"]
TEXT = "Hello, this is a reminder call. Please call us back at your leisure."
STAMP = r"\d{13}"
LONG = "demo-instruct"  # 73 s

# What each path needs besides callId.
GOOD = {
    "/voice": {"text": "hello"},
    "/play": {"file": "hello-world"},
    "/gather": {"text": "hello"},
}


def body_of(path, call_id, **fields):
    """A body of that path which is right, but for `fields`."""
    return {"callId": call_id, **GOOD[path], **fields}


def missing(name):
    """The arguments of refused() for a field that is not there."""
    return 400, "MISSING_PARAMETER", f"Missing required parameter: {name}"


def test_answers(talk):
    """Fields and texts are the reference's."""
    call = talk.answered("10")
    stamped = re.escape(call.id) + "-" + STAMP

    voice = call.voice(TEXT)
    assert re.fullmatch(f"tts-{stamped}", voice.pop("playbackId"))
    assert voice == {
        "success": True,
        "message": "TTS played successfully",
        "text": TEXT[:50] + "...",
        "method": "bridge",
    }
    assert call.voice(TEXT[:50])["text"] == TEXT[:50]

    play = call.play("hello-world", playTo="channel")
    assert re.fullmatch(f"play-{stamped}", play.pop("playbackId"))
    assert play == {
        "success": True,
        "message": "Audio file played: hello-world",
        "file": "hello-world",
        "method": "channel",
    }

    gather = call.gather(text=TEXT, numDigits="4", timeout=12000)
    assert re.fullmatch(f"gather-{stamped}", gather.pop("playbackId"))
    assert gather.pop("method") == "bridge"
    assert gather == {
        "success": True,
        "message": "Gathering 4 digits with 12000ms timeout",
        "callId": call.id,
        "expectedDigits": 4,
        "timeoutMs": 12000,
    }
    gather = call.gather(file="hello-world")
    assert (gather["expectedDigits"], gather["timeoutMs"]) == (1, 10000)

    stopped = call.stop_playback()
    assert stopped.pop("stopped") >= 1
    assert stopped == {
        "success": True,
        "message": "Playback stopped",
        "callId": call.id,
    }


def test_stamps_never_meet(talk):
    """Plays asked for at the same moment have ids of their own."""
    call = talk.answered("10")
    ids = [call.play("beep")["playbackId"] for _ in range(10)]
    assert len(set(ids)) == 10


def test_any_worker(talk):
    """Whichever worker takes the request: replies and events of a playback
    may be read by two of them."""
    call = talk.answered("10")
    for _ in range(12):
        client = talk.kaphila.api(talk.key)
        response = client.play(call.id, "beep")
        assert response.status_code == 200, response.text


@pytest.mark.parametrize("path", CONTROL)
def test_order_of_checks(kaphila, sink, path):
    """401, 429, 413, 415, 400, 404, 409: each is told before what follows."""
    client = kaphila.client(rate_limit=6)
    call_id = client.make_call(number("04"), webhookUrl=sink.url)
    other = kaphila.client()

    refused(kaphila.api().post(path), 401, "UNAUTHORIZED", HEADER_TEXT)
    refused(kaphila.api("ak_x").post(path), 401, "UNAUTHORIZED", KEY_TEXT)
    refused(client.post(path, data=b"x" * 70000), 413, "BODY_TOO_LARGE")
    refused(
        client.post(path, data="a=b", headers={"Content-Type": "text/plain"}),
        415,
        "UNSUPPORTED_MEDIA_TYPE",
    )
    refused(client.post(path, data="{"), 400, "INVALID_JSON")
    # a call that is there, but not answered
    refused(
        client.post(path, json=body_of(path, call_id)), 409, "CALL_NOT_ANSWERED"
    )
    response = client.post(path, json=body_of(path, NOBODYS_CALL))
    refused(response, 404, "CALL_NOT_FOUND", "Call not found")
    assert response.headers["X-RateLimit-Remaining"] == "0"
    # nothing is left now: whatever the body is
    refused(client.post(path, data="{"), 429, "RATE_LIMIT_EXCEEDED")

    # another key's call is none
    refused(
        other.post(path, json=body_of(path, call_id)), 404, "CALL_NOT_FOUND"
    )
    for odd in ("x", "1720012345.", "../calls", "1" * 60):
        refused(
            other.post(path, json=body_of(path, odd)), 404, "CALL_NOT_FOUND"
        )
    refused(other.post(path), *missing("callId"))
    refused(
        other.post(path, json=body_of(path, call_id, playTo="both")),
        400,
        "INVALID_PARAMETER",
    )
    assert allow(other.get(path)) == {"POST", "OPTIONS"}


def test_stop_refusals(kaphila, sink):
    """DELETE …/playback: 401, 404, 409, and Allow."""
    client = kaphila.client()
    call_id = client.make_call(number("04"), webhookUrl=sink.url)
    path = f"/calls/{call_id}/playback"

    refused(kaphila.api().delete(path), 401, "UNAUTHORIZED", HEADER_TEXT)
    refused(client.stop_playback(NOBODYS_CALL), 404, "CALL_NOT_FOUND")
    refused(client.stop_playback("x"), 404, "CALL_NOT_FOUND")
    refused(kaphila.client().stop_playback(call_id), 404, "CALL_NOT_FOUND")
    refused(client.stop_playback(call_id), 409, "CALL_NOT_ANSWERED")
    refused(client.get(path), 405, "METHOD_NOT_ALLOWED")
    assert allow(client.get(path)) == {"DELETE", "OPTIONS"}
    client.hangup(call_id)
    sink.wait(call_id, "call.ended")
    refused(client.stop_playback(call_id), 404, "CALL_NOT_FOUND")


BAD = [
    ("/voice", {"text": ""}, *missing("text")),
    ("/voice", {"text": " \n\t "}, *missing("text")),
    ("/voice", {"text": None}, *missing("text")),
    ("/voice", {"text": "x" * 10000}, 400, "INVALID_PARAMETER", None),
    ("/voice", {"text": 17}, 400, "INVALID_PARAMETER", None),
    ("/voice", {"text": "x\0y"}, 400, "INVALID_JSON", None),
    ("/play", {"file": ""}, *missing("file")),
    ("/play", {"file": "../../etc/passwd"}, 400, "INVALID_PARAMETER", None),
    ("/play", {"file": "/etc/passwd"}, 400, "INVALID_PARAMETER", None),
    ("/play", {"file": "http://127.0.0.1/x"}, 400, "INVALID_PARAMETER", None),
    ("/play", {"file": "recording:x"}, 400, "INVALID_PARAMETER", None),
    ("/play", {"file": "hello-world.wav"}, 400, "INVALID_PARAMETER", None),
    ("/play", {"file": "no/such"}, 404, "SOUND_NOT_FOUND", "Sound not found"),
    (
        "/gather",
        {"file": "no/such", "text": None},
        404,
        "SOUND_NOT_FOUND",
        None,
    ),
    ("/gather", {"text": ""}, *missing("text")),
    ("/gather", {"numDigits": 0}, 400, "INVALID_PARAMETER", None),
    ("/gather", {"numDigits": 1e9}, 400, "INVALID_PARAMETER", None),
    ("/gather", {"numDigits": -3}, 400, "INVALID_PARAMETER", None),
    ("/gather", {"timeout": -1}, 400, "INVALID_PARAMETER", None),
    ("/gather", {"timeout": 1e12}, 400, "INVALID_PARAMETER", None),
    ("/gather", {"finishOnKey": "E"}, 400, "INVALID_PARAMETER", None),
    ("/gather", {"bargeIn": "no"}, 400, "INVALID_PARAMETER", None),
]


def test_bad_bodies(talk):
    """What is wrong is refused, named, and changes nothing."""
    call = talk.answered("10")
    call.wait("recording.started")
    before = call.story()
    for path, fields, status, code, text in BAD:
        response = talk.client.post(path, json=body_of(path, call.id, **fields))
        error = refused(response, status, code, text)["error"]
        if code == "INVALID_PARAMETER":
            assert next(iter(fields)) in error, (path, fields, error)
    assert call.story() == before


def test_odd_texts(talk):
    """Other alphabets, markup and control characters are only text."""
    call = talk.answered("10")
    for text, shown in [
        ("你好，世界", "你好，世界"),
        ("مرحبا بالعالم", "مرحبا بالعالم"),
        ("<speak><break time='3s'", "<speak><break time='3s'"),
        ("  one\ntwo\t$(id) `id` ; id", "one two $(id) `id` ; id"),
        ("-f /etc/passwd", "-f /etc/passwd"),
    ]:
        assert call.voice(text)["text"] == shown
    long = "文" * 51
    assert call.voice(long, interrupt=True)["text"] == "文" * 50 + "..."


def test_queue_full(talk):
    """32 playbacks of a call at once, and no more."""
    call = talk.answered("10")
    for _ in range(32):
        call.play(LONG)
    refused(talk.client.play(call.id, LONG), 409, "PLAYBACK_QUEUE_FULL")
    refused(
        talk.client.gather(call.id, file=LONG), 409, "PLAYBACK_QUEUE_FULL"
    )
    # what clears the queue first is not too many
    call.play("hello-world", interrupt=True)
    done = call.wait("playback.finished", stopped=False)
    assert done["file"] == "hello-world"
    assert len(call.events("playback.finished")) == 33
    for _ in range(32):
        call.play(LONG)
    assert call.stop_playback()["stopped"] == 32
    wait_until(
        lambda: talk.client.play(call.id, "beep").status_code == 200,
        "room for another playback",
    )


def test_ended_call(talk):
    """A call that is over has nothing played."""
    call = talk.answered("10")
    call.hang_up()
    for path in CONTROL:
        response = talk.client.post(path, json=body_of(path, call.id))
        refused(response, 404, "CALL_NOT_FOUND", "Call not found")


def test_hidden_sounds(asterisk, database, make_kaphila, sink):
    """Where no folder of sounds can be seen, Asterisk tells afterwards."""
    kaphila = make_kaphila(
        asterisk.media, database, {"asterisk.sounds_dirs": "/nowhere/at/all"}
    )
    client = kaphila.client()
    call_id = client.make_call(number("10"), webhookUrl=sink.url)
    sink.wait(call_id, "call.answered")
    playback = client.play(call_id, "no/such").json()["playbackId"]
    failed = sink.wait(call_id, "playback.failed")
    assert failed["playbackId"] == playback
    assert client.gather(call_id, file="no/menu").status_code == 200
    failed = sink.wait_count("playback.failed", 2)[1]
    assert (failed["file"], "text" in failed) == ("no/menu", False)
    client.hangup(call_id)
    sink.wait(call_id, "call.ended")


def test_far_end_just_gone(simulator, database, make_kaphila, sink):
    """Asterisk has no such channel any more, and kaphila hasn't heard of it
    yet: the call is gone. A bridge that is missing, or any other refusal, says
    nothing of the call."""
    kaphila = make_kaphila(simulator, database, {"asterisk.sounds_dirs": ""})
    client = kaphila.client()
    call_id = client.make_call(number("10"), webhookUrl=sink.url)
    sink.wait(call_id, "call.answered")
    for target, status, expect in (
        ("channel", 404, (404, "CALL_NOT_FOUND")),
        ("channel", 500, (503, "TELEPHONY_UNAVAILABLE")),
        ("bridge", 404, (503, "TELEPHONY_UNAVAILABLE")),
    ):
        simulator.fault("refuse_command", at="play", status=status)
        refused(client.play(call_id, "beep", playTo=target), *expect)
    client.hangup(call_id)
    sink.wait(call_id, "call.ended")


class SlowVoice:
    """A speech engine that waits until it is let go."""

    SCRIPT = """#!/bin/sh
touch {folder}/asked
while [ ! -e {folder}/go ]; do sleep 0.05; done
exec espeak-ng "$@"
"""

    def __init__(self, folder):
        folder.mkdir()
        self.folder, self.program = folder, folder / "speak"
        self.program.write_text(self.SCRIPT.format(folder=folder))
        self.program.chmod(0o755)

    def wait_asked(self):
        """Until a text is being spoken."""
        wait_until((self.folder / "asked").exists, "speech to be made", 30)

    def let_go(self):
        """It speaks, now and from now on."""
        (self.folder / "go").touch()


@pytest.fixture
def slow_talk(asterisk, database, make_kaphila, sink, tmp_path):
    """talk, with a speech engine that waits: slow_talk.voice."""
    voice = SlowVoice(tmp_path / "slow")
    kaphila = make_kaphila(
        asterisk.media, database, {"speech.espeak_program": voice.program}
    )
    calls = Talk(kaphila, sink, asterisk)
    calls.voice = voice
    yield calls
    calls.settle()


def test_client_leaves(slow_talk):
    """Nothing is played for a client whose connection broke while its speech
    was made."""
    call = slow_talk.answered("10")
    body = {"callId": call.id, "text": "for nobody"}
    wire = Wire(slow_talk.kaphila, slow_talk.key)
    with wire.connect() as client:
        client.sendall(wire.request("/voice", body))
        slow_talk.voice.wait_asked()
        reset_when_closed(client)
    slow_talk.voice.let_go()
    slow_talk.kaphila.wait_log(r"path=/voice status=204")
    call.voice("for somebody")
    call.wait("tts.played")
    call.hang_up()
    assert [e["text"] for e in call.events("tts.played")] == ["for somebody"]


def test_half_closed_client(slow_talk):
    """A client that shuts its sending side and reads on is served: its speech
    is played, and it gets its answer."""
    call = slow_talk.answered("10")
    body = {"callId": call.id, "text": "for you"}
    wire = Wire(slow_talk.kaphila, slow_talk.key)
    with wire.connect() as client:
        client.sendall(wire.request("/voice", body))
        client.shutdown(socket.SHUT_WR)
        slow_talk.voice.wait_asked()
        slow_talk.voice.let_go()
        ((status, _, answer),) = answers(receive(client))
    assert (status, json.loads(answer)["text"]) == (200, "for you")
    call.wait("tts.played", text="for you")
    call.hang_up()


def test_call_ends_meanwhile(slow_talk):
    """A call that is over when its speech is made: 404, and nothing of it."""
    call = slow_talk.answered("10")
    with ThreadPoolExecutor(3) as pool:
        asked = [
            pool.submit(
                lambda: slow_talk.kaphila.api(slow_talk.key).voice(
                    call.id, "too late"
                )
            )
            for _ in range(3)
        ]
        slow_talk.voice.wait_asked()
        call.hang_up()
        slow_talk.voice.let_go()
        for future in asked:
            refused(future.result(), 404, "CALL_NOT_FOUND", "Call not found")
    assert not call.events("tts.played", "playback.finished")


def test_stop_under_way(slow_talk):
    """Whoever waits for speech is answered when the node is stopped."""
    kaphila = slow_talk.kaphila
    call = slow_talk.answered("10")
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(
            lambda: kaphila.api(slow_talk.key).voice(call.id, "wait for me")
        )
        slow_talk.voice.wait_asked()
        threading.Thread(target=kaphila.stop, daemon=True).start()
        kaphila.wait_log("drain")
        slow_talk.voice.let_go()
        response = asked.result()
    assert response.status_code in (200, 503), response.text
    wait_until(lambda: not kaphila.running, "the master to end", 60)
    kaphila.start()


def test_no_reply(own_asterisk, database, make_kaphila, sink):
    """An Asterisk that says nothing: 503 with the playback's id, in time; when
    it goes on, it is heard once."""
    kaphila = make_kaphila(
        own_asterisk.media, database, {"asterisk.command_timeout_ms": 1000}
    )
    client = kaphila.client()
    call_id = client.make_call(number("10"), webhookUrl=sink.url)
    sink.wait(call_id, "recording.started")
    own_asterisk.media.freeze()
    body = refused(
        client.play(call_id, "hello-world"), 503, "TELEPHONY_TIMEOUT"
    )
    own_asterisk.media.thaw()
    assert body["callId"] == call_id
    assert body["playbackId"].startswith(f"play-{call_id}-")
    sink.wait(call_id, "playback.finished", timeout_s=60)
    client.hangup(call_id)
    sink.wait(call_id, "call.ended", timeout_s=60)
    finished = sink.events(call_id, "playback.finished")
    assert [e["playbackId"] for e in finished] == [body["playbackId"]]


def test_telephony_away(own_asterisk, database, make_kaphila, sink):
    """Without a link nothing is asked of Asterisk: 503 at once."""
    kaphila = make_kaphila(own_asterisk.media, database)
    client = kaphila.client()
    call_id = client.make_call(number("10"), webhookUrl=sink.url)
    sink.wait(call_id, "call.answered")
    own_asterisk.media.kill()
    wait_until(
        lambda: kaphila.api().get("/ready").status_code == 503,
        "the links to be down",
    )
    response = client.play(call_id, "hello-world")
    assert response.status_code in (404, 503)
    if response.status_code == 503:
        refused(response, 503, "TELEPHONY_UNAVAILABLE")
    own_asterisk.media.start()
    sink.wait(call_id, "call.ended", timeout_s=60)

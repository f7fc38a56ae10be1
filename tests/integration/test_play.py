"""POST /play, the queue, `interrupt` and DELETE /calls/:callId/playback on a
real Asterisk: told by events in their order, and heard at the far end."""

import os
import re

import pytest
from harness import audio

LONG = "demo-instruct"  # 73 s
SHORT = "hello-world"  # 1.4 s
OTHER = "vm-nobodyavail"  # 2.8 s


@pytest.mark.parametrize("target", ["bridge", "channel"])
def test_sound_is_heard(talk, target):
    """A sound, whole, and where it was wanted."""
    call = talk.answered("12")

    answer = call.play(OTHER, playTo=target)

    assert answer["message"] == f"Audio file played: {OTHER}"
    assert (answer["file"], answer["method"]) == (OTHER, target)
    assert re.fullmatch(rf"play-{call.id}-\d{{13}}", answer["playbackId"])
    finished = call.wait("playback.finished")
    assert finished["playbackId"] == answer["playbackId"]
    assert finished["method"] == target
    assert finished["stopped"] is False
    assert not call.events("tts.played")
    call.hang_up()
    match = audio.find(talk.sound(OTHER), call.heard())
    assert match.likeness > audio.ALIKE, match
    assert match.energy_ratio == pytest.approx(1, abs=0.15)


def test_a_sound_in_a_folder(talk):
    """`file` may name a folder of the sounds'."""
    call = talk.answered("12")
    call.play("digits/7")
    call.wait("playback.finished", stopped=False)
    call.hang_up()
    assert (
        audio.find(talk.sound("digits/7"), call.heard()).likeness > audio.ALIKE
    )


def test_missing_sound(talk):
    """404 before anything plays, and no event."""
    call = talk.answered("10")

    response = talk.client.play(call.id, "custom/no-such-sound")

    assert response.status_code == 404, response.text
    assert response.json()["code"] == "SOUND_NOT_FOUND"
    response = talk.client.gather(call.id, file="custom/no-such-sound")
    assert response.status_code == 404, response.text
    assert response.json()["code"] == "SOUND_NOT_FOUND"
    kinds = {event["event"] for event in call.hang_up()}
    assert not kinds & {
        "playback.failed",
        "playback.finished",
        "gather.started",
    }


@pytest.mark.parametrize(
    "file",
    [
        "../../etc/passwd",
        "/etc/passwd",
        "http://127.0.0.1/x",
        "recording:x",
        "a b",
        "",
        "custom/../beep",
    ],
)
def test_names_that_are_none(talk, file):
    """What could leave the sounds' folders is a 400."""
    call = talk.answered("10")
    response = talk.client.play(call.id, file)
    assert response.status_code == 400, response.text
    assert talk.client.play(call.id, "beep").status_code == 200


def test_a_sound_that_goes_before_it_is_played(talk):
    """Seen when it was asked for, and not there for Asterisk any more:
    playback.failed with its id, and the queue goes on."""
    # The sounds are all test processes'.
    name = f"kaphila-test-gone-{os.getpid()}"
    path = talk.pair.media.sounds_dir / f"{name}.wav"
    call = talk.answered("10")
    first = call.play(OTHER)["playbackId"]
    path.write_bytes((talk.pair.media.sounds_dir / "beep.wav").read_bytes())
    try:
        gone = call.play(name)["playbackId"]
    finally:
        path.unlink()
    last = call.play(SHORT)["playbackId"]

    call.wait("playback.finished", playbackId=last, stopped=False)

    ends = call.events("playback.finished", "playback.failed")
    assert [(e["playbackId"], e["event"]) for e in ends] == [
        (first, "playback.finished"),
        (gone, "playback.failed"),
        (last, "playback.finished"),
    ]


def test_interrupt(talk):
    """What plays and what is queued is stopped; the new one is heard."""
    call = talk.answered("12")
    first = call.play(LONG)["playbackId"]
    queued = call.play(LONG)["playbackId"]

    last = call.play(SHORT, interrupt=True)["playbackId"]

    call.wait("playback.finished", playbackId=last, stopped=False)
    ends = {
        event["playbackId"]: event["stopped"]
        for event in call.events("playback.finished")
    }
    assert ends == {first: True, queued: True, last: False}
    call.hang_up()
    heard = call.heard()
    assert audio.length_s(heard) < 60  # of 147 s
    assert audio.find(talk.sound(SHORT), heard).likeness > audio.ALIKE


def test_interrupt_by_speech(talk):
    """/voice can interrupt as well."""
    call = talk.answered("12")
    first = call.play(LONG)["playbackId"]
    last = call.voice("Stop that now, please.", interrupt=True)["playbackId"]
    call.wait("playback.finished", playbackId=last, stopped=False)
    assert call.wait("playback.finished", playbackId=first)["stopped"] is True


def test_playback_is_stopped(talk):
    """DELETE stops all that plays and waits; a later one is heard."""
    call = talk.answered("12")
    plays = [call.play(LONG)["playbackId"] for _ in range(3)]

    call.stop_playback()

    for play in plays:
        call.wait("playback.finished", playbackId=play, stopped=True)
    call.stop_playback()  # with nothing to stop
    later = call.play(SHORT)["playbackId"]
    call.wait("playback.finished", playbackId=later, stopped=False)
    assert len(call.events("playback.finished")) == 4
    call.hang_up()
    assert audio.find(talk.sound(SHORT), call.heard()).likeness > audio.ALIKE


def test_stop_is_for_live_calls_of_the_key(talk):
    """Of an ended call, or of another key's: 404."""
    call = talk.answered("10")
    stranger = talk.kaphila.client(name="stranger")
    response = stranger.stop_playback(call.id)
    assert response.status_code == 404, response.text
    call.hang_up()
    response = talk.client.stop_playback(call.id)
    assert response.status_code == 404, response.text
    assert response.json()["code"] == "CALL_NOT_FOUND"


def test_the_queue_is_bounded(talk):
    """32 of a call, then 409; once they are stopped there is room again."""
    call = talk.answered("10")
    for _ in range(32):
        call.play(LONG)

    response = talk.client.play(call.id, LONG)

    assert response.status_code == 409, response.text
    assert response.json()["code"] == "PLAYBACK_QUEUE_FULL"
    call.stop_playback()
    call.wait("playback.finished", count=32, timeout_s=60)
    call.play(SHORT)
    call.wait("playback.finished", stopped=False)


def test_stop_does_not_end_a_gather(talk):
    """The prompt is over when it is stopped; the time runs from there."""
    call = talk.answered("11")
    call.gather(file=LONG, timeout=1000, numDigits=2)
    call.stop_playback()
    ended = call.wait("gather.timeout")
    assert (ended["digits"], ended["reason"]) == ("", "timeout")


def test_both_targets_at_once(talk):
    """A channel's own sound plays beside the bridge's, not behind it."""
    call = talk.answered("12")
    bridge = call.play(LONG)["playbackId"]
    channel = call.play(SHORT, playTo="channel")["playbackId"]
    call.wait("playback.finished", playbackId=channel, stopped=False)
    assert not [
        e for e in call.events("playback.finished") if e["playbackId"] == bridge
    ]
    call.stop_playback()
    call.wait("playback.finished", playbackId=bridge, stopped=True)

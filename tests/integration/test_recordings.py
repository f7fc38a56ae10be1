"""POST /recordings/:callId/stop on a real Asterisk: the recording ends, the
call goes on, and each of its events comes once and in order."""

import wave

import pytest
from harness.waiting import wait_until

LIFE = ["recording.started", "recording.stopped", "recording.completed"]


def stop(talk, call_id, client=None):
    """The raw answer."""
    return (client or talk.client).post(f"/recordings/{call_id}/stop")


def recording_events(call):
    """Those of its recording."""
    return [event["event"] for event in call.events(*LIFE)]


def check_none(response):
    """There is none to stop, whatever the reason."""
    assert response.status_code == 404, response.text
    assert response.json() == {
        "success": False,
        "error": "No active recording found",
        "code": "RECORDING_NOT_FOUND",
    }


def test_a_recording_is_stopped(talk):
    """What was said until then is in the file, and the call lives on."""
    call = talk.answered("01")
    started = call.wait("recording.started")
    call.play("hello-world")
    call.wait("playback.finished")

    response = stop(talk, call.id)

    assert response.status_code == 200, response.text
    assert response.json() == {
        "success": True,
        "message": "Recording stopped successfully",
        "filename": started["filename"],
        "recordingId": started["recordingId"],
    }
    check_none(stop(talk, call.id))
    done = call.wait("recording.completed")
    stopped = call.wait("recording.stopped")
    for event in (stopped, done):
        assert event["status"] == "answered"
        assert event["method"] == "bridge"
        assert event["filename"] == started["filename"]
        assert event["recordingId"] == started["recordingId"]
    shown = talk.client.get(f"/calls/{call.id}").json()
    assert shown["status"] == "answered"
    assert shown["recording"]["active"] is False
    files = list(talk.kaphila.recordings_dir.rglob(done["filename"]))
    assert len(files) == 1 and files[0].stat().st_size == done["size"]
    with wave.open(str(files[0])) as wav:
        assert wav.getnframes() > 1.2 * 8000  # hello-world is 1.4 s
    # behind the file's end the call can still be heard
    call.play("hello-world")
    call.wait("playback.finished", count=2)
    check_none(stop(talk, call.id))
    call.hang_up()
    assert recording_events(call) == LIFE
    assert files[0].stat().st_size == done["size"]
    check_none(stop(talk, call.id))


@pytest.mark.parametrize("digits", ["10", "01"])
def test_stopped_before_it_has_begun(talk, digits):
    """Asked for as soon as it is answered, it begins and ends: Asterisk takes
    a stop of one that is still queued, and records all the same."""
    call = talk.place(digits)
    answer = wait_until(
        lambda: (a := stop(talk, call.id)).status_code == 200 and a,
        "a recording to stop",
    )

    completed = call.wait("recording.completed")

    assert answer.json()["filename"] == completed["filename"]
    assert call.wait("recording.stopped")["status"] == "answered"
    call.hang_up()
    assert recording_events(call) == LIFE


def test_stopped_and_hung_up(talk):
    """The end of the call right behind it: each event comes all the same."""
    call = talk.answered("01")
    call.wait("recording.started")

    assert stop(talk, call.id).status_code == 200

    call.hang_up()
    assert recording_events(call) == LIFE


def test_none_to_stop(talk):
    """404, the same one, whatever is missing."""
    ringing = talk.place("04")
    silent = talk.answered("01", record=False)
    other = talk.answered("01")
    other.wait("recording.started")
    stranger = talk.kaphila.client()

    check_none(stop(talk, ringing.id))
    check_none(stop(talk, silent.id))
    check_none(stop(talk, other.id, stranger))
    check_none(stop(talk, "1720012345.99999"))
    check_none(stop(talk, "nonsense"))
    assert talk.client.get(f"/recordings/{other.id}/stop").status_code == 405
    assert not other.events("recording.stopped")

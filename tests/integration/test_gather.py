"""POST /gather in all its variants on a real Asterisk, with callees that press
keys: exactly one end for each start, with the right digits, whatever is
killed meanwhile. That the events of each gather are in order and its digits
those that were told one by one is checked for every call at its end."""

from datetime import datetime

import pytest
from harness import audio
from test_processes import slot_of

LONG = "demo-instruct"  # 73 s
SHORT = "beep"  # 0.4 s
MIDDLE, MIDDLE_S = "vm-intro", 5.6


def at(event):
    """When it happened, in seconds since the epoch."""
    text = event["timestamp"].replace("Z", "+00:00")
    return datetime.fromisoformat(text).timestamp()


def kinds(events):
    """dtmf.received and gather.* of a call, the names alone."""
    return [
        event["event"]
        for event in events
        if event["event"].startswith(("dtmf.", "gather."))
    ]


PRESSED = ["dtmf.received", "gather.progress"]


def test_exact_digits(talk):
    """07 sends 1234: all four, every event with its fields, in order."""
    call = talk.answered("07")

    answer = call.gather(text="Enter your pin.", numDigits=4, timeout=12000)

    assert answer["message"] == "Gathering 4 digits with 12000ms timeout"
    assert answer["callId"] == call.id
    assert (answer["expectedDigits"], answer["timeoutMs"]) == (4, 12000)
    done = call.wait("gather.complete")
    assert (done["digits"], done["method"]) == ("1234", "digits_complete")
    events = call.hang_up()
    assert kinds(events) == [
        "gather.started",
        *PRESSED * 4,
        "gather.complete",
    ]
    started = call.wait("gather.started")
    assert started["prompt"] == "Enter your pin."
    assert (started["expectedDigits"], started["timeoutMs"]) == (4, 12000)
    pressed = call.events("dtmf.received")
    assert [event["digit"] for event in pressed] == list("1234")
    assert all(event["durationMs"] > 0 for event in pressed)
    assert [
        (event["digit"], event["collected"], event["remaining"])
        for event in call.events("gather.progress")
    ] == [("1", "1", 3), ("2", "12", 2), ("3", "123", 1), ("4", "1234", 0)]
    # A prompt is no playback of the customer's.
    assert not call.events("playback.finished", "tts.played")


def test_defaults(talk):
    """One digit in 10 s; what is pressed behind it is told, and no more."""
    call = talk.answered("07")
    answer = call.gather(text="Press any key.")
    assert (answer["expectedDigits"], answer["timeoutMs"]) == (1, 10000)
    assert call.wait("gather.complete")["digits"] == "1"
    call.wait("dtmf.received", digit="4")
    assert kinds(call.hang_up()) == [
        "gather.started",
        *PRESSED,
        "gather.complete",
        *["dtmf.received"] * 3,
    ]


def test_fewer_digits_than_wanted(talk):
    """gather.timeout with what there was."""
    call = talk.answered("07")
    call.gather(file=SHORT, numDigits=6, timeout=5000)
    ended = call.wait("gather.timeout")
    assert (ended["digits"], ended["expected"]) == ("1234", 6)
    assert ended["reason"] == "timeout"
    assert kinds(call.hang_up()) == [
        "gather.started",
        *PRESSED * 4,
        "gather.timeout",
    ]


def test_the_time_starts_anew_with_each_digit(talk):
    """14 takes longer for its three digits than the timeout is."""
    call = talk.answered("14")
    call.gather(file=SHORT, numDigits=4, timeout=3500)
    ended = call.wait("gather.timeout")
    assert (ended["digits"], ended["reason"]) == ("123", "timeout")
    first, *_, last = call.events("dtmf.received")
    assert at(last) - at(first) > 3.5
    assert at(ended) - at(last) > 3.4


def test_the_time_starts_behind_the_prompt(talk):
    """Nobody presses anything: no end before prompt and timeout are over."""
    call = talk.answered("11")
    call.gather(file=MIDDLE, timeout=1000)
    ended = call.wait("gather.timeout")
    assert (ended["digits"], ended["expected"]) == ("", 1)
    assert ended["reason"] == "timeout"
    started = call.wait("gather.started")
    assert at(ended) - at(started) > MIDDLE_S + 0.9


def test_finish_key(talk):
    """15 sends 12# and later *0AD: the key ends the first gather and is no
    part of it; every digit there is counts in the second."""
    call = talk.answered("15")

    call.gather(file=SHORT, numDigits=10, timeout=10000, finishOnKey="#")
    done = call.wait("gather.complete")
    assert (done["digits"], done["method"]) == ("12", "finish_key")

    call.gather(file=SHORT, numDigits=4, timeout=15000)
    done = call.wait("gather.complete", count=2)
    assert (done["digits"], done["method"]) == ("*0AD", "digits_complete")
    assert kinds(call.hang_up()) == [
        "gather.started",
        *PRESSED * 2,
        "dtmf.received",
        "gather.complete",
        "gather.started",
        *PRESSED * 4,
        "gather.complete",
    ]


def test_finish_key_is_a_digit_where_none_is_set(talk):
    """By default # is one of the digits."""
    call = talk.answered("15")
    call.gather(file=SHORT, numDigits=3, timeout=12000)
    done = call.wait("gather.complete")
    assert (done["digits"], done["method"]) == ("12#", "digits_complete")


def test_digits_during_the_prompt_stop_it(talk):
    """13 presses 98 while a prompt of 73 s plays, and 76 later: type-ahead
    counts, and the gather ends with the digits, not behind the prompt."""
    call = talk.answered("13")
    call.gather(file=LONG, numDigits=4, timeout=20000)
    done = call.wait("gather.complete", timeout_s=60)
    assert done["digits"] == "9876"
    assert at(done) - at(call.wait("gather.started")) < 60


def test_the_cut_prompt_is_heard_no_more(talk):
    """16 records what it hears, and presses 5 while the prompt plays: what is
    played next is heard at once, not behind the prompt."""
    call = talk.answered("16")
    call.gather(file=LONG, timeout=20000)
    assert call.wait("gather.complete")["digits"] == "5"

    call.play("hello-world")

    call.wait("playback.finished", stopped=False)
    call.hang_up()
    heard, prompt = call.heard(), talk.sound(LONG)
    assert audio.length_s(heard) < audio.length_s(prompt)
    begin = prompt[: int(2000 / audio.STEP_MS)]
    assert audio.find(begin, heard).likeness > audio.ALIKE
    assert audio.find(talk.sound("hello-world"), heard).likeness > audio.ALIKE


def test_no_barge_in(talk):
    """98 comes while the prompt plays: told, and not counted; 76 counts."""
    call = talk.answered("13")
    call.gather(file=MIDDLE, numDigits=2, timeout=20000, bargeIn=False)
    done = call.wait("gather.complete", timeout_s=60)
    assert (done["digits"], done["method"]) == ("76", "digits_complete")
    assert kinds(call.hang_up()) == [
        "gather.started",
        *["dtmf.received"] * 2,
        *PRESSED * 2,
        "gather.complete",
    ]


def test_the_prompt_is_heard(talk):
    """A spoken prompt reaches the far end as it was made."""
    call = talk.answered("12")
    before = talk.spoken_files()
    text = "Press one for sales, or press two for support."
    call.gather(text=text, timeout=1000)
    assert call.wait("gather.timeout")["reason"] == "timeout"
    assert call.wait("gather.started")["prompt"] == text
    call.hang_up()
    (path,) = talk.spoken_files() - before
    match = audio.find(audio.loudness(path), call.heard())
    assert match.likeness > audio.ALIKE, match
    assert match.energy_ratio == pytest.approx(1, abs=0.15)


def test_prompt_to_the_channel(talk):
    """playTo is for prompts, too."""
    call = talk.answered("12")
    call.gather(file=MIDDLE, timeout=1000, playTo="channel")
    call.wait("gather.timeout", reason="timeout")
    call.hang_up()
    assert audio.find(talk.sound(MIDDLE), call.heard()).likeness > audio.ALIKE


def test_replaced(talk):
    """The next one ends the one before, and stops its prompt."""
    call = talk.answered("11")
    call.gather(file=LONG, numDigits=3)
    call.gather(file=SHORT, numDigits=2, timeout=1000)

    ended = call.wait("gather.timeout", reason="timeout")

    assert (ended["digits"], ended["expected"]) == ("", 2)
    replaced, _ = call.events("gather.timeout")
    assert (replaced["reason"], replaced["digits"]) == ("replaced", "")
    assert replaced["expected"] == 3
    assert kinds(call.hang_up()) == ["gather.started", "gather.timeout"] * 2


def test_replaced_with_digits(talk):
    """What the first one had is told with its end, and is gone."""
    call = talk.answered("14")
    call.gather(file=SHORT, numDigits=5, timeout=20000)
    call.wait("gather.progress", digit="1")
    call.gather(file=SHORT, numDigits=2, timeout=20000)
    assert call.wait("gather.complete")["digits"] == "23"
    assert call.wait("gather.timeout")["digits"] == "1"


def test_the_api_ends_the_call(talk):
    """gather.timeout with reason call_ended, before call.ended."""
    call = talk.answered("11")
    call.gather(file=LONG)
    events = call.hang_up()
    names = [event["event"] for event in events]
    assert names.index("gather.timeout") < names.index("call.ended")
    assert call.wait("gather.timeout")["reason"] == "call_ended"


def test_the_callee_ends_the_call(talk):
    """The far end hangs up while the prompt plays. (08 does after 2 s, which
    is too soon for a slow machine.)"""
    call = talk.answered("10")
    call.gather(file=LONG)
    talk.pair.carrier.cli("channel request hangup all")
    call.whole()
    assert call.wait("gather.timeout")["reason"] == "call_ended"
    assert call.wait("call.ended")["endReason"] == "normal_hangup"


def test_what_is_shown_of_it(talk):
    """GET /calls tells of the gather while it is there, else null."""
    call = talk.answered("07")

    def shown():
        (one,) = talk.client.get("/calls").json()["calls"]
        assert one["callId"] == call.id
        return one["gather"]

    assert shown() is None
    call.gather(file=SHORT, numDigits=5, timeout=8000)
    assert shown() is not None
    call.wait("gather.timeout")
    assert shown() is None


@pytest.mark.parametrize("when", ["the prompt", "the digits", "the timeout"])
def test_the_worker_is_killed(talk, when):
    """SIGKILL of the call's owner during the gather: its successor reads on,
    and there is exactly one end, with the digits that were pressed."""
    digits, wanted = {
        "the prompt": ("13", "9876"),
        "the digits": ("14", "123"),
        "the timeout": ("07", "1234"),
    }[when]
    call = talk.answered(digits)
    owner = f"worker.{slot_of(talk.kaphila, call.id)}"
    call.gather(
        file=LONG if when == "the prompt" else SHORT,
        numDigits=5 if when == "the timeout" else len(wanted),
        timeout=6000 if when == "the timeout" else 20000,
    )
    if when == "the digits":
        call.wait("gather.progress", digit="1")
    elif when == "the timeout":
        call.wait("gather.progress", digit="4")

    pid = talk.kaphila.signal(owner)

    if when == "the timeout":
        ended = call.wait("gather.timeout", reason="timeout", timeout_s=90)
    else:
        ended = call.wait("gather.complete", timeout_s=90)
    assert ended["digits"] == wanted
    talk.kaphila.wait_new_pid(owner, pid)
    assert kinds(call.hang_up()) == [
        "gather.started",
        *PRESSED * len(wanted),
        ended["event"],
    ]


def test_both_workers_are_killed_over_and_over(talk):
    """Calls in every stage of a gather, and SIGKILLs of both workers in turn:
    each gather has its one end, and no digit is lost or made up."""
    wanted = {"07": "1234", "13": "9876", "14": "123", "11": ""}
    calls = []
    for digits in sorted(wanted) * 2:
        call = talk.answered(digits)
        call.gather(file=SHORT, numDigits=len(wanted[digits]) or 1)
        calls.append((call, wanted[digits]))
    for name in ("worker.0", "worker.1") * 2:
        pid = talk.kaphila.signal(name)
        talk.kaphila.wait_new_pid(name, pid)
    talk.kaphila.wait_ready()
    for call, digits in calls:
        kind = "gather.complete" if digits else "gather.timeout"
        assert call.wait(kind, timeout_s=90)["digits"] == digits

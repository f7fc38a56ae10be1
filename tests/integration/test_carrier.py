"""The demo carrier's behaviours, seen from kaphila's Asterisk over ARI.

No kaphila takes part: what is asserted here is what every other test takes
for granted about the carrier.
"""

import itertools
import os
import socket

import pytest
import requests
from harness import audio
from harness.waiting import wait_until

_numbers = itertools.count(1)

# A caller of our own, for what Asterisk 16 does not tell: the SIP code.
INVITE = """INVITE sip:{number}@127.0.0.1:{port} SIP/2.0
Via: SIP/2.0/UDP 127.0.0.1:{own};branch=z9hG4bK-{name}
From: <sip:15550100@127.0.0.1:{own}>;tag={name}
To: <sip:{number}@127.0.0.1>
Call-ID: {name}
CSeq: 1 INVITE
Contact: <sip:15550100@127.0.0.1:{own}>
Max-Forwards: 70
Content-Type: application/sdp
Content-Length: {length}

"""
SDP = """v=0
o=- 1 1 IN IP4 127.0.0.1
s=-
c=IN IP4 127.0.0.1
t=0 0
m=audio 40000 RTP/AVP 0
"""


@pytest.fixture
def call(ari):
    """call("08"): originate to a number that ends so; the channel's id."""

    def originate(digits, timeout=30):
        channel = f"carrier-{os.getpid()}-{next(_numbers)}"
        response = ari.request(
            "POST",
            "channels",
            endpoint=f"PJSIP/001555010{digits}@carrier",
            channelId=channel,
            app="test",
            timeout=timeout,
            callerId="15550100",
        )
        assert response.status_code == 200, response.text
        return channel

    return originate


def rang(ari, channel):
    """True if the channel was seen ringing."""
    return any(
        event["type"] == "ChannelStateChange"
        and event["channel"]["state"] == "Ringing"
        for event in ari.of_channel(channel)
    )


def answered(ari, channel):
    """True if the channel was answered."""
    return any(
        event["type"] == "StasisStart" for event in ari.of_channel(channel)
    )


def record(ari, channel, seconds):
    """Record what the far end sends for so long, from a bridge as kaphila
    does it; the file's name."""
    name = f"heard-{channel}"
    bridge = f"bridge-{channel}"
    for path, params in (
        ("bridges", {"bridgeId": bridge, "type": "mixing"}),
        (f"bridges/{bridge}/addChannel", {"channel": channel}),
        (
            f"bridges/{bridge}/record",
            {"name": name, "format": "wav", "maxDurationSeconds": seconds},
        ),
    ):
        response = ari.request("POST", path, **params)
        assert response.ok, response.text
    return name


def heard(asterisk, name):
    """Of a finished recording: the share of its 20 ms frames that are loud,
    and its length in seconds. 8 kHz, 16 bit, mono."""
    data = (asterisk.media.recording_dir / f"{name}.wav").read_bytes()[44:]
    samples = memoryview(data[: len(data) // 320 * 320]).cast("h")
    frames = [
        max(abs(sample) for sample in samples[at : at + 160])
        for at in range(0, len(samples), 160)
    ]
    loud = sum(level > 500 for level in frames)
    return loud / max(len(frames), 1), len(frames) / 50


def invite(port, digits):
    """INVITE to the carrier at this port; the codes of its answers."""
    codes = []
    sdp = SDP.replace("\n", "\r\n")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sip:
        sip.bind(("127.0.0.1", 0))
        sip.settimeout(10)
        head = INVITE.format(
            number=f"001555010{digits}",
            port=port,
            own=sip.getsockname()[1],
            name=f"invite-{os.getpid()}-{next(_numbers)}",
            length=len(sdp),
        )
        sip.sendto(
            (head.replace("\n", "\r\n") + sdp).encode(), ("127.0.0.1", port)
        )
        while not codes or codes[-1] < 200:
            codes.append(int(sip.recv(8192).split()[1]))
    return codes


@pytest.mark.parametrize(
    "digits, code", [("03", 486), ("05", 503), ("06", 603), ("09", 404)]
)
def test_refusal_has_its_sip_code(asterisk, digits, code):
    codes = invite(asterisk.carrier.sip_port, digits)

    assert codes[-1] == code
    assert not {180, 183} & set(codes)


@pytest.mark.parametrize(
    "digits, cause, sip_code",
    [
        pytest.param("03", 17, 486, id="busy"),
        pytest.param("05", 34, 503, id="congestion"),
        pytest.param("06", 21, 603, id="declined"),
        pytest.param("09", 1, 404, id="unallocated"),
    ],
)
def test_refusal_has_its_cause_and_no_ringing(
    asterisk, ari, call, digits, cause, sip_code
):
    channel = call(digits)

    ended = ari.wait_event(channel, "ChannelDestroyed")

    assert ended["cause"] == cause
    if asterisk.media.version >= 22:  # older ones tell no SIP code
        assert ended["tech_cause"] == sip_code
    assert not rang(ari, channel)
    assert not answered(ari, channel)


def test_04_rings_until_the_caller_gives_up(asterisk, ari, call):
    channel = call("04", timeout=3)

    ended = ari.wait_event(channel, "ChannelDestroyed")

    assert rang(ari, channel)
    assert not answered(ari, channel)
    # What a ring timeout is called differs between 16 and 22.
    assert ended["cause"] == (19 if asterisk.media.version >= 22 else 0)


def test_08_answers_and_hangs_up_normally(ari, call):
    channel = call("08")

    ended = ari.wait_event(channel, "ChannelDestroyed")

    assert rang(ari, channel)
    assert answered(ari, channel)
    assert ended["cause"] == 16


def test_10_answers_without_ringing_and_stays(ari, call):
    channel = call("10")

    ari.wait_event(channel, "StasisStart")
    assert not rang(ari, channel)
    # Still there when 08, called later, has come and gone.
    ari.wait_event(call("08"), "ChannelDestroyed")
    assert ari.get(f"channels/{channel}")["state"] == "Up"

    ari.request("DELETE", f"channels/{channel}")
    assert ari.wait_event(channel, "ChannelDestroyed")["cause"] == 16


def test_07_sends_1234(ari, call):
    channel = call("07")

    for digit in "1234":
        ari.wait_event(channel, "ChannelDtmfReceived", digit=digit)

    digits = [
        event["digit"]
        for event in ari.of_channel(channel)
        if event["type"] == "ChannelDtmfReceived"
    ]
    assert digits == list("1234")


@pytest.mark.parametrize(
    "digits, keys",
    [
        ("13", "9876"),
        ("14", "123"),
        ("15", "12#*0AD"),
        ("16", "5"),
        ("17", "1"),
        ("18", "9"),
    ],
)
def test_behaviours_that_send_keys(ari, call, digits, keys):
    channel = call(digits)

    for key in keys:
        ari.wait_event(channel, "ChannelDtmfReceived", digit=key)

    sent = [
        event["digit"]
        for event in ari.of_channel(channel)
        if event["type"] == "ChannelDtmfReceived"
    ]
    assert sent == list(keys)


@pytest.mark.parametrize("digits", ["12", "16"])
def test_what_reaches_the_carrier_is_recorded(asterisk, ari, call, digits):
    path = asterisk.carrier.recording_dir / f"1555010{digits}.wav"
    path.unlink(missing_ok=True)
    channel = call(digits)
    ari.wait_event(channel, "StasisStart")

    ari.request(
        "POST",
        f"channels/{channel}/play",
        media="sound:vm-nobodyavail",
        playbackId=f"play-{channel}",
    )
    ari.wait_playback(f"play-{channel}")
    ari.request("DELETE", f"channels/{channel}")
    ari.wait_event(channel, "ChannelDestroyed")

    played = audio.loudness(asterisk.media.sounds_dir / "vm-nobodyavail.wav")
    found = wait_until(
        lambda: (m := audio.find(played, audio.loudness(path)))
        and m.likeness > audio.ALIKE
        and m,
        "the sound in the recording",
    )
    assert found.energy_ratio == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(
    "digits, seconds, share",
    [
        # 1.5 s of hello in 4 s; 7 s of greeting in 6 s; nothing in 3 s.
        pytest.param("01", 4, (0.10, 0.60), id="01-short-hello"),
        pytest.param("42", 4, (0.10, 0.60), id="others-are-01"),
        pytest.param("02", 6, (0.60, 1.00), id="02-long-greeting"),
        pytest.param("11", 3, (0.00, 0.00), id="11-silence"),
    ],
)
def test_what_is_heard_after_the_answer(
    asterisk, ari, call, digits, seconds, share
):
    channel = call(digits)
    ari.wait_event(channel, "StasisStart")
    assert rang(ari, channel)

    name = record(ari, channel, seconds)
    finished = ari.wait_recording(name)

    assert finished["recording"]["state"] == "done"
    loud, length = heard(asterisk, name)
    assert length == pytest.approx(seconds, abs=1)
    assert share[0] <= loud <= share[1]


def test_an_unknown_trunk_is_refused_at_once(ari):
    response = ari.request(
        "POST",
        "channels",
        endpoint="PJSIP/0015550108@nowhere",
        channelId="unknown-trunk",
        app="test",
    )

    assert response.status_code == 500
    assert response.json() == {"error": "Allocation failed"}


def test_an_instance_can_be_frozen_and_killed(own_asterisk):
    media = own_asterisk.media
    client = media.ari()
    try:
        before = media.pid
        media.freeze()
        with pytest.raises(requests.Timeout):
            client.request("GET", "channels", timeout_s=0.5)
        media.thaw()
        assert client.get("channels") == []

        media.kill()
        assert media.pid is None
        media.restart()
        assert media.pid not in (None, before)
        assert client.get("channels") == []
    finally:
        client.close()

"""Answering machine detection: on a snoop channel of the call, with the dialplan
of deploy/asterisk/media. How often it is right is measured elsewhere
(tests/load/amd_set.py); here it is told apart what nobody could mistake."""

import os
import signal

import pytest
from harness.waiting import wait_until
from test_calls import number

BOTH = {"HUMAN", "MACHINE", "UNKNOWN"}


def answered(sink, call_id):
    """call.answered of a call, the only one that there is."""
    event = sink.wait(call_id, "call.answered")
    assert len(sink.events(call_id, "call.answered")) == 1
    return event


def logged(database, call_id):
    """What the call's row has as its AMD, when it is there."""
    return wait_until(
        lambda: database.query(
            "SELECT amd_status FROM call_logs WHERE call_id = %s", (call_id,)
        ),
        "the row",
    )[0][0]


def snoops(media):
    """The ids of the snoop channels that Asterisk has."""
    ari = media.ari()
    try:
        return [
            channel["id"]
            for channel in ari.get("channels")
            if channel["id"].startswith("amd-")
        ]
    finally:
        ari.close()


@pytest.mark.parametrize(
    "digits, status, causes",
    [
        ("01", "HUMAN", {"HUMAN"}),
        ("02", "MACHINE", {"LONGGREETING", "MAXWORDS"}),
        ("11", "MACHINE", {"INITIALSILENCE"}),
    ],
)
def test_verdict(kaphila, asterisk, sink, database, digits, status, causes):
    """A person, a machine, nobody at all: call.answered brings it, once, while
    the call is recorded already; the row has it, and no channel is left."""
    client = kaphila.client()
    call_id = client.make_call(number(digits), webhookUrl=sink.url, useAmd=True)
    event = answered(sink, call_id)
    amd = event["amd"]
    assert amd["status"] == status
    assert amd["cause"] in causes
    assert amd["detail"].startswith(amd["cause"] + "-")
    assert 0.5 <= amd["confidence"] <= 1
    assert event["answeredAt"] < amd["decidedAt"] <= event["timestamp"]
    started = sink.wait(call_id, "recording.started")
    assert started["sequence"] < event["sequence"]
    wait_until(lambda: not snoops(asterisk.media), "the snoop channel's end")
    assert client.get(f"/calls/{call_id}").status_code == 200
    client.hangup(call_id)
    ended = sink.wait(call_id, "call.ended")
    assert ended["amd"] == amd
    assert "amd.result" not in sink.kinds(call_id)
    assert logged(database, call_id) == status


def test_verdict_behind_the_answer(kaphila, sink):
    """asyncAmd: the answer is told at once, the verdict when it is there."""
    client = kaphila.client()
    call_id = client.make_call(
        number("02"), webhookUrl=sink.url, useAmd=True, asyncAmd=True
    )
    event = answered(sink, call_id)
    assert event["amd"]["status"] == "PENDING"
    assert event["amd"]["confidence"] == 0
    result = sink.wait(call_id, "amd.result")
    assert result["amd"]["status"] == "MACHINE"
    assert result["sequence"] > event["sequence"]
    assert result["answeredAt"] == event["answeredAt"]
    client.hangup(call_id)
    sink.wait(call_id, "call.ended")
    assert sink.kinds(call_id).count("amd.result") == 1


def test_never_answered(kaphila, database, sink):
    """Asked for, and nobody there to be analysed: under way while it rings,
    unknown when it is over; NOAMD would say that it was not asked for."""
    client = kaphila.client()
    call_id = client.make_call(number("04"), webhookUrl=sink.url, useAmd=True)
    initiated = sink.wait(call_id, "call.initiated")
    assert initiated["amd"]["status"] == "PENDING"
    shown = client.get(f"/calls/{call_id}").json()
    assert shown["amd"]["status"] == "PENDING"
    client.hangup(call_id)
    ended = sink.wait(call_id, "call.ended")
    assert (ended["status"], ended["amd"]["status"]) == ("canceled", "UNKNOWN")
    assert logged(database, call_id) == "UNKNOWN"


def test_hangup_during_the_analysis(kaphila, asterisk, sink):
    """08 says nothing for 2 s and hangs up: call.answered comes all the same,
    before call.ended."""
    client = kaphila.client()
    call_id = client.make_call(number("08"), webhookUrl=sink.url, useAmd=True)
    ended = sink.wait(call_id, "call.ended")
    kinds = sink.kinds(call_id)
    assert kinds.count("call.answered") == 1
    assert kinds.index("call.answered") < kinds.index("call.ended")
    amd = answered(sink, call_id)["amd"]
    assert (amd["status"], amd["cause"], amd["confidence"]) == (
        "UNKNOWN",
        "",
        0,
    )
    assert ended["amd"]["status"] == "UNKNOWN"
    assert ended["status"] == "completed"
    wait_until(lambda: not snoops(asterisk.media), "the snoop channel's end")


def test_own_parameters(kaphila, sink):
    """A call's own limits count: silence means a machine after 500 ms, and a
    time of analysis that is shorter than any of them leaves it unknown."""
    client = kaphila.client()
    soon = client.make_call(
        number("11"),
        webhookUrl=sink.url,
        useAmd=True,
        amd={"initialSilence": 500},
    )
    unsure = client.make_call(
        number("11"),
        webhookUrl=sink.url,
        useAmd=True,
        amd={"totalAnalysisTime": 800, "initialSilence": "9000"},
    )
    amd = answered(sink, soon)["amd"]
    assert amd["detail"].endswith("-500")
    assert amd["cause"] == "INITIALSILENCE"
    amd = answered(sink, unsure)["amd"]
    assert (amd["status"], amd["cause"]) == ("UNKNOWN", "TOOLONG")
    refused = client.post("/makecall", json={"number": number("11"), "amd": 5})
    assert refused.status_code == 400
    assert refused.json()["code"] == "INVALID_PARAMETER"
    assert "amd" in refused.json()["error"]


def test_snoop_channel_hung_up_by_somebody(kaphila, asterisk, sink):
    """The analysis is gone, the call isn't: it is told as unknown, at the
    latest when the time of analysis is over."""
    client = kaphila.client()
    call_id = client.make_call(number("11"), webhookUrl=sink.url, useAmd=True)
    snoop = f"amd-{call_id}"
    wait_until(lambda: snoop in snoops(asterisk.media), "the snoop channel")
    ari = asterisk.media.ari()
    ari.request("DELETE", f"channels/{snoop}")
    ari.close()
    amd = answered(sink, call_id)["amd"]
    assert (amd["status"], amd["detail"]) == ("UNKNOWN", "")
    assert client.get(f"/calls/{call_id}").status_code == 200


def test_without_the_dialplan(own_asterisk, database, sink, make_kaphila):
    """Calls that ask for a verdict are refused, and no others; once it is
    there, at the next connect, they are made."""
    media = own_asterisk.media
    config = media.dir / "etc" / "extensions.conf"
    whole = config.read_text(encoding="utf-8")
    config.write_text(whole.partition("[globals]")[0], encoding="utf-8")
    media.cli("dialplan reload")
    media.cli("dialplan set global KAPHILA_AMD_VERSION none")
    kaphila = make_kaphila(media, database)
    client = kaphila.client()
    refused = client.post(
        "/makecall", json={"number": number("01"), "useAmd": True}
    )
    assert refused.status_code == 503
    assert refused.json()["code"] == "AMD_UNAVAILABLE"
    assert "Retry-After" in refused.headers
    assert "no answering machine detection" in kaphila.log_path.read_text(
        encoding="utf-8"
    )
    call_id = client.make_call(number("01"), webhookUrl=sink.url)
    assert answered(sink, call_id)["amd"]["status"] == "NOAMD"
    client.hangup(call_id)
    sink.wait(call_id, "call.ended")
    config.write_text(whole, encoding="utf-8")
    media.cli("dialplan reload")
    kaphila.restart()
    call_id = client.make_call(number("01"), webhookUrl=sink.url, useAmd=True)
    assert answered(sink, call_id)["amd"]["status"] == "HUMAN"


def test_worker_killed_during_the_analysis(
    asterisk, database, sink, make_kaphila
):
    """Its successor hears the verdicts, of all calls that were under way; the
    analyses are long, so that all of them are for a moment."""
    kaphila = make_kaphila(asterisk.media, database)
    kaphila.allow_restarts()
    client = kaphila.client()
    calls = [
        client.make_call(
            number("11"),
            webhookUrl=sink.url,
            useAmd=True,
            amd={"initialSilence": 8000, "totalAnalysisTime": 15000},
        )
        for _ in range(4)
    ]
    wait_until(
        lambda: len(snoops(asterisk.media)) == len(calls), "the analyses"
    )
    for name, child in kaphila.children().items():
        if name.startswith("worker"):
            os.kill(child["pid"], signal.SIGKILL)
    for call_id in calls:
        amd = answered(sink, call_id)["amd"]
        assert amd["status"] == "MACHINE"
        assert amd["detail"].startswith("INITIALSILENCE-8")
    wait_until(lambda: not snoops(asterisk.media), "the snoop channels' end")
    for call_id in calls:
        assert client.get(f"/calls/{call_id}").status_code == 200

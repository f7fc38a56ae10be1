"""Webhook signatures (Standard Webhooks 1.0), checked as a customer would: over
the raw body and the headers, with nothing of kaphila's own."""

import base64
import hashlib
import hmac
import json

import pytest
from harness.invariants import store_dump
from harness.waiting import wait_until
from test_calls import number
from test_key_policies import Key

OWN = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def signature(secret, delivery):
    """What this secret makes of a delivery."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    head = f"{delivery.headers['webhook-id']}.{delivery.headers['webhook-timestamp']}."
    mac = hmac.new(key, head.encode() + delivery.body, hashlib.sha256)
    return "v1," + base64.b64encode(mac.digest()).decode()


def check(delivery, *secrets):
    """It is signed with these, in this order, and with no other."""
    assert delivery.headers["webhook-id"] == delivery.event["eventId"]
    stamp = delivery.headers["webhook-timestamp"]
    assert stamp.isdigit() and abs(int(stamp) - delivery.received_at) <= 60
    signatures = delivery.headers.get("webhook-signature", "").split()
    assert signatures == [signature(s, delivery) for s in secrets]


def check_call(sink, call_id, *secrets):
    """All that came of a call, of which something did; how many."""
    ours = [d for d in sink.deliveries if d.call_id == call_id]
    assert ours
    for delivery in ours:
        check(delivery, *secrets)
    return len(ours)


class Signed(Key):
    """A key whose secrets are known."""

    def __init__(self, kaphila, sink, *limits):
        super().__init__(kaphila, sink, *limits)
        self.secret = self.set_secret("new")

    def set_secret(self, *value):
        """`keys set --webhook-secret`, once it counts; the new one."""
        made = self.kaphila.ctl(
            "keys", "set", self.name, "--webhook-secret", *value
        )
        self.set()
        return made.get("webhookSecret")


@pytest.fixture
def key(kaphila, sink):
    """One with a secret, and none before it."""
    made = Signed(kaphila, sink)
    made.set("--webhook-secret-before", "none")
    return made


def test_every_event_is_signed(key, sink):
    """Of a call that is talked to, of its second leg, and of a batch's."""
    first = key.answered()
    assert key.api().voice(first, "Hello.").status_code == 200
    sink.wait(first, "playback.finished")
    response = key.forward(first)
    assert response.status_code == 200, response.text
    second = response.json()["forwardedCallId"]
    sink.wait(first, "call.transferred")
    answers = key.api().batch([key.body("03"), key.body("08")]).json()
    batch = [answer["callId"] for answer in answers["results"]]
    key.hang_up(first)
    for call_id in (second, *batch):
        sink.wait(call_id, "call.ended")
    for call_id in (first, batch[1]):
        sink.wait(call_id, "recording.completed")
    assert check_call(sink, first, key.secret) >= 8
    assert check_call(sink, second, key.secret) >= 3
    for call_id in batch:
        assert check_call(sink, call_id, key.secret) >= 2


def test_a_redelivery_is_signed_anew(key, sink):
    """The id stays, the time is that of the try, the signature is right."""
    tries = []

    def refuse_for_a_second(delivery):
        """Until the clock shows another second than at the first try."""
        tries.append(delivery)
        first = tries[0].headers["webhook-timestamp"]
        return 200 if delivery.headers["webhook-timestamp"] != first else 503

    sink.behaviour = refuse_for_a_second
    call_id = key.made("03")
    # a redelivery waits for nobody, and nobody for it
    for kind in ("call.initiated", "call.ended"):
        sink.wait(call_id, kind)
    check_call(sink, call_id, key.secret)
    again = [d for d in tries if d.event["sequence"] == 1]
    assert len(again) > 1
    assert len({d.headers["webhook-id"] for d in again}) == 1
    assert len({d.body for d in again}) == 1
    assert len({d.headers["webhook-signature"] for d in again}) > 1
    stamps = [int(d.headers["webhook-timestamp"]) for d in again]
    assert stamps == sorted(stamps) and stamps[-1] > stamps[0]


def test_a_redelivery_after_a_restart(key, kaphila, sink):
    """The secret lies with the call: what is left is signed as it would have
    been, though the key has another by then."""
    sink.behaviour = lambda delivery: 503
    call_id = key.made("03")
    wait_until(
        lambda: [d for d in sink.deliveries if d.call_id == call_id],
        "a first try",
    )
    old = key.secret
    key.set_secret("none")
    kaphila.restart()
    sink.behaviour = None
    sink.wait(call_id, "call.ended")
    check_call(sink, call_id, old)


def test_rotation(key, sink):
    """Both sign until the one before is taken away; a call keeps what it was
    made with."""
    live = key.made("04")
    old, key.secret = key.secret, key.set_secret("new")
    both = key.made("03")
    sink.wait(both, "call.ended")
    check_call(sink, both, key.secret, old)
    key.set("--webhook-secret-before", "none")
    after = key.made("03")
    sink.wait(after, "call.ended")
    check_call(sink, after, key.secret)
    key.hang_up(live)
    check_call(sink, live, old)
    key.set_secret(OWN, "--webhook-secret-before", "none")
    own = key.made("03")
    sink.wait(own, "call.ended")
    check_call(sink, own, OWN)


def test_no_secret_no_signature(kaphila, sink):
    """A key without one, and a new key, which has one."""
    key = Key(kaphila, sink, "--webhook-secret", "none")
    call_id = key.made("03")
    sink.wait(call_id, "call.ended")
    check_call(sink, call_id)
    made = kaphila.ctl("keys", "create", "fresh", "--credits", 1)
    kaphila.ctl("trunks", "assign", "fresh", "carrier")
    call_id = kaphila.api(made["key"]).make_call(
        number("03"), webhookUrl=sink.url
    )
    sink.wait(call_id, "call.ended")
    check_call(sink, call_id, made["webhookSecret"])


def test_nothing_shows_a_secret(key, kaphila, sink):
    """No answer, no list, no metric, no log at its most talkative, no dump."""
    secrets = [key.secret, key.set_secret("new"), OWN]
    # while the call and its undelivered events are there
    sink.behaviour = lambda delivery: 503
    call_id = key.made("10")
    wait_until(
        lambda: key.api().get(f"/calls/{call_id}").json().get("hasBridge"),
        "its bridge",
    )
    texts = {
        "calls": key.api().get("/calls").text,
        "call": key.api().get(f"/calls/{call_id}").text,
        "me": key.api().get("/api/me").text,
        "health": kaphila.admin("/health").text,
        "metrics": kaphila.admin("/metrics").text,
        "dump": json.dumps(store_dump(kaphila)),
        "list": json.dumps(kaphila.ctl("keys", "list")),
        "show": json.dumps(kaphila.ctl("keys", "show", key.name)),
        "status": json.dumps(kaphila.ctl("status")),
    }
    # a slip of the pen is told without what was written
    done = kaphila.ctl(
        "keys", "set", key.name, "--webhook-secret", OWN + "!", check=False
    )
    assert done.returncode == 2
    texts["complaint"] = done.stdout + done.stderr
    sink.behaviour = None
    key.hang_up(call_id)
    texts["log"] = kaphila.log_path.read_text(encoding="utf-8")
    assert call_id in texts["log"] and call_id in texts["dump"]
    for where, text in texts.items():
        for secret in secrets:
            assert secret.removeprefix("whsec_") not in text, where
        assert "whsec_" not in text or where == "complaint", where

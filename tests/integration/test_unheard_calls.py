"""A call of which Asterisk tells nobody, for it was originated while the slot's
app was not registered: the next reconcile has it told of again."""

import pytest
from harness.waiting import wait_until
from test_calls import number


def app_of(ari, call_id):
    """The app that is told of a call; None: there is none."""
    return next(
        (
            app["name"]
            for app in ari.get("applications")
            if call_id in app["channel_ids"]
        ),
        None,
    )


def be_silent_about(ari, call_id):
    """Have nobody told of a call any more; the app that was."""
    app = app_of(ari, call_id)
    for _ in range(10):
        ari.request(
            "DELETE",
            f"applications/{app}/subscription",
            eventSource=f"channel:{call_id}",
        )
        if app_of(ari, call_id) is None:
            return app
    return pytest.fail("the app stays subscribed")


def take_over(media, app):
    """A stranger has the app for a moment."""
    stranger = media.ari()
    stranger.listen(app)
    stranger.close()


def test_a_call_that_nobody_is_told_of(kaphila, asterisk, sink):
    """Its carrier turns it down: told at once, not when it could have rung
    no longer."""
    kaphila.allow_errors("has taken the Stasis app over")
    client = kaphila.client()
    call_id = client.make_call(
        number("04"), webhookUrl=sink.url, ringTimeout=120
    )
    sink.wait(call_id, "call.ringing")
    ari = asterisk.media.ari()
    try:
        app = be_silent_about(ari, call_id)
        take_over(asterisk.media, app)
        wait_until(lambda: app_of(ari, call_id) == app, "the subscription", 30)
        ari.request("DELETE", f"channels/{call_id}", reason="busy")
        ended = sink.wait(call_id, "call.ended")
    finally:
        ari.close()
    assert (ended["status"], ended["hangupCause"]) == ("busy", "17")

"""Asterisk 16 takes its commands over HTTP, 22 over a WebSocket. kaphila finds
out by itself at each connect, so another Asterisk may come in its place."""

import pytest
from harness import paths
from harness.waiting import wait_until
from test_calls import number

# by the major version
TRANSPORTS = {16: "HTTP", 22: "WebSocket"}


@pytest.fixture
def other_root(asterisk_root):
    """The root of the version that these tests don't run on."""
    other = 16 if asterisk_root.endswith("-22") else 22
    root = paths.service("asterisk-root", other, timeout_s=900)
    if not root.endswith(f"-{other}"):
        pytest.skip(f"no Asterisk {other} can be had any more")
    return root


def links_up(kaphila, version):
    """How often a command link came up with that version, as it should."""
    return sum(
        f" asterisk={version}." in line
        and line.endswith(f" over={TRANSPORTS[version]}")
        for line in kaphila.log_text().splitlines()
        if " command link up " in line
    )


def end_of_a_call(kaphila, sink):
    """Make a call that finds the line busy."""
    call_id = kaphila.client().make_call(number("03"), webhookUrl=sink.url)
    return sink.wait(call_id, "call.ended")["status"]


def test_another_version_takes_the_place(
    own_asterisk, other_root, database, make_kaphila, sink
):
    """Each of the four links changes over, and calls go on."""
    media = own_asterisk.media
    first = media.version
    kaphila = make_kaphila(media, database)
    assert links_up(kaphila, first) == 4  # two workers, two lanes
    assert end_of_a_call(kaphila, sink) == "busy"

    media.replace(other_root)
    assert media.version != first
    wait_until(
        lambda: links_up(kaphila, media.version) == 4, "the other version", 30
    )
    kaphila.wait_ready()
    assert end_of_a_call(kaphila, sink) == "busy"

    assert links_up(kaphila, first) == 4

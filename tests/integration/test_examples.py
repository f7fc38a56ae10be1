"""Programs as customers write them, run against the API on a real Asterisk:
two of our own (examples/), and the Flask and Express examples of the API's
reference, run as they stand where KAPHILA_API_REFERENCE names its file.

Each is a web server that places a call with useAmd and acts on its events:
persons get a menu, machines a message. The test's sink stands between, so that
it sees what the program is told; it hands everything on.
"""

import os

import pytest
import requests
from harness import audio
from harness.talk import Call, new_number
from harness.web_app import (
    EXAMPLES,
    Forwarder,
    WebApp,
    code_blocks,
    node_modules,
)


def reference_block(language, marks):
    """The one code block of the reference that has all these words."""
    path = os.environ.get("KAPHILA_API_REFERENCE")
    if not path:
        pytest.skip("KAPHILA_API_REFERENCE does not name the API's reference")
    (found,) = (
        block
        for block in code_blocks(path, language)
        if all(mark in block for mark in marks)
    )
    return found


class Program:
    """A customer's program that runs, and the calls that it places."""

    def __init__(self, app, talk, dial, events, url_field):
        self._app, self._talk = app, talk
        self._dial, self._url_field = dial, url_field
        self.forwarder = Forwarder(talk.sink, app.url + events)

    def call(self, digits):
        """Have it place a call."""
        number = new_number(digits)
        response = requests.post(
            self._app.url + self._dial,
            json={"number": number, self._url_field: self._talk.sink.url},
            timeout=30,
        )
        assert response.status_code == 200, response.text
        answer = response.json()
        call_id = answer.get("call", answer)["callId"]
        call = Call(self._talk, call_id, number)
        self._talk.calls.append(call)
        return call


@pytest.fixture
def run_program(ports, tmp_path, logs, talk):
    """run_program("own flask"): the Program."""
    apps, programs = [], []
    env = {
        "KAPHILA_BASE_URL": talk.kaphila.base_url,
        "KAPHILA_API_KEY": talk.key,
    }

    def run(name):
        whose, kind = name.split()
        app = WebApp(ports, tmp_path / "app", name)
        apps.append(app)
        logs.add(app)
        if kind == "flask":
            pytest.importorskip("flask")
            program = app.folder / "program.py"
            text = (
                (EXAMPLES / "ivr_flask.py").read_text(encoding="utf-8")
                if whose == "own"
                else reference_block("python", ["flask", "/makecall"])
            )
            program.write_text(text, encoding="utf-8")
            app.run_flask(program, env)
        else:
            program = app.folder / "program.mjs"
            text = (
                (EXAMPLES / "ivr_express.mjs").read_text(encoding="utf-8")
                if whose == "own"
                else reference_block("js", ["express", "/makecall"])
            )
            program.write_text(text, encoding="utf-8")
            app.run_node(program, node_modules(), env)
        ways = ("/start-call", "/webhooks/kaphila", "webhookUrl")
        if whose == "own":
            ways = ("/dial", "/events", "events")
        programs.append(Program(app, talk, *ways))
        return programs[-1]

    yield run
    try:
        talk.settle()  # while the programs still hear of it
    finally:
        for program in programs:
            program.forwarder.close()
        for app in apps:
            app.close()
    failures = [f for program in programs for f in program.forwarder.failures]
    assert not failures, failures


OWN_ONES = ["own flask", "own express"]
PROGRAMS = [*OWN_ONES, "reference flask", "reference express"]


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_person_who_presses_nothing(run_program, name):
    """01 says hello: HUMAN, a menu, and no answer to it."""
    call = run_program(name).call("01")
    answered = call.wait("call.answered", timeout_s=60)
    assert answered["amd"]["status"] == "HUMAN"
    assert call.wait("gather.started")["prompt"].startswith("Press 1 ")
    ended = call.wait("gather.timeout", timeout_s=60)
    assert (ended["digits"], ended["reason"]) == ("", "timeout")
    if name in OWN_ONES:
        assert call.wait("call.ended")["endReason"] == "api_hangup"


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_machine(run_program, name):
    """02 has a long greeting: MACHINE, and a message."""
    call = run_program(name).call("02")
    answered = call.wait("call.answered", timeout_s=60)
    assert answered["amd"]["status"] == "MACHINE"
    played = call.wait("tts.played")
    call.wait("playback.finished", playbackId=played["playbackId"])
    assert not call.events("gather.started")
    if name in OWN_ONES:
        assert call.wait("call.ended")["endReason"] == "api_hangup"


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_person_who_presses_1(run_program, name):
    """17 presses 1 in the menu: what belongs to it is spoken."""
    call = run_program(name).call("17")
    answered = call.wait("call.answered", timeout_s=60)
    assert answered["amd"]["status"] == "HUMAN"
    done = call.wait("gather.complete", timeout_s=60)
    assert (done["digits"], done["method"]) == ("1", "digits_complete")
    played = call.wait("tts.played")
    wanted = "We are open" if name in OWN_ONES else "Connecting you to sales"
    assert played["text"].startswith(wanted)
    call.wait("playback.finished", stopped=False)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_person_who_presses_9(run_program, name):
    """18 presses what is not in the menu."""
    call = run_program(name).call("18")
    assert call.wait("gather.complete", timeout_s=60)["digits"] == "9"
    played = call.wait("tts.played")
    wanted = "There is no such" if name in OWN_ONES else "Invalid input"
    assert played["text"].startswith(wanted)
    assert call.wait("call.ended")["endReason"] == "api_hangup"


@pytest.mark.parametrize("name", PROGRAMS)
def test_keys_alone(run_program, name):
    """07 says nothing for longer than a person does, and sends 1234: it gets
    the message, to its end, and every digit is told."""
    call = run_program(name).call("07")
    amd = call.wait("call.answered", timeout_s=60)["amd"]
    assert (amd["status"], amd["cause"]) == ("MACHINE", "INITIALSILENCE")
    call.wait("dtmf.received", digit="4", timeout_s=60)
    assert [e["digit"] for e in call.events("dtmf.received")] == list("1234")
    played = call.wait("tts.played")
    call.wait("playback.finished", playbackId=played["playbackId"])
    assert not call.events("gather.started")


def test_what_the_programs_say_is_heard(run_program, talk):
    """12 records what reaches it, and is silent: the program's words."""
    before = talk.spoken_files()
    call = run_program("own flask").call("12")
    call.wait("tts.played", timeout_s=60)
    call.wait("call.ended", timeout_s=60)
    (path,) = talk.spoken_files() - before
    assert audio.find(audio.loudness(path), call.heard()).likeness > audio.ALIKE

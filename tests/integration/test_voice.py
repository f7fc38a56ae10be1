"""POST /voice on a real Asterisk: what the far end really hears is what was
spoken, by its length, its energy and the shape of its loudness."""

import re
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness import audio
from harness.talk import Talk
from harness.voices import GOOGLE_PATH, GTTS_PATH, MODES, Voices
from harness.waiting import wait_until

TEXT = "Good morning. Your appointment is on Tuesday at nine o'clock."


def spoken(talk, before):
    """The loudness of the one file of speech that is new since `before`."""
    (path,) = talk.spoken_files() - before
    return audio.loudness(path)


def check_heard(played, heard):
    """`played` is in `heard`, whole, once, and nothing else is."""
    match = audio.find(played, heard)
    assert match.likeness > audio.ALIKE, match
    assert match.energy_ratio == pytest.approx(1, abs=0.15), match
    assert audio.loud_s(heard) == pytest.approx(audio.loud_s(played), abs=0.3)
    assert audio.length_s(audio.trim(heard)) == pytest.approx(
        audio.length_s(audio.trim(played)), abs=0.2
    )
    return match


@pytest.mark.parametrize("target", ["bridge", "channel"])
def test_speech_is_heard(talk, target):
    """Said to the bridge or to the channel alone: heard as it was made."""
    call = talk.answered("12")
    before = talk.spoken_files()

    answer = call.voice(TEXT, playTo=target)

    assert answer["message"] == "TTS played successfully"
    assert answer["text"] == TEXT[:50] + "..."
    assert answer["method"] == target
    assert re.fullmatch(rf"tts-{call.id}-\d{{13}}", answer["playbackId"])
    told = {"playbackId": answer["playbackId"], "method": target}
    played = call.wait("tts.played", **told)
    assert played["text"] == TEXT
    finished = call.wait("playback.finished", **told)
    assert finished["stopped"] is False
    assert played["sequence"] < finished["sequence"]
    call.hang_up()
    check_heard(spoken(talk, before), call.heard())


def test_long_text_is_cut_in_events_alone(talk):
    """50 characters in the answer, 100 in the event, all of it spoken."""
    text = "This is a sentence of some length. " * 6
    call = talk.answered("12")
    before = talk.spoken_files()

    answer = call.voice(f"  {text} ")

    assert answer["text"] == text[:50] + "..."
    assert call.wait("tts.played")["text"] == text.strip()[:100]
    call.wait("playback.finished")
    call.hang_up()
    made = spoken(talk, before)
    assert audio.length_s(made) > 8
    check_heard(made, call.heard())


@pytest.mark.parametrize(
    "voice, text",
    [
        pytest.param("cmn-CN-Standard-A", "您好,请按一或者二。", id="chinese"),
        pytest.param(
            "ar-XA-Standard-B", "مرحبا، اضغط واحد أو اثنين", id="arabic"
        ),
    ],
)
def test_other_scripts(talk, voice, text):
    """Text that is not Latin is spoken by its voice, and told unharmed."""
    call = talk.answered("12", voiceName=voice)
    before = talk.spoken_files()

    assert call.voice(text)["text"] == text

    assert call.wait("tts.played")["text"] == text
    call.wait("playback.finished")
    call.hang_up()
    made = spoken(talk, before)
    assert audio.loud_s(made) > 0.5
    check_heard(made, call.heard())


def test_three_are_heard_in_order(talk):
    """They queue behind one another, speech and sounds alike."""
    call = talk.answered("12")
    before = talk.spoken_files()

    plays = [
        call.voice(TEXT)["playbackId"],
        call.play("vm-nobodyavail")["playbackId"],
        call.voice(TEXT)["playbackId"],
    ]

    for play in plays:
        call.wait("playback.finished", playbackId=play, stopped=False)
    ends = [e["playbackId"] for e in call.events("playback.finished")]
    assert ends == plays
    begun = [e["playbackId"] for e in call.events("tts.played")]
    assert begun == [plays[0], plays[2]]
    call.hang_up()

    speech, sound = spoken(talk, before), talk.sound("vm-nobodyavail")
    heard = call.heard()
    first, last = audio.find_all(speech, heard, 2)
    between = audio.find(sound, heard)
    for match in (first, between, last):
        assert match.likeness > audio.ALIKE, match
    speech_s = audio.length_s(audio.trim(speech))
    sound_s = audio.length_s(audio.trim(sound))
    assert first.at_s + speech_s <= between.at_s
    assert between.at_s + sound_s <= last.at_s
    all_s = 2 * audio.loud_s(speech) + audio.loud_s(sound)
    assert audio.loud_s(heard) == pytest.approx(all_s, abs=0.5)


def test_one_text_is_made_once(talk):
    """However many calls, of any worker, say it at the same moment."""
    calls = [talk.answered("10") for _ in range(6)]
    before = talk.spoken_files()
    text = "One text for a whole campaign."
    made = "kaphila_speech_espeak_made_total"
    assert talk.kaphila.metrics()[made] == 0
    answers = []

    def say(call):
        client = talk.kaphila.api(talk.key)
        answers.append(client.voice(call.id, text).status_code)

    threads = [threading.Thread(target=say, args=(c,)) for c in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert answers == [200] * len(calls)
    for call in calls:
        call.wait("playback.finished", stopped=False)
    assert len(talk.spoken_files() - before) == 1
    assert talk.kaphila.metrics()[made] == 1
    calls[0].voice(text)
    assert len(talk.spoken_files() - before) == 1
    assert talk.kaphila.metrics()[made] == 1


# --- engines that are servers -------------------------------------------------

ENGINES = {"google": GOOGLE_PATH, "gtts": GTTS_PATH}


@pytest.fixture
def voices(ports):
    """Google's services, in the test's hands."""
    servers = Voices(ports)
    yield servers
    servers.close()


@pytest.fixture
def make_talk(asterisk, database, make_kaphila, sink, voices):
    """make_talk(engines, workers=1, **settings of [speech]): the calls of a
    node whose engines are `voices`."""
    made = []

    def make(engines, workers=1, **settings):
        speech = {
            "engines": engines,
            "google_url": voices.url,
            "google_key": "the-key",
            "gtts_url": f"{voices.url}/",
            **settings,
        }
        named = {f"speech.{key}": value for key, value in speech.items()}
        kaphila = make_kaphila(
            asterisk.media, database, {"http.workers": workers, **named}
        )
        made.append(Talk(kaphila, sink, asterisk))
        return made[-1]

    yield make
    for calls in made:
        calls.settle()


def left_over(talk):
    """Files in the folder of speech that are none of speech."""
    folder = talk.kaphila.speech_dir
    files = {path for path in folder.rglob("*") if path.is_file()}
    return files - talk.spoken_files()


def unavailable(response):
    """It says that nothing could be spoken."""
    assert response.status_code == 503, response.text
    answer = response.json()
    assert answer["success"] is False
    assert answer["code"] == "SPEECH_UNAVAILABLE"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_engine_fails(make_talk, voices, engine, mode):
    """The only engine fails: 503, with nothing begun and nothing left. As long
    as it takes, the one worker answers everything else."""
    voices.mode = mode
    voices.may_answer.clear()
    timeout_ms = 10000 if mode == "hang" else 60000
    talk = make_talk(engine, timeout_ms=timeout_ms)
    spoken_to, gathered, other = (talk.answered("10") for _ in range(3))

    def ask(path, call, text):
        client = talk.kaphila.api(talk.key)
        body = {"callId": call.id, "text": text}
        return client.post(path, json=body, timeout=120)

    with ThreadPoolExecutor(2) as pool:
        voice = pool.submit(ask, "/voice", spoken_to, "Nobody hears this.")
        gather = pool.submit(ask, "/gather", gathered, "Nor this.")
        voices.wait_asked(2)
        assert talk.client.get("/health").status_code == 200
        assert talk.client.hangup(other.id).status_code == 200
        other.whole()
        assert not voice.done() and not gather.done()
        voices.may_answer.set()
        unavailable(voice.result())
        unavailable(gather.result())

    assert {asked.path for asked in voices.asked} == {ENGINES[engine]}
    assert not talk.spoken_files() and not left_over(talk)
    metrics = talk.kaphila.metrics()
    assert metrics[f"kaphila_speech_{engine}_failed_total"] == 2
    assert metrics["kaphila_speech_unavailable_total"] == 2
    for call in (spoken_to, gathered):
        told = {event["event"].partition(".")[0] for event in call.hang_up()}
        assert not told & {"tts", "gather", "playback"}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_engine_falls_back(make_talk, voices, engine, mode):
    """An engine fails: the next one is heard, and nothing of the first is
    left."""
    voices.mode = mode
    timeout_ms = 2000 if mode == "hang" else 60000
    talk = make_talk(f"{engine},espeak", timeout_ms=timeout_ms)
    call = talk.answered("12")

    call.voice(TEXT)

    assert len(voices.asked) == 1
    metrics = talk.kaphila.metrics()
    assert metrics[f"kaphila_speech_{engine}_failed_total"] == 1
    assert metrics["kaphila_speech_espeak_made_total"] == 1
    assert not left_over(talk)
    call.wait("playback.finished", stopped=False)
    call.hang_up()
    check_heard(spoken(talk, set()), call.heard())


def test_workers_leave_a_dead_engine(make_talk, voices):
    """One text in many workers, and the first engine hangs: it is waited for
    once, not by each worker in its turn until the last one gives up."""
    voices.mode = "hang"
    talk = make_talk("google,espeak", workers=4, timeout_ms=5000)
    calls = [talk.answered("10") for _ in range(12)]

    def say(call):
        client = talk.kaphila.api(talk.key)
        body = {"callId": call.id, "text": TEXT}
        return client.post("/voice", json=body, timeout=120)

    with ThreadPoolExecutor(len(calls)) as pool:
        answers = list(pool.map(say, calls))

    assert [answer.status_code for answer in answers] == [200] * len(calls)
    assert talk.kaphila.metrics()["kaphila_speech_espeak_made_total"] == 1
    assert not left_over(talk)


def check_words(talk, voices, call, tmp_path):
    """What the server said is what was heard: once, and whole."""
    path = tmp_path / "words.wav"
    path.write_bytes(voices.wav())
    check_heard(audio.loudness(path), call.heard())
    check_heard(spoken(talk, set()), call.heard())


def test_google_speaks(make_talk, voices, tmp_path):
    """Google Cloud through the whole node: what it is asked, by its reference,
    and what is heard."""
    talk = make_talk("google,espeak")
    call = talk.answered("12", voiceName="en-GB-Neural2-B")

    call.voice(f'  {TEXT}\t"<b>" ')
    call.wait("playback.finished", stopped=False)
    call.hang_up()

    (asked,) = voices.asked
    assert asked.path == GOOGLE_PATH
    assert asked.headers["x-goog-api-key"] == "the-key"
    assert asked.headers["content-type"] == "application/json"
    assert asked.google() == {
        "input": {"text": f'{TEXT} "<b>"'},
        "voice": {"languageCode": "en-GB", "name": "en-GB-Neural2-B"},
        "audioConfig": {"audioEncoding": "LINEAR16", "sampleRateHertz": 8000},
    }
    assert talk.kaphila.metrics()["kaphila_speech_google_made_total"] == 1
    check_words(talk, voices, call, tmp_path)


def test_gtts_speaks(make_talk, voices, tmp_path):
    """gTTS's endpoint through the whole node, and what is heard."""
    talk = make_talk("gtts,espeak")
    call = talk.answered("12", voiceName="cmn-CN-Standard-A")

    call.voice('您好? "Dr. X" & 100%')
    call.wait("playback.finished", stopped=False)
    call.hang_up()

    (asked,) = voices.asked
    assert asked.path == GTTS_PATH
    assert asked.gtts() == ['您好?  "Dr X" & 100%', "zh-CN", None, "null"]
    assert (
        asked.headers["content-type"]
        == "application/x-www-form-urlencoded;charset=utf-8"
    )
    assert asked.headers["referer"] == "http://translate.google.com/"
    assert talk.kaphila.metrics()["kaphila_speech_gtts_made_total"] == 1
    check_words(talk, voices, call, tmp_path)


@pytest.mark.parametrize("engine", ["espeak", *sorted(ENGINES)])
def test_text_is_no_command(make_talk, engine, tmp_path):
    """No text reaches a shell, whichever engine and programs speak it."""
    talk = make_talk(engine)
    canary = tmp_path / "canary"
    text = f"$(touch {canary})`touch {canary}`; touch {canary}\ntouch {canary}"
    call = talk.answered("10")

    for said in (text, f"' {text} '", f'" {text} "', f"| touch {canary}"):
        call.voice(said)
    call.hang_up()

    made = talk.kaphila.metrics()[f"kaphila_speech_{engine}_made_total"]
    assert made == 4
    assert not canary.exists()


def test_before_the_answer(talk):
    """A call that rings takes no speech: 409, and nothing is played."""
    call = talk.place("04")
    call.wait("call.ringing")

    for response in (
        talk.client.voice(call.id, TEXT),
        talk.client.play(call.id, "beep"),
        talk.client.gather(call.id, text=TEXT),
    ):
        assert response.status_code == 409, response.text
        assert response.json()["code"] == "CALL_NOT_ANSWERED"

    kinds = {event["event"] for event in call.hang_up()}
    assert not kinds & {"tts.played", "playback.failed", "gather.started"}


def clear_answers(responses):
    """Whether each is a success, or says that there is no such call to talk
    to; the codes that came."""
    for response in responses:
        answer = response.json()
        if response.status_code == 200:
            assert answer["success"] is True
        else:
            assert (response.status_code, answer["code"]) in (
                (404, "CALL_NOT_FOUND"),
                (409, "CALL_NOT_ANSWERED"),
            ), response.text
    return {response.status_code for response in responses}


ASKS = {
    "voice": lambda client, call, n: client.voice(call.id, f"{TEXT} {n}"),
    "play": lambda client, call, n: client.play(call.id, "vm-intro"),
    "gather": lambda client, call, n: client.gather(
        call.id, text=f"Press {n}.", timeout=1000
    ),
}


@pytest.mark.parametrize("ask", sorted(ASKS))
def test_the_call_ends_in_the_middle(talk, ask):
    """08 hangs up by itself while it is talked to: every request has a clear
    answer, the last ones that the call is gone; nothing is left behind."""
    call = talk.place("08")
    call.wait("call.answered")
    answers = []

    def gone():
        answers.append(ASKS[ask](talk.client, call, len(answers)))
        return answers[-1].status_code == 404

    wait_until(gone, "the call to be gone", 30, 0.1)

    assert 200 in clear_answers(answers)
    call.whole()


@pytest.mark.parametrize("ask", sorted(ASKS))
def test_hung_up_while_it_is_asked(talk, ask):
    """/hangup and the request at the same moment, over and over."""
    for _ in range(5):
        call = talk.answered("10")
        client = talk.kaphila.api(talk.key)
        answers = []
        thread = threading.Thread(
            target=lambda c=call, a=answers, k=client: a.append(
                ASKS[ask](k, c, c.number)
            )
        )
        thread.start()
        hangup = talk.client.hangup(call.id)
        thread.join()
        assert hangup.status_code == 200, hangup.text
        clear_answers(answers)
        assert len(answers) == 1
        call.whole()


@pytest.mark.parametrize("text", ["...", "?!", "\u3002", "\u2026", "\u00ad"])
def test_nothing_to_speak(talk, text):
    """Not one that a retry would help: 400, for a gather's prompt too."""
    call = talk.answered("10")
    for response in (
        talk.client.voice(call.id, text),
        talk.client.gather(call.id, text=text),
    ):
        assert response.status_code == 400, response.text
        assert response.json()["code"] == "INVALID_PARAMETER"
    assert not call.events("gather.started")

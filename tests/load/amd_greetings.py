"""Greetings to measure answering machine detection with: spoken by the
synthesizers that Debian has (espeak-ng, flite, festival), brought into the form
that a phone gives them by sox. The same set at every run.

What a person says is followed by silence: it waits for an answer. Three in
five say no more than a word or two, as most do on a phone of their own. A
machine says more, and most beep at the end.
"""

import subprocess
import wave
from dataclasses import dataclass

RATE = 8000
TAIL_S = 9.0  # of silence behind what was said
LEVEL_DB = -6  # of the loudest sample
LATE_MS = 3000  # before the first word of those that are late

VOICES = (
    ("espeak-ng", "en-us"),
    ("flite", "slt"),
    ("espeak-ng", "en-gb+f2"),
    ("flite", "rms"),
    ("festival", "kal"),
    ("espeak-ng", "en-us+m3"),
    ("flite", "awb"),
    ("espeak-ng", "en-gb-scotland+f4"),
    ("flite", "kal16"),
    ("espeak-ng", "en-us+f5"),
)
# Milliseconds before the first word, and decibels of the noise, in turn: no
# common divisor, so that all meet all.
LEADS_MS = (250, 150, 500, 300, 800, 200, 1200)
NOISES_DB = (None, -60, None, -54, -50, None, -58, -47, -43)

PAUSES_S = (0.4, 0.6, 0.5)  # where a full stop stands by itself

TEXTS = {
    "human, a word": (
        "Hello?",
        "Hi.",
        "Yes?",
        "Hello.",
        "Yeah?",
        "Hello hello?",
        "Good morning.",
        "Hi there.",
        "Speaking.",
        "Who is it?",
        "Jones.",
        "Hallo?",
        "Hello there.",
        "Yes, hello.",
        "Hey.",
        "Good evening.",
        "Hello, yes?",
        "Who's there?",
    ),
    "human, a phrase": (
        "Hello, this is Martha.",
        "Hello, John speaking.",
        "Smith residence.",
        "Yes, hello, who is this?",
        "Hi, Peter here.",
        "Hello? Who's calling please?",
        "Good afternoon, Doctor Brown.",
        "Yes hello?",
    ),
    "human, an opening": (
        "Good morning, Acme plumbing, this is Sarah.",
        "Hello, Riverside Hotel, how can I help you?",
        "City dental practice, Laura speaking, good afternoon.",
        "Hi, you're speaking with Tom, how are you today?",
    ),
    "human, late": (
        "Hello?",
        "Hello, who is this?",
    ),
    "machine, late": (
        "You have reached the voicemail of Susan Parker. Please leave a "
        "message after the tone.",
        "Hi, this is John. Leave your name and number, please.",
        "The person you are calling is not available.",
        "Welcome to the mailbox of four one five, five five five, zero one "
        "nine nine.",
        "Please leave a message after the beep.",
    ),
    "machine, a greeting": (
        "Hi, you have reached the voicemail of Susan Parker. I can't come to "
        "the phone right now. Please leave a message after the tone.",
        "Hello, this is John. I'm not available at the moment, so please leave "
        "your name and number and I will call you back.",
        "You've reached five five five, zero one four two. Nobody is here to "
        "take your call. Please leave a message after the beep.",
        "Hey, it's Mike, you know what to do, leave me a message and I'll get "
        "back to you as soon as I can.",
        "Thank you for calling. Our office is now closed. Our opening hours "
        "are Monday to Friday from nine to five. Please call again.",
        "The person you are calling is not available. Please leave your "
        "message after the tone. When you have finished, hang up or press the "
        "hash key.",
        "Your call has been forwarded to an automatic voice message system. "
        "At the tone, please record your message.",
        "Hello, you're through to the Johnson family. We can't get to the "
        "phone just now. Leave a message and have a wonderful day.",
        "Welcome to the mailbox of four one five, five five five, zero one "
        "nine nine. Please record your message after the signal.",
        "Good day, this is the answering service of Doctor Brown. In an "
        "emergency, please hang up and dial nine one one.",
    ),
    "machine, with a pause": (
        "Hi. . This is Bob's phone. I'm away, please leave a message after "
        "the tone.",
        "Hello. . You have reached the office of Baker and Sons. Please leave "
        "a message.",
        "Hey, this is Anna. . I can't talk right now. Leave a message and I "
        "will call back.",
        "Hello? . Just kidding, I'm not here. Leave a message after the beep.",
        "Good afternoon. . All our agents are busy. Please leave your number "
        "and we will return your call.",
        "This is Carl. . Please leave your name, your number and a short "
        "message.",
    ),
    "machine, brief": (
        "Please leave a message after the tone.",
        "No one is available. Leave a message.",
        "You have reached voicemail. Record at the beep.",
        "Leave a message.",
        "The mailbox is full. Goodbye.",
        "The number you have dialled is not in service.",
        "Sorry, I missed your call. Leave a message.",
        "Please record your message.",
    ),
}


@dataclass
class Greeting:
    """One file; `kind` is a key of TEXTS."""

    number: int
    kind: str
    text: str
    voice: tuple
    lead_ms: int
    noise_db: float | None

    @property
    def wanted(self):
        """The right verdict."""
        return self.kind.partition(",")[0].upper()


def plan(rounds):
    """All greetings, each text `rounds` times, by another voice each time."""
    made = []
    for turn in range(rounds):
        for kind, texts in TEXTS.items():
            for text in texts:
                i = len(made)
                made.append(
                    Greeting(
                        i,
                        kind,
                        text,
                        VOICES[(i + 3 * turn) % len(VOICES)],
                        (
                            LATE_MS
                            if kind.endswith("late")
                            else LEADS_MS[i % len(LEADS_MS)]
                        ),
                        NOISES_DB[i % len(NOISES_DB)],
                    )
                )
    return made


def _run(*command, text=None):
    subprocess.run(
        [str(word) for word in command],
        input=text,
        text=True,
        capture_output=True,
        check=True,
        timeout=60,
    )


def _speak(voice, text, path):
    program, name = voice
    if program == "espeak-ng":
        _run("espeak-ng", "-v", name, "-s", 165, "-w", path, text)
    elif program == "flite":
        _run("flite", "-voice", name, "-t", text, "-o", path)
    else:
        _run("text2wave", "-o", path, text=text)


def _seconds(path):
    with wave.open(str(path)) as file:
        return file.getnframes() / file.getframerate()


def _parts(greeting, folder):
    """The file of each stretch of speech, and of each pause between two."""
    parts = []
    pause = PAUSES_S[greeting.number % len(PAUSES_S)]
    for i, text in enumerate(greeting.text.split(" . ")):
        raw, part = folder / "raw.wav", folder / f"part-{i}.wav"
        _speak(greeting.voice, text, raw)
        # Synthesizers put silence around what they say; a phone doesn't.
        trim = ("silence", 1, 0.02, "-50d", "reverse")
        _run(
            "sox", raw, "-r", RATE, "-c", 1, "-b", 16, part,
            "highpass", 250, "lowpass", 3400, *trim, *trim,
            "gain", "-n", LEVEL_DB,
            "pad", 0 if i == 0 else pause, 0,
        )  # fmt: skip
        parts.append(part)
    return parts


def make(greeting, folder, path):
    """Write one greeting's file.

    folder  for what is only needed meanwhile
    """
    said, clean, noise = (folder / f"{n}.wav" for n in ("a", "b", "noise"))
    parts = _parts(greeting, folder)
    if greeting.wanted == "MACHINE" and greeting.number % 4 != 3:
        beep = folder / "beep.wav"
        _run(
            "sox", "-r", RATE, "-n", "-b", 16, "-c", 1, beep,
            "synth", 0.4, "sine", 1000, "gain", -9, "pad", 0.5, 0,
        )  # fmt: skip
        parts.append(beep)
    _run("sox", *parts, said)
    _run("sox", said, clean, "pad", greeting.lead_ms / 1000, TAIL_S)
    if greeting.noise_db is None:
        clean.replace(path)
        return
    _run(
        "sox", "-R", "-r", RATE, "-n", "-b", 16, "-c", 1, noise,
        "synth", _seconds(clean), "pinknoise",
        "gain", "-n", 0, "gain", greeting.noise_db + 12,
    )  # fmt: skip
    _run("sox", "-m", "-v", 1, clean, "-v", 1, noise, path)

"""What was really heard: recordings compared by length, energy and the shape
of their loudness over time, which survives G.711, mixing and a shift in time.
"""

import wave
from dataclasses import dataclass

import numpy

WINDOW_MS = 80  # a packet that came late shifts the rest by 20 or 40
STEP_MS = 5  # finer than a packet: two plays need not begin in step with it
LOUD = 250.0  # RMS of a window, of 32,768; silence in G.711 is below 10
ALIKE = 0.85  # the likeness of the same; other words of over 1 s reach 0.75


@dataclass
class Match:
    """Where something was found in what was heard."""

    at_s: float  # where it begins
    likeness: float  # correlation of the two loudnesses there, -1..1
    energy_ratio: float  # of its mean square, heard over played


def read_wav(path):
    """(samples as floats, rate) of a mono 16-bit WAV. A header that was not
    finished, as of a file that is still written, is no obstacle."""
    with wave.open(str(path)) as wav:
        assert (wav.getnchannels(), wav.getsampwidth()) == (1, 2), path
        rate = wav.getframerate()
        data = wav.readframes(wav.getnframes())
    whole = data[: len(data) // 2 * 2]
    return numpy.frombuffer(whole, dtype="<i2").astype(float), rate


def loudness(path):
    """RMS of 80 ms at each 5 ms of a WAV."""
    samples, rate = read_wav(path)
    step = rate * STEP_MS // 1000
    per_window = WINDOW_MS // STEP_MS
    power = (samples[: len(samples) // step * step] ** 2).reshape(-1, step)
    sums = numpy.cumsum(numpy.concatenate(([0.0], power.mean(axis=1))))
    return numpy.sqrt((sums[per_window:] - sums[:-per_window]) / per_window)


def length_s(levels):
    """Of a list of loudness()."""
    return len(levels) * STEP_MS / 1000


def trim(levels):
    """Without the silence before and behind; empty if all is silent."""
    loud = numpy.flatnonzero(levels > LOUD)
    return levels[loud[0] : loud[-1] + 1] if len(loud) else levels[:0]


def loud_s(levels):
    """For how long it was loud, all in all."""
    return float((levels > LOUD).sum()) * STEP_MS / 1000


def _best_shift(played, heard):
    """(likeness, shift in steps) where the one is most like the other."""
    best = (-1.0, 0)
    wanted = played - played.mean()
    for at in range(len(heard) - len(played) + 1):
        window = heard[at : at + len(played)]
        other = window - window.mean()
        scale = numpy.sqrt((wanted**2).sum() * (other**2).sum())
        if scale:
            best = max(best, (float((wanted * other).sum() / scale), at))
    return best


def _piecewise(played, heard, at):
    """The likeness of second after second, each near to where it belongs: a
    sender that is short of time makes gaps, and shifts what comes behind."""
    size, slack = 1000 // STEP_MS, 300 // STEP_MS
    found, weights = [], []
    for begin in range(0, len(played), size):
        piece = played[begin : begin + size]
        if len(piece) < size // 2 or not (piece > LOUD).any():
            continue
        first = max(0, at + begin - slack)
        near = heard[first : at + begin + slack + len(piece)]
        found.append(_best_shift(piece, near)[0])
        weights.append(len(piece))
    return float(numpy.average(found, weights=weights)) if found else -1.0


def find(played, heard):
    """The Match of `played` in `heard`, both lists of loudness(): the shift at
    which they are most alike."""
    played = trim(played)
    assert len(played) > 10, "nothing was played that could be found"
    if len(heard) < len(played):
        heard = numpy.pad(heard, (0, len(played) - len(heard)))
    likeness, at = _best_shift(played, heard)
    window = heard[at : at + len(played)]
    return Match(
        at_s=at * STEP_MS / 1000,
        likeness=max(likeness, _piecewise(played, heard, at)),
        energy_ratio=float((window**2).sum() / (played**2).sum()),
    )


def find_all(played, heard, count):
    """The `count` best Matches that don't overlap, in the order of time."""
    heard, found = heard.copy(), []
    steps = len(trim(played))
    for _ in range(count):
        match = find(played, heard)
        first = round(match.at_s * 1000 / STEP_MS)
        heard[first : first + steps] = 0
        found.append(match)
    return sorted(found, key=lambda match: match.at_s)

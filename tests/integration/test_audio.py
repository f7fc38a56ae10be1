"""The comparison of sounds itself (harness/audio.py): what is the same is
found, shifted or with a gap, and what is not the same is not. No server is
needed."""

import wave

import numpy
import pytest
from harness import audio

RATE = 8000
SILENCE = numpy.zeros(RATE)


def words(seed, seconds=3.0):
    """Noise in syllables of random length and loudness, as samples."""
    random = numpy.random.default_rng(seed)
    parts = []
    while sum(map(len, parts)) < seconds * RATE:
        loud = random.normal(0, random.uniform(800, 6000), RATE)
        parts.append(loud[: random.integers(500, 2500)])
        parts.append(SILENCE[: random.integers(200, 1200)])
    return numpy.concatenate(parts)


@pytest.fixture
def levels(tmp_path):
    """levels(samples, …): their loudness, one behind the other, by way of a
    WAV file."""

    def write(*parts):
        path = tmp_path / "sound.wav"
        with wave.open(str(path), "wb") as wav:
            wav.setnchannels(1)
            wav.setsampwidth(2)
            wav.setframerate(RATE)
            samples = numpy.concatenate(parts).clip(-32768, 32767)
            wav.writeframes(samples.astype("<i2").tobytes())
        return audio.loudness(path)

    return write


def test_the_same_is_found_where_it_is(levels):
    """Behind a second of silence, out of step with the packets."""
    said = words(1)
    match = audio.find(levels(said), levels(SILENCE, SILENCE[:77], said))
    assert match.likeness > 0.99
    assert match.energy_ratio == pytest.approx(1, abs=0.02)
    assert match.at_s == pytest.approx(1.0, abs=0.1)


def test_a_gap_is_no_other_sound(levels):
    """60 ms of silence in the middle: still what was said."""
    said = words(1)
    gap = SILENCE[: RATE * 60 // 1000]
    half = len(said) // 2
    heard = levels(SILENCE, said[:half], gap, said[half:], SILENCE)
    match = audio.find(levels(said), heard)
    assert match.likeness > audio.ALIKE


@pytest.mark.parametrize("seed", range(2, 12))
def test_other_words_are_not_found(levels, seed):
    """Just as loud, just as long."""
    heard = levels(SILENCE, words(seed), SILENCE)
    assert audio.find(levels(words(1)), heard).likeness < audio.ALIKE


def test_a_part_is_not_the_whole(levels):
    """Cut in the middle."""
    said = words(1)
    heard = levels(SILENCE, said[: len(said) // 2], SILENCE, SILENCE)
    match = audio.find(levels(said), heard)
    assert match.likeness < audio.ALIKE or match.energy_ratio < 0.8


def test_two_are_found_in_order(levels):
    """Said twice, with other words between."""
    said = words(1)
    heard = levels(SILENCE, said, words(2), said, SILENCE)
    first, last = audio.find_all(levels(said), heard, 2)
    assert min(first.likeness, last.likeness) > 0.99
    between = audio.find(levels(words(2)), heard)
    assert first.at_s < between.at_s < last.at_s


def test_silence_has_no_sound(levels):
    """Nothing is loud in it."""
    assert audio.loud_s(levels(SILENCE)) == 0
    assert len(audio.trim(levels(SILENCE))) == 0

"""Say a text: voices, times of words, speed, a stream, files: `python examples/speak.py`."""

# Every section stands in the lesson beside its explanation and imports what it needs.

from contextlib import chdir
from tempfile import TemporaryDirectory

# --8<-- [start:load]
import borealis

model = borealis.load()
# --8<-- [end:load]

if not model.voices:
    print("The bundled model has no voices: it wasn't taught to speak.")
else:
    with TemporaryDirectory() as folder, chdir(folder):
        # --8<-- [start:say]
        speech = model.speak("Посылка весит 25 кг, её привезут в 18:30.")
        speech.save("parcel.wav")
        print(speech.spoken)
        # --8<-- [end:say]

        # --8<-- [start:mark]
        import av

        with av.open("parcel.wav") as file:
            print(file.metadata["comment"])
        # --8<-- [end:mark]

    # --8<-- [start:voices]
    for voice in model.voices:
        print(f"{voice.name}: {voice.language}, {voice.gender}")
    other = model.speak("Посылка уже в пути.", voice=model.voices[-1].name)
    # --8<-- [end:voices]

    # --8<-- [start:words]
    for word in speech.words[:4]:
        print(f"{word.start:5.2f} {word.end:5.2f} {word.text}")
    # --8<-- [end:words]

    # --8<-- [start:speed]
    fast = model.speak(speech.text, speed=2.0)
    print(f"{fast.duration / speech.duration:.2f}")
    # --8<-- [end:speed]

    # --8<-- [start:seed]
    import numpy as np

    again, another = model.speak(speech.text, seed=0), model.speak(speech.text, seed=1)
    print(np.array_equal(again.waveform, speech.waveform))
    print(np.array_equal(another.waveform, speech.waveform))
    # --8<-- [end:seed]

    # --8<-- [start:stream]
    samples = 0
    for part in model.speak_stream(speech.text):
        samples += len(part.waveform)  # here a player would take them
        for word in part.words:
            print(word.text, end=" ", flush=True)
    print(samples == len(speech.waveform))
    # --8<-- [end:stream]

    # --8<-- [start:left]
    print(model.speak("Спасибо 😀").left_out)
    # --8<-- [end:left]

    # --8<-- [start:refused]
    from textwrap import fill

    for text in ("", "你好", "<speak>Привет</speak>", "а" * 20_000):
        try:
            model.speak(text)
        except borealis.BorealisError as error:
            print(fill(str(error), 78))
    # --8<-- [end:refused]

    # --8<-- [start:answer]
    answer = model.ask("examples/audio/speech.flac", "Это речь или музыка?", speak=True)
    print(answer)
    # --8<-- [end:answer]

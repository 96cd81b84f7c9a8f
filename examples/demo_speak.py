"""The demo reads a text aloud for a program: `python examples/demo_speak.py`."""

from contextlib import chdir
from tempfile import TemporaryDirectory

import borealis

model = borealis.load()
if not model.voices:
    print("The bundled model has no voices: it wasn't taught to speak.")
else:
    with TemporaryDirectory() as folder, chdir(folder):
        # --8<-- [start:speak]
        import base64
        from pathlib import Path

        from gradio_client import Client

        import borealis
        from borealis.demo import running

        model = borealis.load()  # one with voices
        with running(model) as address:
            client = Client(f"{address}/demo/en/", verbose=False)
            said = client.predict("Train 25 leaves at 14:30.", "", 1.0, "mp3", api_name="/speak")
            Path("train.mp3").write_bytes(base64.b64decode(said["audio"]))
            print(said["spoken"])
        # --8<-- [end:speak]

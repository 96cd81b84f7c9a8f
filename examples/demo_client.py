"""The demo from a program, through gradio_client: `python examples/demo_client.py`."""

# --8<-- [start:client]
from gradio_client import Client, handle_file

from borealis.demo import running

recording = handle_file("examples/audio/speech.flac")
with running() as address:  # or the address of a demo that runs already
    client = Client(f"{address}/demo/en/", verbose=False)
    heard = client.predict(recording, api_name="/transcribe")
    print(heard["text"], heard["segments"][0]["words"][0])
    print(client.predict(recording, "vtt", api_name="/subtitles"))
    print(client.predict(recording, "What language is spoken?", [], api_name="/ask"))
    print(client.predict(recording, api_name="/look")["audio_tokens"], "audio tokens")
# --8<-- [end:client]

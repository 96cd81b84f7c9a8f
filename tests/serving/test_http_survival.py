"""Many clients, clients that leave, and a server that dies: the last of the HTTP tests."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import httpx
import pytest

from tests.conftest import AUDIO
from tests.serving.conftest import needs_vllm
from tests.serving.server import KEY, PLACES, Server, refused

pytestmark = [needs_vllm, pytest.mark.slow]


async def _post(client: Any, path: Any, **form: str) -> str:
    files = {"file": path.read_bytes()}
    answer = await client.post("/v1/audio/transcriptions", files=files, data=form)
    assert answer.status_code == 200, answer.text
    return answer.json()["text"]


def _async_client(server: Server) -> Any:
    limits = httpx.Limits(max_connections=200)
    headers = {"Authorization": f"Bearer {KEY}"}
    return httpx.AsyncClient(base_url=server.url, headers=headers, timeout=600, limits=limits)


def test_64_clients_at_once(server, clips, transcripts) -> None:
    paths = [AUDIO / clip.audio for clip in clips]
    expected = [transcript.text for transcript in transcripts]

    async def run() -> list[str]:
        async with _async_client(server) as client:
            return await asyncio.gather(*(_post(client, paths[i % len(paths)]) for i in range(64)))

    answers = asyncio.run(run())
    assert answers == [expected[i % len(paths)] for i in range(64)]


def test_many_clients_with_settings_of_their_own(server, clips, nano) -> None:
    """Parts of equal settings go in one batch, and nobody gets the text of another's."""
    settings: list[dict[str, Any]] = [
        {}, {"language": "ru"}, {"language": "en"}, {"hot_words": ("мороз", "полицмейстер")},
    ]  # fmt: skip
    paths = [AUDIO / clip.audio for clip in clips]
    expected = [[nano.transcribe(path, **one).text for path in paths] for one in settings]
    forms = [
        {"hotwords" if name == "hot_words" else name: ",".join(v) if name == "hot_words" else v
         for name, v in one.items()}
        for one in settings
    ]  # fmt: skip

    async def run() -> list[str]:
        async with _async_client(server) as client:
            return await asyncio.gather(
                *(_post(client, path, **form) for path in paths for form in forms)
            )

    answers = asyncio.run(run())
    assert answers == [texts[i] for i in range(len(paths)) for texts in expected]


def test_clients_that_leave_disturb_nobody(server, clips, long, transcripts) -> None:
    paths = [AUDIO / clip.audio for clip in clips]
    expected = [transcript.text for transcript in transcripts]

    async def leave(client: Any, stream: bool) -> None:
        form = {"stream": "true"} if stream else {}
        request = ("POST", "/v1/audio/transcriptions")
        with contextlib.suppress(
            TimeoutError
        ):  # an answer that isn't streamed is left by the clock
            async with asyncio.timeout(1.0):
                async with client.stream(*request, files={"file": long}, data=form) as answer:
                    async for _ in answer.aiter_lines():
                        return  # the first piece, and away

    async def run() -> list[str]:
        async with _async_client(server) as client:
            leavers = [leave(client, stream) for stream in (True, False) * 4]
            answers = asyncio.gather(*(_post(client, path) for path in paths))
            await asyncio.gather(*leavers)
            return await answers

    assert asyncio.run(run()) == expected
    # What the leavers asked for isn't worked on any more.
    with httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {KEY}"}) as client:
        for _ in range(100):
            metrics = client.get("/metrics").text
            lines = [x for x in metrics.splitlines() if x.startswith("borealis:parts_")]
            if all(line.endswith(" 0.0") for line in lines):
                break
        assert len(lines) == 2 and all(line.endswith(" 0.0") for line in lines)


def test_beyond_its_places_clients_are_sent_away_and_told_when_to_come(
    server, long, speech
) -> None:
    places = int(PLACES)

    async def run() -> tuple[list[Any], str]:
        async with _async_client(server) as client:
            form = {"response_format": "verbose_json"}
            tasks = {
                asyncio.ensure_future(
                    client.post("/v1/audio/transcriptions", files={"file": long}, data=form)
                )
                for _ in range(places + 25)
            }
            # All but those that are refused wait long enough for the refusals to come first.
            done: set[Any] = set()
            while sum(task.result().status_code == 503 for task in done) < 5:
                assert tasks
                now, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                done |= now
            for task in tasks:  # the others leave
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for _ in range(100):  # until the server has noticed
                files = {"file": speech.read_bytes()}
                answer = await client.post("/v1/audio/transcriptions", files=files)
                if answer.status_code == 200:
                    break
            return [task.result() for task in done], answer.json()["text"]

    answers, text = asyncio.run(run())
    assert text
    refusals = [answer for answer in answers if answer.status_code != 200]
    for answer in refusals:
        refused(answer, 503)
        assert answer.json()["error"]["code"] == "overloaded"
        assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert len(answers) - len(refusals) < places


def test_a_dead_worker_ends_the_server_with_a_code_and_it_can_be_started_again(
    server, http, speech
) -> None:
    files = {"file": speech.read_bytes()}
    before = http.post("/v1/audio/transcriptions", files=files).json()["text"]
    server.kill_worker()
    assert server.wait() == 1
    with pytest.raises(httpx.TransportError):
        http.post("/v1/audio/transcriptions", files=files)
    server.start()
    assert http.post("/v1/audio/transcriptions", files=files).json()["text"] == before
    assert server.stop() == 0

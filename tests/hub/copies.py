"""Small copies of the datasets that entries name: their columns, splits and places of files.

Rows are of our own recordings. The columns are those that cards and code of others name; what
nobody names isn't made up.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import yaml
from datasets import Audio, ClassLabel, Features, List, Value
from pyarrow import parquet

from borealis.data.manifest import Utterance
from tests.hub.server import Hub

TEXT = Value("string")
CONVERTED = "refs/convert/parquet"
TAG = "<|start_of_audio|><|end_of_audio|>"


def table(features: Features, rows: Sequence[Mapping[str, Any]], group: int | None = None) -> bytes:
    """A parquet file as the hub has them: the schema carries the features."""
    out = io.BytesIO()
    columns = {name: [row.get(name) for row in rows] for name in features}
    made = pyarrow.table(columns, schema=features.arrow_schema)
    parquet.write_table(made, out, row_group_size=group)
    return out.getvalue()


def recording(clip: Utterance) -> dict[str, Any]:
    """A recording as a cell of parquet."""
    path = Path(clip.audio)
    return {"bytes": path.read_bytes(), "path": path.name}


def plain(text: str) -> str:
    """A text as corpora without marks have it."""
    return "".join(c for c in text.lower() if c.isalnum() or c == " ")


def card(**meta: Any) -> bytes:
    """README.md with a head."""
    return f"---\n{yaml.safe_dump(meta)}---\n\n# A copy\n".encode()


def configurations(places: Mapping[str, Mapping[str, str]]) -> list[dict[str, Any]]:
    """The part of a card that says which files belong to which configuration and split."""
    return [
        {
            "config_name": name,
            "data_files": [{"split": split, "path": path} for split, path in splits.items()],
        }
        for name, splits in places.items()
    ]


def fill(hub: Hub, clips: Sequence[Utterance]) -> None:
    """Put all copies on the hub."""
    _common_voice(hub, clips)
    _golos(hub, clips)
    _ruls(hub, clips)
    _fleurs(hub, clips)
    _tone(hub, clips)
    _questions(hub, clips)
    _grandmaster(hub)


def _common_voice(hub: Hub, clips: Sequence[Utterance]) -> None:
    names = (
        "client_id path audio sentence up_votes down_votes age gender accent locale segment variant"
    )
    features = Features({name: TEXT for name in names.split()})
    features |= {"audio": Audio(sampling_rate=48000), "up_votes": Value("int64")}
    features["down_votes"] = Value("int64")
    features = Features(features)
    genders = ("male_masculine", "female_feminine", "")
    files, places = {}, {}
    for language in ("ru", "en"):
        rows = [
            {
                "client_id": f"{language}-{number}",
                "path": Path(clip.audio).name,
                "audio": recording(clip),
                "sentence": clip.text,
                "up_votes": 2,
                "down_votes": 0,
                "gender": genders[number % 3],
                "locale": language,
            }
            for number, clip in enumerate(clips)
        ]
        for split in ("train", "test", "validation"):
            files[f"{language}/{split}-00000-of-00001.parquet"] = table(features, rows)
        places[language] = {s: f"{language}/{s}-*" for s in ("train", "test", "validation")}
    files["README.md"] = card(configs=configurations(places), license="cc0-1.0")
    hub.put("dataset", "fixie-ai/common_voice_17_0", files)


def _golos(hub: Hub, clips: Sequence[Utterance]) -> None:
    features = Features({"audio": Audio(sampling_rate=16000), "transcription": TEXT})
    rows = [{"audio": recording(c) | {"path": None}, "transcription": plain(c.text)} for c in clips]
    data = table(features, rows)
    for name in ("sberdevices_golos_10h_crowd", "sberdevices_golos_100h_farfield"):
        splits = ("train", "validation", "test")
        files = {f"data/{split}-00000-of-00001.parquet": data for split in splits}
        hub.put("dataset", f"bond005/{name}", files | {"README.md": card(license="other")})
    features = Features({"audio": Audio(), "text": TEXT, "original_text": TEXT})
    rows = [
        {"audio": recording(c), "text": c.text, "original_text": plain(c.text)} for c in clips
    ] + [{"audio": recording(clips[0]), "text": None, "original_text": "шум"}]
    files = {f"{name}/train-00000-of-00001.parquet": table(features, rows) for name in _DOMAINS}
    places = {name: {"train": f"{name}/train-*"} for name in _DOMAINS}
    files["README.md"] = card(configs=configurations(places))
    hub.put("dataset", "Vikhrmodels/ToneGolosOpus", files)


_DOMAINS = ("Crowd", "Farfield")


def _ruls(hub: Hub, clips: Sequence[Utterance]) -> None:
    features = Features(
        {"audio": Audio(sampling_rate=16000), "text": TEXT, "text_no_preprocessing": TEXT}
    )
    rows = [
        {"audio": recording(c), "text": plain(c.text), "text_no_preprocessing": c.text}
        for c in clips
    ]
    # Two files of train, so that a stream needn't fetch the second.
    files = {
        "data/train-00000-of-00002.parquet": table(features, rows[:2]),
        "data/train-00001-of-00002.parquet": table(features, rows[2:]),
        "data/test-00000-of-00001.parquet": table(features, rows),
        "data/validation-00000-of-00001.parquet": table(features, rows),
        "README.md": card(license="cc-by-4.0"),
    }
    hub.put("dataset", "istupakov/russian_librispeech", files)


def _fleurs(hub: Hub, clips: Sequence[Utterance]) -> None:
    features = Features(
        {
            "id": Value("int32"),
            "num_samples": Value("int32"),
            "path": TEXT,
            "audio": Audio(sampling_rate=16000),
            "transcription": TEXT,
            "raw_transcription": TEXT,
            "gender": ClassLabel(names=["male", "female", "other"]),
            "lang_id": ClassLabel(names=["en_us", "ru_ru"]),
            "language": TEXT,
            "lang_group_id": ClassLabel(names=["western_european_we", "eastern_european_ee"]),
        }
    )
    files = {}
    for number, (name, language) in enumerate((("en_us", "English"), ("ru_ru", "Russian"))):
        rows = [
            {
                "id": row,
                "num_samples": round(clip.duration * 16000),
                "path": Path(clip.audio).name,
                "audio": recording(clip),
                "transcription": plain(clip.text),
                "raw_transcription": clip.text,
                "gender": row % 3,
                "lang_id": number,
                "language": language,
                "lang_group_id": number,
            }
            for row, clip in enumerate(clips)
        ]
        for split in ("train", "validation", "test"):
            files[f"{name}/{split}/0000.parquet"] = table(features, rows)
    script = b"import datasets\n\nraise SystemExit('code of others was run')\n"
    hub.put("dataset", "google/fleurs", {"README.md": card(license="cc-by-4.0"), "fleurs.py": script})  # fmt: skip
    hub.put("dataset", "google/fleurs", files, CONVERTED)


def _tone(hub: Hub, clips: Sequence[Utterance]) -> None:
    features = Features({"audio": Audio(), "text": TEXT})
    rows = [{"audio": recording(clip), "text": clip.text} for clip in clips]
    for name in ("ToneBooksPlus", "ToneWebinars", "ToneRuLS"):
        files = {"data/train-00000-of-00001.parquet": table(features, rows), "README.md": card()}
        hub.put("dataset", f"Vikhrmodels/{name}", files)
    features = Features(features | {"text_description": TEXT, "voice_name": TEXT})
    more = {"text_description": "Спокойный голос.", "voice_name": "alloy"}
    data = table(features, [row | more for row in rows])
    files = {f"data/{split}-00000-of-00001.parquet": data for split in ("train", "validation")}
    hub.put("dataset", "Vikhrmodels/ToneSpeak", files | {"README.md": card(license="apache-2.0")})


def _questions(hub: Hub, clips: Sequence[Utterance]) -> None:
    features = Features({"audio": Audio(), "question": TEXT, "answer": TEXT})
    rows = [
        {"audio": recording(c), "question": f"О чём речь? {TAG}", "answer": c.text} for c in clips
    ]
    data = {"data/train-00000-of-00001.parquet": table(features, rows), "README.md": card()}
    hub.put("dataset", "Vikhrmodels/Speech-Instructions", data)
    features = Features(
        {
            **features,
            "text": TEXT,
            "task_type": TEXT,
            "conversations": TEXT,
            "voice_name": TEXT,
        }
    )
    rows = [
        {
            "audio": recording(clip),
            "text": clip.text,
            "question": f"Перескажи содержание аудио. {('[AUDIO]', TAG)[number % 2]}",
            "answer": f"В записи говорится: {clip.text}",
            "task_type": "summarization",
            "conversations": "[]",
            "voice_name": "reader",
        }
        for number, clip in enumerate(clips)
    ]
    data = {"data/train-00000-of-00001.parquet": table(features, rows), "README.md": card()}
    hub.put("dataset", "Vikhrmodels/AudioBooksInstructGemini2.5", data)


def _grandmaster(hub: Hub) -> None:
    features = Features({"conversation": List({"content": TEXT, "role": TEXT})})
    talk = [{"content": "Привет", "role": "user"}, {"content": "Здравствуйте.", "role": "bot"}]
    data = table(features, [{"conversation": talk}, {"conversation": [*talk, *talk]}])
    files = {f"data/{split}-00000-of-00001.parquet": data for split in ("train", "test")}
    hub.put("dataset", "Vikhrmodels/GrandMaster-PRO-MAX", files | {"README.md": card()})


# ---- other layouts ----


def folder_of_recordings(clips: Sequence[Utterance], column: str = "text") -> dict[str, bytes]:
    """A folder of recordings with a table beside them."""
    files = {f"train/{n}.flac": Path(c.audio).read_bytes() for n, c in enumerate(clips)}
    lines = [f'{n}.flac,"{c.text}"' for n, c in enumerate(clips)]
    files["train/metadata.csv"] = "\n".join([f"file_name,{column}", *lines]).encode()
    return files


def archive(clips: Sequence[Utterance]) -> dict[str, bytes]:
    """A tar archive in which files of one name are one example (WebDataset)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for number, clip in enumerate(clips):
            said = yaml.safe_dump({"text": clip.text}).encode()
            meta = f'{{"text": "{clip.text}", "speaker": "s{number}"}}'.encode()
            for suffix, content in (
                ("flac", Path(clip.audio).read_bytes()),
                ("json", meta),
                ("yaml", said),
            ):
                info = tarfile.TarInfo(f"{number:05d}.{suffix}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return {"train/00000.tar": out.getvalue()}

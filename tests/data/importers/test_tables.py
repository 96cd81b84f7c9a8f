"""Tables and JSON: encodings, what stands between columns, names of columns, folders of corpora."""

from __future__ import annotations

import json

import pytest

from borealis.data.importers.rows import ImportProblem
from borealis.data.importers.text_files import decode

TABLE = "audio{0}text\na.flac{0}Раз, два\nb.wav{0}Три\n"


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "cp1251", "utf-16", "utf-16-be", "koi8-r", "cp866"]
)
@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_tables_of_any_encoding_and_delimiter_are_read_and_told(folder, run, encoding, delimiter):
    (folder / "t.csv").write_bytes(TABLE.format(delimiter).encode(encoding))
    done = run(folder / "t.csv")
    assert done.texts == ["Раз, два", "Три"]
    shown = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}[delimiter]
    assert f"between columns: {shown}" in done.out
    name = {"utf-8": "UTF-8", "utf-8-sig": "UTF-8 with a byte order mark"}.get(encoding, encoding)
    assert ("UTF-16" if encoding.startswith("utf-16") else name) in done.out


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Он отворил дверь и вышел в прихожую.", "cp1251"),
        ("он отворил дверь и вышел в прихожую", "koi8-r"),
        ("ОН ОТВОРИЛ ДВЕРЬ И ВЫШЕЛ В ПРИХОЖУЮ", "cp1251"),
        ("Он сказал: «Хорошо», — и вышел.", "cp1251"),
        ("Он отворил дверь", "cp866"),
        ("The café was naïve, said André.", "cp1252"),
    ],
)
def test_old_encodings_are_told_by_what_words_look_like(text, encoding):
    assert decode(text.encode(encoding), "t") == (text, encoding)


@pytest.mark.parametrize(
    "data",
    [bytes(range(256)), b"\x00\x01\x02", b"RIFF\x00\x00", b"\xff\xfe\x00"],
)
def test_what_is_no_text_is_refused(data):
    with pytest.raises(ImportProblem, match="'t'"):
        decode(data, "t")


def test_an_encoding_can_be_named(folder, run):
    (folder / "t.csv").write_bytes(TABLE.format(",").replace("Раз, два", "Да").encode("cp1251"))
    assert run(folder / "t.csv", "--encoding", "cp1251").texts == ["Да", "Три"]
    done = run(folder / "t.csv", "--encoding", "utf-8", "--replace")
    assert done.code == 2 and "isn't text in utf-8" in done.error


def test_voice_gender_and_language_are_taken_and_other_columns_told(folder, run):
    (folder / "t.tsv").write_text(
        "client_id\tpath\tsentence\tgender\tlocale\tage\n"
        'v1\ta.flac\tОн сказал: "да".\tfemale_feminine\tru\ttwenties\n'
        "v2\tb.wav\tThree.\tм\ten-US\t\n"
        "v3\tb.wav\tTrois.\t\tfr\t\n",
        encoding="utf-8",
    )
    done = run(folder / "t.tsv")
    first, second = done.items
    assert (first.voice, first.gender, first.language) == ("v1", "female", "ru")
    assert (second.voice, second.gender, second.language) == ("v2", "male", "en")
    assert first.text == 'Он сказал: "да".', "quotation marks belong to a text with tabs around"
    assert "audio = path, text = sentence, voice = client_id" in done.out
    assert "not used: age" in done.out
    assert "a language that isn't Russian or English: 1" in done.out
    assert "2 clips" in done.out and "2 voices" in done.out


def test_columns_with_names_of_their_own_can_be_named(folder, run):
    (folder / "t.csv").write_text("id,words\na,Раз\nb,Два\n", encoding="utf-8")
    refused = run(folder / "t.csv", "--column", "audio=nothing")
    assert refused.code == 2
    done = run(folder / "t.csv", "--column", "audio=id", "--column", "text=words")
    assert done.texts == ["Раз", "Два"], "the suffix of the recording is found"
    assert run(folder / "t.csv", "--column", "audio").code == 2


def test_a_column_that_is_not_there_is_told(folder, run):
    (folder / "t.csv").write_text("audio,text\na.flac,Раз\n", encoding="utf-8")
    done = run(folder / "t.csv", "--column", "voice=who")
    assert done.code == 2 and "no such column; there are audio, text" in done.error


def test_a_table_without_names_as_of_ljspeech(folder, run):
    (folder / "wavs").mkdir()
    (folder / "a.flac").rename(folder / "wavs" / "LJ-1.flac")
    (folder / "b.wav").rename(folder / "wavs" / "LJ-2.wav")
    (folder / "metadata.csv").write_text(
        'LJ-1|In 1999 he said "yes".|In nineteen ninety nine he said "yes".\nLJ-2|Two.|Two.\n'
    )
    done = run(folder, "--language", "en")
    assert done.texts[0] == 'In nineteen ninety nine he said "yes".'
    assert {item.language for item in done.items} == {"en"}
    assert "no line of names" in done.out and "vertical bars" in done.out


def test_a_list_of_path_speaker_and_text(folder, run):
    (folder / "list.csv").write_text("a.flac|anna|Раз два\nb.wav|ivan|Три\n", encoding="utf-8")
    assert [(i.voice, i.text) for i in run(folder / "list.csv").items] == [
        ("anna", "Раз два"),
        ("ivan", "Три"),
    ]


def test_windows_paths_and_columns_in_russian(folder, run):
    (folder / "sub").mkdir()
    (folder / "a.flac").rename(folder / "sub" / "a.flac")
    (folder / "t.csv").write_bytes(
        "Файл;Текст;Диктор;Пол\nsub\\a.flac;Раз;Анна;ж\n".encode("cp1251")
    )
    (item,) = run(folder / "t.csv").items
    assert (item.text, item.voice, item.gender) == ("Раз", "Анна", "female")


def test_columns_of_times_cut_a_recording(folder, run, seconds):
    (folder / "t.csv").write_text(
        'file,text,start,end\na.flac,Раз,0.5,2\na.flac,Два,"2,5",4\na.flac,Три,x,5\n',
        encoding="utf-8",
    )
    done = run(folder / "t.csv")
    assert done.texts == ["Раз", "Два"], "rows of a table aren't joined"
    assert [seconds(item) for item in done.items] == pytest.approx([1.5, 1.5])
    assert "'start' is 'x', seconds are wanted" in done.out


def test_a_quotation_mark_left_open_in_the_names_is_told(folder, run):
    (folder / "t.csv").write_text('audio;"text\na.flac;Раз\n', encoding="utf-8")
    done = run(folder / "t.csv")
    assert done.code == 2 and "line 1: a quotation mark is left open" in done.error
    (folder / "t.csv").write_text('audio;"text\n' + "а" * 200_000, encoding="utf-8")
    assert "line 1: field larger" in run(folder / "t.csv").error


def test_rows_that_cannot_be_used_are_counted(folder, run):
    (folder / "t.csv").write_text(
        "audio,text\na.flac,Раз\nb.wav,\nnone.wav,Два\n,Три\na.flac,Да, нет\n", encoding="utf-8"
    )
    done = run(folder / "t.csv")
    assert done.texts == ["Раз"]
    for words in (
        "line 3: ",
        "there is no file 'none.wav'",
        "line 5 names no recording",
        "line 6 has more fields",
        "4 skipped",
    ):
        assert words in done.out


def test_all_that_is_skipped_is_in_a_file(folder, run, tmp_path):
    rows = "".join(f"none-{n}.wav,Раз\n" for n in range(30))
    (folder / "t.csv").write_text(f"audio,text\na.flac,Раз\n{rows}", encoding="utf-8")
    done = run(folder / "t.csv")
    assert "skipped: 20 more, all in" in done.out and "30 skipped" in done.out
    assert (
        len((tmp_path / "out" / "train.skipped.txt").read_text(encoding="utf-8").splitlines()) == 30
    )


def test_a_manifest_of_nemo_with_offsets(folder, run, seconds):
    rows = [
        {"audio_filepath": str(folder / "a.flac"), "duration": 5.81, "text": "раз"},
        {"audio_filepath": "b.wav", "offset": 1.0, "duration": 2.0, "text": "два", "speaker": "s"},
    ]
    (folder / "nemo.json").write_text("\n".join(map(json.dumps, rows)))
    done = run(folder / "nemo.json")
    assert done.texts == ["раз", "два"] and done.items[1].voice == "s"
    assert seconds(done.items[1]) == pytest.approx(2.0)
    assert done.items[0].audio == str(folder / "a.flac"), "what is whole isn't copied"


def test_our_own_manifests_keep_their_keys(folder, run):
    rows = [
        {"audio": "a.flac", "text": "Раз.", "question": "Кто?", "answer": "Он.", "voice": "v"},
        {
            "audio": "b.wav",
            "kind": "noise",
            "question": "Что это?",
            "answer": "Шум.",
            "language": "",
        },
        {"messages": [{"role": "user", "content": "Да?"}, {"role": "assistant", "content": "Да."}]},
        {"audio": "a.flac", "text": "Раз.", "kind": "song"},
        {"audio": "a.flac", "text": ["Раз."]},
        {"audio": 5, "text": "Раз."},
        [1],
    ]
    (folder / "m.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n{broken\n")
    done = run(folder / "m.jsonl")
    assert [i.answer for i in done.items] == ["Он.", "Шум.", ""]
    assert done.items[1].kind == "noise" and done.items[2].messages and not done.items[2].audio
    assert "5 skipped" in done.out and "kind is 'song'" in done.out


@pytest.mark.parametrize("text", ["", "[" * 100_000, "{}", "nothing\n", '{"a": 1}', "[1, 2]"])
def test_json_that_is_of_no_use_is_told(folder, run, text):
    (folder / "m.json").write_text(text)
    assert run(folder / "m.json").code == 2


def test_an_audiofolder_gives_a_manifest_for_each_split(folder, run):
    for split, name in (("train", "a.flac"), ("test", "b.wav")):
        (folder / split).mkdir()
        (folder / name).rename(folder / split / name)
        (folder / split / "metadata.jsonl").write_text(
            json.dumps({"file_name": name, "transcription": split})
        )
    done = run(folder)
    assert {name: [i.text for i in items] for name, items in done.manifests.items()} == {
        "train": ["train"],
        "test": ["test"],
    }


def test_an_audiofolder_with_one_table_for_all_splits(folder, run):
    (folder / "validation").mkdir()
    (folder / "b.wav").rename(folder / "validation" / "b.wav")
    (folder / "metadata.csv").write_text(
        "file_name,text\na.flac,Раз\nvalidation/b.wav,Два\n", encoding="utf-8"
    )
    done = run(folder, "--name", "mine")
    assert run(folder / "validation", "--name", "x").code == 2, "no text lies there"
    assert {n: [i.text for i in items] for n, items in done.manifests.items()} == {
        "mine.train": ["Раз"],
        "mine.validation": ["Два"],
    }


def test_tables_beside_recordings_without_texts_are_named(folder, run):
    (folder / "validated.tsv").write_text("path\tsentence\n")
    done = run(folder)
    assert done.code == 2 and "No usable recording" in done.error
    for path in folder.glob("*.[fw]*"):
        path.unlink()
    done = run(folder)
    assert done.code == 2 and "validated.tsv" in done.error

"""A table for each result file, in Russian and English, with what stands behind its numbers.

Under every table is a note: commit and weights, machine and threads, how the model decoded and how
the peer did. A target was set before the measurement; where it is a ratio of two speeds of one
run, the row says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from borealis.evaluation.tasks import CLOSED
from tools.site.freshness import GROUPS, SHOWN, ReportError, Results, Words

NONE = "–"
_SPACE = "\N{NO-BREAK SPACE}"  # a number keeps its unit on a narrow screen
NOT_MEASURED = {"en": "This hasn't been measured yet.", "ru": "Это пока не измерено."}
MET, MISSED = "✓", "✗"
# Parameters of Whisper base as its authors give them (Radford et al., 2022).
PEER_PARAMETERS = 74e6

Rows = list[list[str]]

SETS = {
    "test": ("known speaker, 60 new utterances", "знакомый диктор, 60 новых фраз"),
    "unseen": ("a voice that wasn't in training", "голос, которого не было в обучении"),
    "synthetic": ("synthetic speech, new texts", "синтезированная речь, новые тексты"),
    "english": ("English synthetic speech", "английская синтезированная речь"),
}
# Largest word error rates, by set.
RATE_TARGETS = {"test": 0.177, "unseen": 0.255}
TASKS = {
    "language": ("language", "язык"),
    "voice": ("man or woman", "мужчина или женщина"),
    "sound": ("kind of sound", "что за звук"),
    "word_present": ("is a word said", "сказано ли слово"),
    "first_word": ("first word", "первое слово"),
    "last_word": ("last word", "последнее слово"),
    "word_count": ("number of words", "число слов"),
}
_KINDS = {
    "silence": ("silence", "тишина"),
    "noise": ("noise", "шум"),
    "music": ("music", "музыка"),
}
_STRATEGIES = {
    "beam search": "лучевой поиск",
    "ctc prefix beam search": "лучевой поиск по CTC",
    "greedy": "жадно",
}


def group_table(record: dict[str, Any], group: str, language: str) -> str:
    """The table of one result file and the note on it."""
    russian = language == "ru"
    table = markdown(_TABLES[group](record, russian))
    return f"{table}\n\n{made(record, group, language)}"


def detail(results: Results, group: str, language: str) -> str:
    """The table of one group, or what has to be done to get it.

    Args:
        results: see `freshness.load_results`.
        group: one of `freshness.GROUPS`.
        language: `en` or `ru`.

    Raises:
        ReportError: there is no such group.
    """
    if group not in _TABLES:
        raise ReportError(f"There is no table of '{group}'; there are {', '.join(_TABLES)}.")
    reason = results.missing(group)
    if reason is None:
        return f"{group_table(results.groups[group], group, language)} {marks_note(language)}"
    return again(group, reason, language)


def again(group: str, reason: Words, language: str) -> str:
    """A sentence that stands where the table of a group would."""
    command = GROUPS[group].command
    if language == "ru":
        return f"Нужно измерить: `{command}` ({reason[1]})."
    return f"To be measured: `{command}` ({reason[0]})."


# ---- the tables ----


def _transcription(record: dict[str, Any], russian: bool) -> Rows:
    rows = [head("WER / CER, %", "WER / CER, %", russian=russian)]
    for name, m in record["metrics"].items():
        if m["word_error_rate"] is None:
            continue
        title = SETS.get(name, (name, name))[russian]
        peer = rates(m["peer"], russian) if "peer" in m else NONE
        rows.append([title, rates(m, russian), peer, rate_target(name, m, russian, "WER ")])
    count = record["model"]["parameters"]
    title = "параметры" if russian else "parameters"
    target = goal(f"< {millions(45e6, russian)}", count < 45e6)
    rows.append([title, millions(count, russian), millions(PEER_PARAMETERS, russian), target])
    return rows


def _questions(record: dict[str, Any], russian: bool) -> Rows:
    metrics = record["metrics"]
    tasks, asked = metrics["tasks"], metrics["questions"]
    rows = [
        ["Вопросы", "Задано", "Верно, %", "Цель"]
        if russian
        else ["Questions", "Asked", "Right, %", "Target"]
    ]
    mean = metrics["balanced_accuracy"]
    title = "все, в среднем по видам" if russian else "all, mean of the kinds"
    target = goal("≥ 85", mean >= 0.85)
    rows.append([title, str(sum(asked.values())), percent(mean, russian), target])
    closed = [task for task in tasks if task in CLOSED]
    if closed:
        title = "ответ из нескольких, в среднем" if russian else "one answer of a few, mean"
        count = str(sum(asked[task] for task in closed))
        value = percent(sum(tasks[task] for task in closed) / len(closed), russian)
        rows.append([title, count, value, NONE])
    for task, score in tasks.items():
        title = "· " + TASKS.get(task, (task, task))[russian]
        rows.append([title, str(asked[task]), percent(score, russian), NONE])
    return rows


def _sounds(record: dict[str, Any], russian: bool) -> Rows:
    metrics = record["metrics"]
    each = metrics["seconds_each"] / 60
    title = "Слов, записанных за {:g} мин" if russian else "Words written over {:g} min"
    rows = [head(title.format(each), title.format(each), russian=russian)]
    for name, kind in metrics["kinds"].items():
        peer = str(kind["peer"]["words"]) if "peer" in kind else NONE
        rows.append([_KINDS.get(name, (name, name))[russian], str(kind["words"]), peer, NONE])
    words, theirs = invented(metrics)
    rows.append(["всего" if russian else "in all", str(words), theirs, silence_target(words)])
    return rows


def _words(record: dict[str, Any], russian: bool) -> Rows:
    m = record["metrics"]
    error, calibration = m["start_error_seconds"], m["calibration_error"]
    titles = (
        ("начало слова мимо метки фонем, медиана", "word start off the phone label, median"),
        ("то же, 95 % слов", "the same, 95 % of words"),
        ("ошибка калибровки уверенности", "calibration error of confidences"),
        ("верных слов, %", "words that are right, %"),
    )
    titles_of = [title[not russian] for title in titles]
    median, most = round(1000 * error["median"]), round(1000 * error["p95"])
    return [
        _measured(russian),
        [
            titles_of[0],
            unit(str(median), "ms", russian),
            goal("≤ " + unit("80", "ms", russian), median <= 80),
        ],
        [
            titles_of[1],
            unit(str(most), "ms", russian),
            goal("≤ " + unit("250", "ms", russian), most <= 250),
        ],
        [
            titles_of[2],
            number(calibration, 3, russian),
            goal(f"≤ {number(0.05, 2, russian)}", calibration <= 0.05),
        ],
        [titles_of[3], percent(m["right"], russian), NONE],
    ]


def _speed(record: dict[str, Any], russian: bool) -> Rows:
    m = record["metrics"]
    peer = m.get("peer")
    rows = [head("Recordings of a minute", "Записи по минуте", russian=russian)]
    title = "быстрее реального времени, раз" if russian else "times real time"
    theirs = times(peer, russian) if peer else NONE
    rows.append([title, times(m, russian), theirs, speed_target(m, peer, russian)])
    same = "WER тех же расшифровок, %" if russian else "WER of the same transcripts, %"
    error = percent(peer["word_error_rate"], russian) if peer else NONE
    rows.append([same, percent(m["word_error_rate"], russian), error, NONE])
    if half := m.get("bfloat16"):
        small = m.get("peer_int8")
        titles = (
            "с округлёнными весами, раз: у nano bfloat16, у Whisper int8",
            "with rounded weights, times: nano's in bfloat16, Whisper's in int8",
        )
        theirs = times(small, russian) if small else NONE
        error = percent(small["word_error_rate"], russian) if small else NONE
        target = speed_target(half, small, russian)
        rows.append([titles[not russian], times(half, russian), theirs, target])
        rows.append([same, percent(half["word_error_rate"], russian), error, NONE])
    if busy := m.get("busy"):
        titles = (
            "медленнее, когда каждое ядро занято и чужой программой, раз",
            "slower with another busy process on each core, times",
        )
        title = titles[not russian]
        slower = busy["slower"]
        rows.append([title, f"{number(slower, 1, russian)}×", NONE, goal("≤ 3", slower <= 3)])
    return rows


_ENGINES = {
    "server": (
        "the server, {concurrency} requests at once",
        "сервер, запросов сразу: {concurrency}",
    ),
    "server_one_at_a_time": ("the server, one at a time", "сервер, по одному"),
    "transformers_one_at_a_time": ("`transcribe`, one at a time", "`transcribe`, по одной записи"),
    "transformers_batches": (
        "`transcribe`, batches of {batch_size}",
        "`transcribe`, записей сразу: {batch_size}",
    ),
    "peer_batches": (
        "Whisper base, batches of {batch_size}, beams: {beam_size}, {compute_type}",
        "Whisper base, записей сразу: {batch_size}, лучей: {beam_size}, {compute_type}",
    ),
    "peer_batches_greedy": (
        "Whisper base, batches of {batch_size}, greedy, {compute_type}",
        "Whisper base, записей сразу: {batch_size}, жадно, {compute_type}",
    ),
}
SPEED = "audio_seconds_per_second"


def _serving(record: dict[str, Any], russian: bool) -> Rows:
    """Engines under the same recordings, in one run."""
    metrics = record["metrics"]
    rows = [
        [
            "Движок",
            "Секунд аудио в секунду",
            "WER, %",
            "Первый токен, с: p50 / p99",
            "Весь ответ, с: p50 / p99",
        ]
        if russian
        else [
            "Engine",
            "Seconds of audio a second",
            "WER, %",
            "First token, s: p50 / p99",
            "Whole answer, s: p50 / p99",
        ]
    ]
    for engine, titles in _ENGINES.items():
        if engine not in metrics:
            continue
        m = metrics[engine]
        rows.append(
            [
                titles[russian].format_map(m | m.get("decoding", {})),
                number(m[SPEED], 1, russian),
                percent(m["word_error_rate"], russian),
                _pair(m.get("first_token_seconds"), russian),
                _pair(m.get("latency_seconds"), russian),
            ]
        )
    return rows


def _load(record: dict[str, Any], russian: bool) -> Rows:
    m = record["metrics"]
    first, people, memory = m["first_text_seconds"], m["crowd"], m["memory_megabytes"]
    grown = memory["samples"][-1] - memory["samples"][0]
    seconds, visitors, requests = m["recording_seconds"], people["visitors"], memory["requests"]
    gigabytes = memory["most"] / 1024
    lines: list[tuple[str, str, str, str]] = [
        (
            f"first text of a {seconds} s recording, worst case",
            f"первый текст записи в {seconds} с, худший случай",
            unit(number(first["worst"], 2, russian), "s", russian),
            goal(unit("< 1", "s", russian), first["worst"] < 1),
        ),
        (
            f"{visitors} visitors at once: right answers",
            f"сразу {visitors} посетителей: верных ответов",
            str(people["right"]),
            goal(str(visitors), people["right"] >= visitors),
        ),
        (
            f"{visitors} visitors at once: the last one waits",
            f"сразу {visitors} посетителей: последний ждёт",
            unit(number(people["last_seconds"], 0, russian), "s", russian),
            NONE,
        ),
        (
            f"most memory over {requests} requests",
            f"больше всего памяти за {requests} запросов",
            unit(number(gigabytes, 2, russian), "GB", russian),
            goal(unit("< 3", "GB", russian), gigabytes < 3),
        ),
        (
            "memory grew from the first sample to the last",
            "память выросла от первого замера до последнего",
            unit(number(grown, 0, russian), "MB", russian),
            NONE,
        ),
    ]
    return [_measured(russian), *([line[russian], *line[2:]] for line in lines)]


def _commands(record: dict[str, Any], russian: bool) -> Rows:
    rows = [_measured(russian)]
    whole = {"transcribe": ("a 5 s file, whole process", "файл 5 с, весь процесс")}
    whole["help"] = ("whole process", "весь процесс")
    for key, command, most in (
        ("transcribe", "borealis transcribe", 3.5),
        ("help", "borealis --help", 1),
    ):
        seconds = record["metrics"][key]["median_seconds"]
        value = unit(f"{seconds:.2g}".replace(".", "," if russian else "."), "s", russian)
        target = goal(unit(f"< {_short(most, russian)}", "s", russian), seconds < most)
        rows.append([f"`{command}`, {whole[key][russian]}", value, target])
    return rows


def _install(record: dict[str, Any], russian: bool) -> Rows:
    title = "по lock-файлу, в чистое окружение" if russian else "by the lock, in a fresh venv"
    return [_measured(russian), _minutes(title, record["metrics"]["seconds"], 6, russian)]


def _tests(record: dict[str, Any], russian: bool) -> Rows:
    metrics = record["metrics"]
    title = "`make test`, вместе с установкой" if russian else "`make test`, install included"
    rows = [_measured(russian), _minutes(title, metrics["seconds"], 15, russian)]
    phases = metrics.get("phases", {}).values()
    if passed := sum(phase.get("passed", 0) for phase in phases):
        skipped = sum(phase.get("skipped", 0) for phase in phases)
        rows.append(["тестов пройдено" if russian else "tests passed", str(passed), NONE])
        rows.append(["тестов пропущено" if russian else "tests left out", str(skipped), NONE])
    return rows


def _short(value: float, russian: bool) -> str:
    return f"{value:g}".replace(".", "," if russian else ".")


def _minutes(title: str, seconds: float, most: float, russian: bool) -> list[str]:
    value = unit(number(seconds / 60, 1, russian), "min", russian)
    return [title, value, goal(unit(f"< {most}", "min", russian), seconds < 60 * most)]


_TABLES: dict[str, Callable[[dict[str, Any], bool], Rows]] = {
    "transcription": _transcription,
    "questions": _questions,
    "sounds": _sounds,
    "speed": _speed,
    "words": _words,
    "serving_bfloat16": _serving,
    "serving_float32": _serving,
    "load": _load,
    "commands": _commands,
    "install": _install,
    "test": _tests,
}


# ---- notes ----


def made(record: dict[str, Any], group: str, language: str) -> str:
    """Where the numbers of a result file come from: a note of a few short sentences."""
    parts = [settings_note(record, language)]
    if group == "transcription":
        parts.append(
            "В скобках — 95-процентный интервал WER."
            if language == "ru"
            else "In brackets: the 95 % interval of WER."
        )
    return " ".join([*parts, f"`results/{record['name']}.json`."])


def settings_note(record: dict[str, Any], language: str) -> str:
    """Commit, weights, machine, and how the model and the peer were run."""
    russian = language == "ru"
    parts = [machine_note(record, language)]
    if decoding := record.get("decoding"):
        parts.append(f"nano: {decoding_words(decoding, russian)}.")
    if peer := record.get("peer"):
        words = f"Whisper base: {peer_words(peer, russian)}"
        since = peer.get("measured", {}).get("commit", record["commit"])
        if since != record["commit"]:
            words += f", измерен на коммите {since}" if russian else f", measured at commit {since}"
        parts.append(f"{words}.")
    return " ".join(parts)


def machine_note(record: dict[str, Any], language: str) -> str:
    """Commit, weights, day, machine and threads of a result file, in a sentence."""
    russian = language == "ru"
    machine = record["machine"]
    commit = record["commit"] or NONE
    if record.get("dirty"):
        commit += " с незакоммиченными правками" if russian else " with uncommitted changes"
    weights = record.get("model", {}).get("checkpoint", "")[:SHOWN]
    if weights:
        commit += f", веса {weights}" if russian else f", weights {weights}"
    where = machine["accelerator"] or machine["processor"]
    if russian:
        return f"Коммит {commit}, {record['date']}; {where}, потоков: {machine['threads']}."
    return f"Commit {commit}, {record['date']}; {where}, threads: {machine['threads']}."


def decoding_words(decoding: dict[str, Any], russian: bool) -> str:
    """How the model decoded: what the measurement recorded, in a few words."""
    if "answer" in decoding:
        answer = _strategy(decoding["answer"], russian)
        if "transcript" not in decoding:
            return f"ответ — {answer}" if russian else f"answer: {answer}"
        first = decoding_words(decoding["transcript"], russian)
        if russian:
            return f"сначала расшифровка ({first}), потом ответ ({answer})"
        return f"transcript first ({first}), then the answer ({answer})"
    words = [_strategy(decoding, russian)]
    if decoding.get("ngram_weight"):
        name = "n-грамма" if russian else "n-gram"
        words.append(f"{name} {number(decoding['ngram_weight'], 1, russian)}")
    if size := decoding.get("batch_size"):
        words.append(_batch(size, russian))
    return ", ".join(words)


def _strategy(decoding: dict[str, Any], russian: bool) -> str:
    name = decoding["strategy"]
    name = _STRATEGIES.get(name, name) if russian else name.replace("ctc", "CTC")
    beams = decoding.get("num_beams", 1)
    if beams > 1:
        name += f", лучей: {beams}" if russian else f", beams: {beams}"
    return name


def peer_words(peer: dict[str, Any], russian: bool) -> str:
    """How the peer was run."""
    beams = peer["beam_size"]
    words = [f"{peer['engine']} {peer.get('version', '')}".strip(), peer["compute_type"]]
    words.append(f"лучей: {beams}" if russian else f"beams: {beams}")
    words.append(_batch(peer.get("batch_size", 1), russian))
    if peer.get("threads"):
        words.append(f"потоков: {peer['threads']}" if russian else f"threads: {peer['threads']}")
    if peer.get("guards"):
        words.append(
            "со своей защитой от тишины и повторов"
            if russian
            else "with its own guards against silence and loops"
        )
    return ", ".join(words)


def _batch(size: int, russian: bool) -> str:
    if size == 1:
        return "по одной записи" if russian else "one recording at a time"
    return f"записей сразу: {size}" if russian else f"batches of {size}"


def marks_note(language: str) -> str:
    """What the marks of targets mean."""
    if language == "ru":
        return f"{MET} — цель достигнута, {MISSED} — нет; цели назначены до измерений."
    return f"{MET}: target met, {MISSED}: missed; targets were set before measuring."


# ---- cells ----


def head(english: str, russian_title: str, *, russian: bool) -> list[str]:
    """The head of a table with a peer."""
    title, target = (russian_title, "Цель") if russian else (english, "Target")
    return [title, "nano", "Whisper base", target]


def _measured(russian: bool) -> list[str]:
    return ["Что измерено", "Есть", "Цель"] if russian else ["Measured", "Is", "Target"]


def goal(text: str, met: bool) -> str:
    """A target and whether it is met."""
    return f"{text} {MET if met else MISSED}".replace(" ", _SPACE)


def rate_target(name: str, m: dict[str, Any], russian: bool, what: str = "") -> str:
    """The target of a set's word error rate."""
    if name not in RATE_TARGETS:
        return NONE
    most = RATE_TARGETS[name]
    return goal(f"{what}≤ {_short(round(100 * most, 1), russian)}", m["word_error_rate"] <= most)


def silence_target(words: int) -> str:
    """The target of words written where nobody speaks."""
    return goal("0", words == 0)


def speed_target(ours: dict[str, Any], peer: dict[str, Any] | None, russian: bool) -> str:
    """The target of speed: a ratio of the same run."""
    if peer is None:
        return NONE
    wanted = "вдвое быстрее Whisper" if russian else "twice Whisper's"
    return goal(wanted, ours["times_real_time"] >= 2 * peer["times_real_time"])


def rates(m: dict[str, Any], russian: bool) -> str:
    """WER / CER and, in brackets, the interval of WER."""
    low, high = m["word_error_rate_95"]
    shown = f"{percent(m['word_error_rate'], russian)} / "
    shown += percent(m["character_error_rate"], russian)
    return f"{shown} ({percent(low, russian)}–{percent(high, russian)})"


def invented(metrics: dict[str, Any]) -> tuple[int, str]:
    """Words written where nobody speaks, ours and the peer's."""
    kinds = metrics["kinds"].values()
    peer = str(sum(k["peer"]["words"] for k in kinds)) if all("peer" in k for k in kinds) else NONE
    return sum(k["words"] for k in kinds), peer


def number(value: float, digits: int, russian: bool) -> str:
    text = f"{value:.{digits}f}"
    return text.replace(".", ",") if russian else text


def percent(value: float, russian: bool) -> str:
    return number(100 * value, 1, russian)


def times(m: dict[str, Any], russian: bool) -> str:
    return f"{number(m['times_real_time'], 0, russian)}×"


_UNITS = {"s": "с", "ms": "мс", "min": "мин", "GB": "ГБ", "MB": "МБ"}


def unit(text: str, name: str, russian: bool) -> str:
    return f"{text}{_SPACE}{_UNITS[name] if russian else name}"


def millions(count: float, russian: bool) -> str:
    text = f"{count / 1e6:.1f}".removesuffix(".0")
    return f"{text.replace('.', ',')}{_SPACE}млн" if russian else f"{text}{_SPACE}M"


def _pair(percentiles: dict[str, float] | None, russian: bool) -> str:
    if not percentiles:
        return NONE
    return f"{number(percentiles['p50'], 2, russian)} / {number(percentiles['p99'], 2, russian)}"


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table of rows of cells, the first of which is the head."""
    head, *body = ("| " + " | ".join(line) + " |" for line in lines)
    return "\n".join([head, "|" + "---|" * len(lines[0]), *body])

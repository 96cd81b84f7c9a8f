"""How written text is said: words, where they came from, what can't be said.

Run it with `python examples/spoken_text.py`.
"""

# --8<-- [start:say]
from borealis import BorealisError
from borealis.data.spoken import speakable

text = "Рейс в 7:05, билет — 12 500 ₽, т. е. на 5% дороже, чем в 2023 году."
print(speakable(text).text)
# --8<-- [end:say]

# --8<-- [start:words]
written = "Самовывоз с ул. Мира, 5 до 19:00"
for word in speakable(written).words[:4]:
    print(word.text, "<-", repr(written[word.start : word.end]))
# --8<-- [end:words]

# --8<-- [start:mixed]
print(speakable("Подключите Wi-Fi и откройте borealis.ai 😀").text)
print(speakable("Подключите Wi-Fi и откройте borealis.ai 😀").left_out)
print(speakable("Dr. Smith paid $5.20 on May 3rd.", "en").text)
print(speakable("з+амок на двери, зам+ок на горе", stress=True).text)
# --8<-- [end:mixed]

# --8<-- [start:refused]
for text in ("<speak>Привет</speak>", "你好", "😀"):
    try:
        speakable(text)
    except BorealisError as error:
        print(error)
# --8<-- [end:refused]

# The server with curl: its address and key are in OPENAI_BASE_URL and OPENAI_API_KEY.
set -eu
# --8<-- [start:transcribe]
curl -sS "$OPENAI_BASE_URL/audio/transcriptions" -H "Authorization: Bearer $OPENAI_API_KEY" \
    -F model=nano -F file=@examples/audio/speech.flac
# --8<-- [end:transcribe]
echo
# --8<-- [start:subtitles]
curl -sS "$OPENAI_BASE_URL/audio/transcriptions" -H "Authorization: Bearer $OPENAI_API_KEY" \
    -F model=nano -F file=@examples/audio/door.flac -F response_format=srt
# --8<-- [end:subtitles]
# --8<-- [start:chat]
printf '{"model": "nano", "messages": [{"role": "user", "content": [
    {"type": "input_audio", "input_audio": {"format": "flac", "data": "%s"}},
    {"type": "text", "text": "Какое слово первое?"}]}]}' \
    "$(base64 -w 0 examples/audio/speech.flac)" |
    curl -sS "$OPENAI_BASE_URL/chat/completions" -H "Authorization: Bearer $OPENAI_API_KEY" \
        -H "Content-Type: application/json" -d @-
# --8<-- [end:chat]
echo
# --8<-- [start:models]
curl -sS "$OPENAI_BASE_URL/models" -H "Authorization: Bearer $OPENAI_API_KEY"
# --8<-- [end:models]

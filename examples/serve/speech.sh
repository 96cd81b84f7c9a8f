# Speech from the server with curl: its address and key are in OPENAI_BASE_URL and OPENAI_API_KEY.
set -eu
# --8<-- [start:voices]
curl -sS "$OPENAI_BASE_URL/audio/voices" -H "Authorization: Bearer $OPENAI_API_KEY"
# --8<-- [end:voices]
echo
# --8<-- [start:file]
curl -sS --fail-with-body "$OPENAI_BASE_URL/audio/speech" -o frost.opus \
    -H "Authorization: Bearer $OPENAI_API_KEY" -H "Content-Type: application/json" \
    -d '{"model": "nano", "input": "Мороз и солнце!", "response_format": "opus"}'
# --8<-- [end:file]

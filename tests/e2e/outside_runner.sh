#!/bin/sh
# A whole runner in a shell: asks for prompts, answers each with the files of its folder, stops when told to.
#   SESSION_ID SESSION_TOKEN MAIN_APP_URL sh outside_runner.sh
set -eu
hook="$MAIN_APP_URL/api/container-webhooks/$SESSION_ID"
number=0
say() {  # run, type, payload
  number=$((number + 1))
  curl -sS -f --noproxy '*' -X POST "$hook/message" -H "Authorization: Bearer $SESSION_TOKEN" \
    -H 'Content-Type: application/json' \
    -d "{\"id\": \"$1-$number\", \"run_id\": \"$1\", \"type\": \"$2\", \"payload\": $3}" >/dev/null
}
field() {  # the text of a member, wherever it stands
  python3 -c 'import json,sys; m=json.load(sys.stdin); print(eval(sys.argv[1], {"m": m}))' "$1"
}
cursor=0
while :; do
  answer=$(curl -sS -f --noproxy '*' "$hook/messages?after=$cursor&wait=20" -H "Authorization: Bearer $SESSION_TOKEN")
  cursor=$(printf %s "$answer" | field 'm["cursor"]')
  run=$(printf %s "$answer" | field '" ".join(x["run_id"] for x in m["messages"] if x["type"] == "prompt")')
  for one in $run; do
    say "$one" run.started '{}'
    say "$one" ui.tool.call '{"toolName": "shell", "callId": "1", "input": {"command": "uname"}}'
    say "$one" ui.tool.result "{\"toolName\": \"shell\", \"callId\": \"1\", \"output\": \"$(uname)\"}"
    say "$one" ui.message.assistant.delta '{"textDelta": "Done by a shell."}'
    say "$one" ui.message.assistant.final '{"text": "Done by a shell."}'
    say "$one" run.completed '{"finalText": "Done by a shell."}'
  done
done

"""An agent that speaks ACP and does what the prompt says. Run as a program."""

import json
import sys
from typing import Any


def say(**message: Any) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def update(**body: Any) -> None:
    say(method="session/update", params={"sessionId": "s1", "update": body})


def main() -> None:  # noqa: C901, PLR0912 - one case per message
    prompt: Any = None
    past: list[str] = []
    for line in sys.stdin:
        message = json.loads(line)
        match message:
            case {"method": "initialize"}:
                say(id=message["id"], result={"protocolVersion": 1, "agentCapabilities": {"loadSession": True}})
            case {"method": "session/load", "params": {"sessionId": "told late"}}:
                past = ["past 2", "past 3"]
                update(sessionUpdate="agent_message_chunk", content={"type": "text", "text": "past 1"})
                say(id=message["id"], result={})
            case {"method": "session/set_mode"}:
                if past:
                    update(sessionUpdate="agent_message_chunk", content={"type": "text", "text": past.pop(0)})
                say(id=message["id"], result={})
            case {"method": "authenticate"}:
                say(id=message["id"], result={})
            case {"method": "session/load"}:
                say(id=message["id"], error={"code": -32603, "message": "Invalid session identifier"})
            case {"method": "session/new"}:
                say(id=message["id"], result={"sessionId": "s1"})
            case {"method": "session/prompt", "params": {"prompt": [{"text": text}]}}:
                prompt = message["id"]
                update(sessionUpdate="agent_message_chunk", content={"type": "text", "text": text})
                if text.endswith("die"):
                    return
                if text.endswith("ask"):
                    options = [{"optionId": "yes", "kind": "allow_once"}, {"optionId": "no", "kind": "reject_once"}]
                    call = {"toolCallId": "c1", "title": "ls", "kind": "execute", "status": "pending"}
                    params = {"sessionId": "s1", "toolCall": call, "options": options}
                    say(id=7, method="session/request_permission", params=params)
                elif text.endswith("read"):
                    say(id=8, method="fs/read_text_file", params={"path": "/etc/passwd"})
                elif not text.endswith("wait"):
                    say(id=prompt, result={"stopReason": "end_turn"})
            case {"method": "session/cancel"}:
                say(id=prompt, result={"stopReason": "cancelled"})
            case {"id": 7 | 8}:
                answer = json.dumps(message.get("result") or message.get("error"))
                update(sessionUpdate="agent_message_chunk", content={"type": "text", "text": answer})
                say(id=prompt, result={"stopReason": "end_turn"})
            case _:
                pass


if __name__ == "__main__":
    main()

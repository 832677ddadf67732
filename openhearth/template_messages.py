"""Messages in the one form that chat templates take, from the many of the wire; for serving and training alike."""

import json
from collections.abc import Mapping
from typing import Any

_ROLES_OF_TODAY = {"developer": "system", "function": "tool"}
_FUNCTION_CALL_ID = "function_call"
"""What stands for the id of a call in the older form, which had none."""


def template_message(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message as chat templates take it: content as text, arguments as objects, calls in one form.

    `message` is one of the reference's that has been checked, as plain values, without members that are null.
    """
    role = message["role"]
    read = {
        "role": _ROLES_OF_TODAY.get(role, role),
        "content": _text(message.get("content", message.get("refusal", ""))),
    }
    if role == "function":
        read["tool_call_id"] = _FUNCTION_CALL_ID
    calls = [_tool_call(call["id"], call) for call in message.get("tool_calls", ())]
    if "function_call" in message:
        calls.append(_tool_call(_FUNCTION_CALL_ID, {"function": message["function_call"]}))
    if calls:
        read["tool_calls"] = calls
    return read | {name: message[name] for name in ("name", "tool_call_id") if name in message}


def _text(content: str | list[dict[str, str]]) -> str:
    return content if isinstance(content, str) else "".join(part[part["type"]] for part in content)


def _tool_call(call_id: str, call: Mapping[str, Any]) -> dict[str, Any]:
    if "custom" in call:
        name, arguments = call["custom"]["name"], {"input": call["custom"]["input"]}
    else:
        name, arguments = call["function"]["name"], _arguments(call["function"]["arguments"])
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _arguments(arguments: str) -> Any:
    """Return arguments as an object; what a model wrote that is no JSON, or nested beyond reading, stays as it is."""
    try:
        return json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments

"""What an answer has to look like, as a grammar for llguidance: JSON, a value of a schema, calls of tools.

JSON is written on one line with a space after each comma and colon, as models do by themselves: where white space is
free, a small model may go on with it for ever.
"""

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from llguidance import LLMatcher

from openhearth.chat_template import ToolCallFormat
from openhearth.errors import BadRequestError
from openhearth.schemas.chat_tools import (
    ResponseFormat,
    ResponseFormatJsonObject,
    ResponseFormatJsonSchema,
)
from openhearth.services.tool_calls import call_head, call_tail
from openhearth.services.tool_use import CallableTool, ToolUse

_ANY_TEXT = r"/(.|\n)*/"
_TEXT_THAT_IS_NO_OBJECT = r"/([^{](.|\n)*)?/"
_SPACING = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
_MAX_CHECKED_SCHEMAS = 512


def answer_grammar(
    response_format: ResponseFormat | None, tool_use: ToolUse, call_format: ToolCallFormat
) -> str | None:
    """Return the grammar of an answer, or `None` if any text will do.

    Raises `BadRequestError` for a schema that is not strict where it claims to be, or that nothing can be made to obey.
    May take some milliseconds for each new schema.
    """
    try:
        content = _content_rule(response_format)
        for tool in tool_use.callable:
            _check_parameters(tool)
    except RecursionError as error:
        raise BadRequestError("A schema is nested too deeply.", code="invalid_json_schema") from error
    if tool_use.callable:
        return _tool_grammar(tool_use, call_format, content)
    return content and f"start: {content}"


def _content_rule(response_format: ResponseFormat | None) -> str | None:
    if isinstance(response_format, ResponseFormatJsonObject):
        return _json_rule({"type": "object"}, is_strict=True)
    if not isinstance(response_format, ResponseFormatJsonSchema):
        return None
    wanted = response_format.json_schema
    schema = wanted.schema_ or {}
    problem = _grammar_problem(schema, wanted.strict) or (_strictness_problem(schema) if wanted.strict else "")
    if problem:
        raise BadRequestError(
            f"Invalid schema for response_format '{wanted.name}': {problem}",
            param="response_format",
            code="invalid_json_schema",
        )
    return _json_rule(schema, is_strict=wanted.strict)


def _check_parameters(tool: CallableTool) -> None:
    problem = (
        _type_problem(tool.parameters)
        or _grammar_problem(tool.parameters, tool.is_strict)
        or (_strictness_problem(tool.parameters) if tool.is_strict else "")
    )
    if problem:
        message = f"Invalid schema for function '{tool.name}': {problem}"
        raise BadRequestError(message, param=tool.schema_path, code="invalid_function_parameters")


def _type_problem(parameters: Mapping[str, Any]) -> str:
    found = parameters.get("type")
    return "" if found == "object" else f"schema must be of 'type: \"object\"', got 'type: {json.dumps(found)}'."


def _strictness_problem(schema: Any, context: tuple[str, ...] = ()) -> str:
    """Return what keeps a schema from being strict: every object closed, every property required."""
    if not isinstance(schema, Mapping):
        return ""
    properties = _mapping(schema.get("properties"))
    if schema.get("type") == "object" or properties:
        if schema.get("additionalProperties") is not False:
            return f"In context={context}, 'additionalProperties' is required to be supplied and to be false."
        required = _list(schema.get("required"))
        if missing := sorted(name for name in properties if name not in required):
            return (
                f"In context={context}, 'required' is required to be supplied and to be an array including every key "
                f"in properties. Missing '{missing[0]}'."
            )
    problems = (_strictness_problem(inner, (*context, *path)) for path, inner in _inner_schemas(schema))
    return next(filter(None, problems), "")


def _inner_schemas(schema: Mapping[str, Any]) -> Iterable[tuple[tuple[str, ...], Any]]:
    for keyword in ("properties", "$defs", "definitions"):
        for name, inner in _mapping(schema.get(keyword)).items():
            yield (keyword, name), inner
    for keyword in ("anyOf", "allOf", "oneOf", "prefixItems"):
        for position, inner in enumerate(_list(schema.get(keyword))):
            yield (keyword, str(position)), inner
    yield ("items",), schema.get("items")


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _grammar_problem(schema: Mapping[str, Any], is_strict: bool) -> str:
    return _checked(f"start: {_json_rule(schema, is_strict=is_strict)}")


@lru_cache(maxsize=_MAX_CHECKED_SCHEMAS)
def _checked(grammar: str) -> str:
    """Return what llguidance finds wrong with a grammar, in one line."""
    problem: str = LLMatcher.validate_grammar(grammar)
    return problem.partition("\n")[0].rpartition("failed to compile JSON schema: ")[2]


def _json_rule(schema: Mapping[str, Any], *, is_strict: bool) -> str:
    # What a schema that is not strict asks for beyond the grammar's means is left out; a strict one is kept in full.
    return f"%json {json.dumps({**schema, 'x-guidance': _SPACING | {'lenient': not is_strict}})}"


def _tool_grammar(tool_use: ToolUse, written: ToolCallFormat, content: str | None) -> str:
    call = " | ".join(f"call_{number}" for number in range(len(tool_use.callable)))
    more = f' ("\\n" {_mark(written.begin, written)} ({call}))*' if tool_use.may_repeat and written.begin else ""
    rules = [_call_rule(number, tool, written) for number, tool in enumerate(tool_use.callable)]
    if tool_use.must_call or content is not None:
        calls = f"{_mark(written.begin, written)} ({call}){more}"
        start = [f"start: {calls}" if tool_use.must_call else f"start: {calls} | content", f"content: {content}"]
    elif written.begin:
        lead = f"lead: TEXT {written.begin}" if written.are_tokens else f"lead[lazy]: TEXT {_quoted(written.begin)}"
        start = [f"start: text | lead ({call}){more}", lead, "text: TEXT", f"TEXT: {_ANY_TEXT}"]
    else:
        start = [f"start: text | ({call})", "text: TEXT", f"TEXT: {_TEXT_THAT_IS_NO_OBJECT}"]
    return "\n".join(("%llguidance {}", *(rule for rule in start if rule != "content: None"), *rules))


def _call_rule(number: int, tool: CallableTool, written: ToolCallFormat) -> str:
    head, tail = _quoted(call_head(tool.name, written)), _quoted(call_tail(written))
    end = _mark(written.end, written)
    arguments = _json_rule(_closed(tool.parameters), is_strict=tool.is_strict)
    return f"call_{number}: {head} arguments_{number} {tail} {end}\narguments_{number}: {arguments}"


def _closed(parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schema without room for arguments that nobody asked for."""
    return {"additionalProperties": False, **parameters} if "properties" in parameters else parameters


def _mark(mark: str, written: ToolCallFormat) -> str:
    return mark if written.are_tokens or not mark else _quoted(mark)


def _quoted(text: str) -> str:
    return json.dumps(text)

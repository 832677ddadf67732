"""What pydantic finds wrong with a request, in the words of the OpenAI service (contract: conventions, section 4).

Leaves the choice of a status to `api/error_handlers.py`. Every kind of finding has one row in `_COMPLAINTS`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from openhearth.errors import BadRequestError, InvalidValueError, MissingRequiredParameterError, UnknownParameterError
from openhearth.schemas.variants import is_variant

_ENVELOPES = ("body", "query", "path", "header")

Finding = Mapping[str, Any]


def bad_request(findings: Sequence[Finding]) -> BadRequestError:
    """Return the error for the first finding; the others may well be its consequences."""
    finding = findings[0]
    if not (path := _path(finding["loc"])):
        return unreadable_body()
    return _COMPLAINTS.get(finding["type"], _invalid_value)(path, finding)


def unreadable_body() -> BadRequestError:
    """Return the error for a body that is not a JSON object."""
    return BadRequestError(
        "We could not parse the JSON body of your request. Send one JSON object, encoded in UTF-8, "
        "with the header Content-Type: application/json."
    )


def _path(location: Sequence[str | int]) -> str:
    """Write a place in the body as `messages[0].content`."""
    parts = [part for part in location if not is_variant(part) and part != "[key]"]
    if parts and parts[0] in _ENVELOPES:
        parts = parts[1:]
    joined = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
    return joined.removeprefix(".")


def _missing(path: str, _finding: Finding) -> BadRequestError:
    if path == "model":
        return BadRequestError("you must provide a model parameter", param=path, code="missing_required_parameter")
    return MissingRequiredParameterError(path)


def _unknown(path: str, _finding: Finding) -> BadRequestError:
    return UnknownParameterError(path)


def _invalid_value(path: str, finding: Finding) -> BadRequestError:
    return InvalidValueError(f"Invalid '{path}': {finding['msg']}.", param=path)


def _unsupported_value(path: str, finding: Finding) -> BadRequestError:
    *others, last = re.findall("'[^']*'", finding["ctx"]["expected"])
    supported = f"{', '.join(others)}{',' * (len(others) > 1)} and {last}" if others else last
    return InvalidValueError(f"Invalid value: '{finding['input']}'. Supported values are: {supported}.", param=path)


def _unknown_form(path: str, finding: Finding) -> BadRequestError:
    value, member = finding["input"], finding["ctx"]["discriminator"].removesuffix("()")
    if not isinstance(value, dict):
        return _wrong_type("an object")(path, finding)
    if value.get(member) is None:
        return MissingRequiredParameterError(f"{path}.{member}")
    if not isinstance(value[member], str):
        return _wrong_type("a string")(f"{path}.{member}", {"input": value[member]})
    expected = finding["ctx"]["expected_tags"].replace("<", "").replace(">", "")
    return _unsupported_value(f"{path}.{member}", {"input": value[member], "ctx": {"expected": expected}})


def _wrong_pattern(path: str, finding: Finding) -> BadRequestError:
    message = (
        f"Invalid '{path}': string does not match pattern. Expected a string that matches the pattern "
        f"'{finding['ctx']['pattern']}'."
    )
    return InvalidValueError(message, param=path)


def _wrong_type(expected: str) -> Callable[[str, Finding], BadRequestError]:
    def complain(path: str, finding: Finding) -> BadRequestError:
        wanted, got = expected or finding["msg"], _type_name(finding["input"])
        message = f"Invalid type for '{path}': expected {wanted}, but got {got} instead."
        return BadRequestError(message, param=path, code="invalid_type")

    return complain


def _out_of_range(bound: str, sign: str) -> Callable[[str, Finding], BadRequestError]:
    def complain(path: str, finding: Finding) -> BadRequestError:
        limit = next(iter(finding["ctx"].values()))
        kind = "decimal" if isinstance(limit, float) else "integer"
        limit = int(limit) if limit == int(limit) else limit
        message = (
            f"Invalid '{path}': {kind} {bound} value. Expected a value {sign} {limit}, "
            f"but got {finding['input']} instead."
        )
        return BadRequestError(message, param=path, code=f"{kind}_{_CODE_OF_BOUND[bound]}_value")

    return complain


def _wrong_length(bound: str) -> Callable[[str, Finding], BadRequestError]:
    def complain(path: str, finding: Finding) -> BadRequestError:
        kind = _LENGTH_KINDS[type(finding["input"])]
        limit, actual = finding["ctx"][f"{bound[:3]}_length"], len(finding["input"])
        if actual == 0:
            got, problem, code = f"an empty {kind}", f"empty {kind}", f"empty_{kind}"
        else:
            got = f"{_with_article(kind)} with length {actual}"
            problem, code = f"{kind} too {_TOO[bound]}", f"{kind}_{_CODE_OF_BOUND[_BOUNDS[bound]]}_length"
        message = (
            f"Invalid '{path}': {problem}. Expected {_with_article(kind)} with {bound} length {limit}, "
            f"but got {got} instead."
        )
        return BadRequestError(message, param=path, code=code)

    return complain


def _type_name(value: Any) -> str:
    names = {bool: "a boolean", int: "an integer", float: "a decimal", str: "a string", list: "an array"}
    return "null" if value is None else names.get(type(value), "an object")


def _with_article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeio' else 'a'} {noun}"


_BOUNDS = {"minimum": "below minimum", "maximum": "above maximum"}
_CODE_OF_BOUND = {"below minimum": "below_min", "above maximum": "above_max"}
_TOO = {"minimum": "short", "maximum": "long"}
_LENGTH_KINDS: dict[type, str] = {list: "array", tuple: "array", str: "string", dict: "object"}
_COMPLAINTS: dict[str, Callable[[str, Finding], BadRequestError]] = {
    "missing": _missing,
    "extra_forbidden": _unknown,
    "unexpected_type": _wrong_type(""),
    "union_tag_invalid": _unknown_form,
    "union_tag_not_found": _unknown_form,
    "string_pattern_mismatch": _wrong_pattern,
    "literal_error": _unsupported_value,
    "enum": _unsupported_value,
    "greater_than_equal": _out_of_range("below minimum", ">="),
    "greater_than": _out_of_range("below minimum", ">"),
    "less_than_equal": _out_of_range("above maximum", "<="),
    "less_than": _out_of_range("above maximum", "<"),
    "too_short": _wrong_length("minimum"),
    "too_long": _wrong_length("maximum"),
    "string_too_short": _wrong_length("minimum"),
    "string_too_long": _wrong_length("maximum"),
    **dict.fromkeys(("int_type", "int_from_float", "int_parsing"), _wrong_type("an integer")),
    **dict.fromkeys(("float_type", "float_parsing"), _wrong_type("a decimal")),
    **dict.fromkeys(("bool_type", "bool_parsing"), _wrong_type("a boolean")),
    "string_type": _wrong_type("a string"),
    "list_type": _wrong_type("an array"),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), _wrong_type("an object")),
}

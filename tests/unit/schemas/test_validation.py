"""What is wrong with a request, in the words of the OpenAI service."""

from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, ValidationError

from openhearth.schemas.shared import NullIsDefault, RequestModel
from openhearth.schemas.validation import bad_request
from openhearth.schemas.variants import chosen_by, chosen_by_member, variant


class Circle(RequestModel):
    """A form of the kind circle."""

    kind: Literal["circle"]
    radius: float


class Square(RequestModel):
    """A form of the kind square."""

    kind: Literal["square"]
    side: Annotated[int, Field(gt=0, lt=10)]


Form = Annotated[Annotated[Circle, variant("circle")] | Annotated[Square, variant("square")], chosen_by_member("kind")]


class Drawing(RequestModel):
    """A request with one member of each kind."""

    title: Annotated[str, Field(min_length=2, max_length=5, pattern="^[a-z]+$")] = "title"
    forms: Annotated[list[Form], Field(min_length=2)] = Field(default_factory=list)
    mode: Literal["one"] = "one"
    color: Literal["red", "green", "blue"] = "red"
    scale: Annotated[float, Field(ge=0.5), NullIsDefault()] = 1.0
    tags: Annotated[dict[str, str], Field(max_length=1)] = Field(default_factory=dict)
    either: Annotated[
        Annotated[str, variant("word")] | Annotated[list[int], variant("numbers")],
        chosen_by(
            lambda value: {str: "word", list: "numbers"}.get(type(value)), expected="a string or an array of integers"
        ),
    ] = "word"


def complaint(**members: Any) -> tuple[str | None, str | None, str]:
    """Return param, code and message of the refusal."""
    with pytest.raises(ValidationError) as caught:
        Drawing.model_validate(members)
    error = bad_request(caught.value.errors())
    return error.param, error.code, error.message


CIRCLE = {"kind": "circle", "radius": 1.0}


@pytest.mark.parametrize(
    ("members", "param", "code", "message"),
    [
        ({"hue": 1}, "hue", "unknown_parameter", "Unknown parameter: 'hue'."),
        (
            {"title": "x"},
            "title",
            "string_below_min_length",
            "Invalid 'title': string too short. Expected a string with minimum length 2, but got a string with length "
            "1 instead.",
        ),
        (
            {"title": ""},
            "title",
            "empty_string",
            "Invalid 'title': empty string. Expected a string with minimum length 2, but got an empty string instead.",
        ),
        (
            {"title": "ABC"},
            "title",
            "invalid_value",
            "Invalid 'title': string does not match pattern. Expected a string that matches the pattern '^[a-z]+$'.",
        ),
        (
            {"forms": [CIRCLE]},
            "forms",
            "array_below_min_length",
            "Invalid 'forms': array too short. Expected an array with minimum length 2, but got an array with length 1 "
            "instead.",
        ),
        (
            {"forms": [CIRCLE, {"kind": "circle"}]},
            "forms[1].radius",
            "missing_required_parameter",
            "Missing required parameter: 'forms[1].radius'.",
        ),
        (
            {"forms": [CIRCLE, {"kind": "square", "side": 10}]},
            "forms[1].side",
            "integer_above_max_value",
            "Invalid 'forms[1].side': integer above maximum value. Expected a value < 10, but got 10 instead.",
        ),
        (
            {"forms": [CIRCLE, {"kind": "square", "side": 0}]},
            "forms[1].side",
            "integer_below_min_value",
            "Invalid 'forms[1].side': integer below minimum value. Expected a value > 0, but got 0 instead.",
        ),
        (
            {"forms": [CIRCLE, {"kind": "line"}]},
            "forms[1].kind",
            "invalid_value",
            "Invalid value: 'line'. Supported values are: 'circle' and 'square'.",
        ),
        (
            {"forms": [CIRCLE, {}]},
            "forms[1].kind",
            "missing_required_parameter",
            "Missing required parameter: 'forms[1].kind'.",
        ),
        (
            {"forms": [CIRCLE, {"kind": 5}]},
            "forms[1].kind",
            "invalid_type",
            "Invalid type for 'forms[1].kind': expected a string, but got an integer instead.",
        ),
        (
            {"forms": [CIRCLE, "circle"]},
            "forms[1]",
            "invalid_type",
            "Invalid type for 'forms[1]': expected an object, but got a string instead.",
        ),
        ({"mode": "two"}, "mode", "invalid_value", "Invalid value: 'two'. Supported values are: 'one'."),
        (
            {"color": "pink"},
            "color",
            "invalid_value",
            "Invalid value: 'pink'. Supported values are: 'red', 'green', and 'blue'.",
        ),
        (
            {"scale": 0.25},
            "scale",
            "decimal_below_min_value",
            "Invalid 'scale': decimal below minimum value. Expected a value >= 0.5, but got 0.25 instead.",
        ),
        (
            {"scale": True},
            "scale",
            "invalid_type",
            "Invalid type for 'scale': expected a decimal, but got a boolean instead.",
        ),
        (
            {"tags": {"a": "x", "b": "y"}},
            "tags",
            "object_above_max_length",
            "Invalid 'tags': object too long. Expected an object with maximum length 1, but got an object with length "
            "2 instead.",
        ),
        (
            {"tags": {"a": None}},
            "tags.a",
            "invalid_type",
            "Invalid type for 'tags.a': expected a string, but got null instead.",
        ),
        (
            {"either": 5},
            "either",
            "invalid_type",
            "Invalid type for 'either': expected a string or an array of integers, but got an integer instead.",
        ),
        (
            {"either": [1, 2.5]},
            "either[1]",
            "invalid_type",
            "Invalid type for 'either[1]': expected an integer, but got a decimal instead.",
        ),
    ],
)
def test_complaints(members: dict[str, Any], param: str, code: str, message: str) -> None:
    """Every kind of mistake has its own code and words, and names its place."""
    assert complaint(**members) == (param, code, message)


def test_null_is_default() -> None:
    """Null stands for the default where that is allowed."""
    assert Drawing.model_validate({"scale": None}).scale == 1.0

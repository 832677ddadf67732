"""What prompts ask for."""

import pytest

from openhearth.engine.image.retrieval.layout import Layout
from openhearth.engine.image.retrieval.prompts import Mention, read_prompt


@pytest.mark.parametrize(
    ("prompt", "phrases"),
    [
        ("a red apple on a green meadow", ["red apple"]),
        ("A blue car and a red balloon", ["blue car", "red balloon"]),
        ("a wizard fighting a robot at night", ["wizard", "robot"]),
        ("a dog, a cat and a mouse", ["dog", "cat", "mouse"]),
        ("a picture of an owl", ["owl"]),
        ("a glossy 3d icon of a trophy", ["trophy"]),
        ("a pizza without mushrooms", ["pizza"]),
        ("strawberry", ["strawberry"]),
        ("a cup of coffee on a wooden table", ["cup of coffee"]),
        ("a landscape in the desert", []),
        ("A watercolor painting of a fox in a snowy forest", ["fox"]),
        ("a purple octopus underwater", ["purple octopus"]),
        ("a beach", ["beach"]),
        ("a castle in the mountains, vivid colours, dramatic light, hyper-real", ["castle"]),
        ("a dog, a traffic light", ["dog", "traffic light"]),
        ("a black and white cat", ["black white cat"]),
        ("a cute, happy cat and a red, white and blue balloon", ["cute happy cat", "red white blue balloon"]),
        ("a car in red", ["red car"]),
        ("a cat in the light", ["cat"]),
        ("an orange and an apple", ["orange", "apple"]),
        ("a horse in a photorealistic style, high detail, trending on artstation", ["horse"]),
        ("a dog running on the beach", ["dog"]),
        ("a man running", ["man running"]),
        ("a flag on the top of a mountain", ["flag", "mountain"]),
        ("a cat on the right and a dog on the left", ["dog", "cat"]),
        ("a cat and _", ["cat"]),
        ("   ", []),
        ("_", []),
    ],
)
def test_things_are_told_from_the_background(prompt: str, phrases: list[str]) -> None:
    """Things are found between prepositions; what they are in front of is none."""
    assert [mention.phrase for mention in read_prompt(prompt).mentions] == phrases


@pytest.mark.parametrize(
    ("prompt", "mention"),
    [
        ("three red balloons", Mention("red balloon", count=3)),
        ("two strawberries", Mention("strawberry", count=2)),
        ("four boxes", Mention("box", count=4)),
        ("a big dog", Mention("dog", extent="large")),
        ("two small dogs", Mention("dog", count=2, extent="small")),
        ("two", Mention("two")),
        ("a dozen eggs", Mention("egg", count=4)),
        ("a big, red apple", Mention("red apple", extent="large")),
        ("three red and white balloons", Mention("red white balloon", count=3)),
    ],
)
def test_counts_and_sizes(prompt: str, mention: Mention) -> None:
    """Numbers and sizes are no part of a thing's name."""
    assert list(read_prompt(prompt).mentions) == [mention]


def test_names_stay_whole() -> None:
    """A name that is known is one thing, whatever words are in it."""
    request = read_prompt("a face with tears of joy and a dog", ["face with tears of joy", "dog"])

    assert [mention.phrase for mention in request.mentions] == ["face with tears of joy", "dog"]


def test_where_things_go() -> None:
    """Words for places decide the layout."""
    assert read_prompt("a dog on the left").place == "left"
    assert read_prompt("a dog above a cat").arrangement == "stack"
    assert not read_prompt("a dog above a cat").is_reversed
    assert read_prompt("a dog under a tree").is_reversed
    assert read_prompt("a dog in the snow").is_standing
    assert read_prompt("nine dogs and four cats").layout == Layout(count=4)


def test_styles() -> None:
    """Some words ask for a style."""
    assert read_prompt("a dog, 3d").style == "3d"
    assert read_prompt("a cartoon of a dog").style == "flat"
    assert read_prompt("clip art of a dog").style == "flat"
    assert read_prompt("a dog").style is None


@pytest.mark.parametrize(
    ("prompt", "background"),
    [
        ("a red apple on a green meadow", "on a green meadow"),
        ("a dog sitting in a park at sunset", "in a park at sunset"),
        ("a robot in front of a light blue background", "in front of a light blue background"),
        ("a cat underwater", "underwater"),
        ("a dog and a cat", ""),
        ("an empty scene in the desert", "in the desert"),
    ],
)
def test_what_is_said_of_the_background(prompt: str, background: str) -> None:
    """With its preposition, and everything that is said of it."""
    assert read_prompt(prompt).background == background


@pytest.mark.parametrize(
    ("phrase", "name", "colour"),
    [
        ("blue car", "automobile", "blue"),
        ("light blue car", "automobile", "light blue"),
        ("red heart", "red heart", ""),
        ("small wooden chair", "chair", ""),
        ("orange", "tangerine", ""),
        ("orange cat", "cat", "orange"),
    ],
)
def test_the_colour_that_a_thing_takes_on(phrase: str, name: str, colour: str) -> None:
    """None if it has it by its name; a fruit is no colour."""
    assert Mention(phrase).colour_for(name) == colour


@pytest.mark.parametrize(
    "word", ["two ", "small ", "a ", "cat ", "cat and ", "on the left ", "background ", "picture of "]
)
def test_long_prompts_are_read(word: str) -> None:
    """As long as the API takes them, whatever they repeat."""
    request = read_prompt(word * (32_000 // len(word)))

    assert len(request.mentions) <= 4
    assert request.layout.count <= 4

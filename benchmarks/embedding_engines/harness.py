"""What the programs share: the rows, and taking the time of one. Uses nothing but the standard library.

A program gives two functions: `embed_many(texts)` for one caller, and `embed_at_once(texts)` for as many callers as
there are texts, `NUM_CLIENTS` of them at a time. It then waits for the names of rows on its standard input, and
answers each with a line, `=` and the texts per second. So several engines stay in memory and take turns, row by row.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence

MIN_SECONDS = 1.0
NUM_CLIENTS = 64

EmbedMany = Callable[[Sequence[str]], object]


def serve_rows(embed_many: EmbedMany, embed_at_once: EmbedMany) -> None:
    """Answer for rows of the workload that `sys.argv[2]` names until there are no more."""
    with open(sys.argv[2], encoding="utf-8") as file:
        workload = json.load(file)
    _answer("ready")
    for row in map(str.strip, sys.stdin):
        kind, length, count = row.split()
        embed = {"one_caller": embed_many, "many_callers": embed_at_once}[kind]
        _answer(_texts_per_second(embed, workload[length][: int(count)]))


def _answer(value: object) -> None:
    """Write a line that starts with an equals sign, as nothing does that a library prints."""
    sys.stdout.write(f"={value}\n")
    sys.stdout.flush()


def _texts_per_second(embed: EmbedMany, texts: Sequence[str]) -> float:
    embed(texts[:32])
    calls, started = 0, time.perf_counter()
    while calls < 1 or time.perf_counter() - started < MIN_SECONDS:
        embed(texts)
        calls += 1
    return calls * len(texts) / (time.perf_counter() - started)

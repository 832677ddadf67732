"""Texts of all kinds and lengths, for comparing what models make of them."""

import random

SENTENCES = [
    "The kettle is on the stove, and nobody is in the kitchen.",
    "Der Zug nach Basel fährt heute zwanzig Minuten später ab.",
    "La lumière du matin entre par la fenêtre ouverte.",
    "El perro duerme debajo de la mesa desde hace horas.",
    "Il pane è ancora caldo, prendine un pezzo.",
    "O barco chegou ao porto antes da tempestade.",
    "De fiets staat tegen de muur van het oude huis.",
    "Śnieg padał całą noc i rano drogi były białe.",
    "Na stole leží kniha, kterou nikdo nečetl.",
    "Снег шёл всю ночь, а утром выглянуло солнце.",
    "Το καλοκαίρι τελείωσε και η θάλασσα ηρέμησε.",
    "Çay demlendi, bardaklar masada duruyor.",
    "القطار يصل إلى المحطة عند الظهر.",
    "הספר מונח על המדף ליד החלון.",
    "बारिश के बाद आसमान साफ़ हो गया।",
    "বইটি টেবিলের উপর রাখা আছে।",
    "ฝนหยุดตกแล้วและท้องฟ้าก็แจ่มใส",
    "Con mèo ngủ trên ghế suốt buổi chiều.",
    "今天早上的空气很清新。",
    "電車は五分遅れて駅に着いた。",
    "창문을 열자 시원한 바람이 들어왔다.",
    "Kissa istuu ikkunalla ja katselee lintuja.",
    "def area(radius): return 3.14159 * radius ** 2",
    "42 + 58 = 100; 7 × 8 = 56; √2 ≈ 1.41421",
    "🙂 👩‍🚀 🇨🇭 — “quotes”, naïve façade, e\u0301, \u200b, \t tabs\nand lines",
]


def all_kinds_of_texts() -> list[str]:
    """Return 200 texts in many languages, from one character to as long as the model reads."""
    rng = random.Random(0)
    mixed = [" ".join(rng.choices(SENTENCES, k=rng.randint(2, 6))) for _ in range(145)]
    long = ["word " * 510, "word " * 509, *(" ".join(rng.choices(SENTENCES[:8], k=25)) for _ in range(8))]
    parts = [sentence[: rng.randint(1, 12)] for sentence in SENTENCES[:20]]
    return [*SENTENCES, *parts, *mixed, *long]

"""What purposes ask of files. Tokens are words here."""

from collections.abc import AsyncIterator

import pytest

from openhearth.errors import BadRequestError
from openhearth.schemas.files import FilePurpose
from openhearth.services import file_formats
from openhearth.services.file_formats import FileFormats, check_claims, check_mime_type

ZIP = b"PK\x03\x04" + bytes(30)
NOT_TEXT = r"not text in UTF-8, UTF-16 or ASCII"


class Reader:
    """Content in pieces of a size, and how many of them were read."""

    def __init__(self, data: bytes, piece_bytes: int = 2**20) -> None:
        self.data = data
        self.piece_bytes = piece_bytes
        self.num_read = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self.data), self.piece_bytes):
            self.num_read += 1
            yield self.data[start : start + self.piece_bytes]

    async def aclose(self) -> None:
        """Do nothing."""


class Counter:
    """Counts words, and remembers what it was given."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    async def __call__(self, text: str) -> int:
        """Return the number of words."""
        self.texts.append(text)
        return len(text.split())


async def check(data: bytes, filename: str, purpose: FilePurpose = "assistants", *, piece_bytes: int = 2**20) -> Reader:
    """Check content, and return what was read of it."""
    reader = Reader(data, piece_bytes)
    await FileFormats(Counter()).check(purpose, reader, filename=filename, num_bytes=len(data))
    return reader


class TestDocuments:
    """Files of purpose `assistants`."""

    @pytest.mark.parametrize(
        ("filename", "data"),
        [
            ("a.txt", b""),
            ("a.py", "print('größe')".encode()),
            ("a.md", "# Größe".encode("utf-8-sig")),
            ("a.csv", "größe,1".encode("utf-16")),
            ("a.pdf", b"%PDF-1.7 \xff"),
            ("a.pdf", b"\r\n\0junk\0%PDF-1.4"),
            ("a.docx", ZIP),
            ("a.XLSX", ZIP),
            ("a.doc", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
            ("a.webp", b"RIFF\x0a\0\0\0WEBPVP8 "),
            ("a.tar", b"\0" * 1024),
            ("a.pkl", b"\x80\x04K\x01."),
            ("upload", b"plain text"),
            ("upload", ZIP),
            ("upload", b"\xff\xd8\xff\xe0"),
        ],
    )
    async def test_taken(self, filename: str, data: bytes) -> None:
        """Every format of the list is taken, and a nameless file by what it holds."""
        check_claims("assistants", filename=filename, num_bytes=len(data))

        await check(data, filename)

    @pytest.mark.parametrize(
        ("filename", "data", "problem"),
        [
            ("a.txt", b"caf\xe9", NOT_TEXT),
            ("a.json", b"{}\0", NOT_TEXT),
            ("a.html", b"text\xc3", NOT_TEXT),
            ("a.md", "odd".encode("utf-16")[:-1], NOT_TEXT),
            ("upload", b"\x7fELF\x02\x01\x01\0", NOT_TEXT),
            ("a.pdf", b"no pdf", r"is called \.pdf, but"),
            ("a.docx", b"%PDF-1.7", r"is called \.docx, but"),
            ("a.png", b"", r"is called \.png, but"),
        ],
    )
    async def test_lying(self, filename: str, data: bytes, problem: str) -> None:
        """What is not what its name says is refused."""
        with pytest.raises(BadRequestError, match=problem) as caught:
            await check(data, filename)

        assert caught.value.param == "file"

    @pytest.mark.parametrize("piece_bytes", [1, 3, 1000])
    async def test_pieces(self, piece_bytes: int) -> None:
        """Where the pieces end is of no matter to what the text says."""
        await check("größe € 𝄞 ".encode() * 50, "a.txt", piece_bytes=piece_bytes)
        await check("größe € 𝄞 ".encode("utf-16"), "a.txt", piece_bytes=piece_bytes + 1)

    def test_extensions(self) -> None:
        """An extension outside the list is refused in the service's words."""
        with pytest.raises(BadRequestError) as caught:
            check_claims("assistants", filename="data.JSONL", num_bytes=1)

        assert caught.value.message.startswith('Invalid extension jsonl. Supported formats: "c", "cpp", "cs", "css", ')
        assert caught.value.message.endswith('"webp", "xlsx", "xml", "zip"')


class TestTokens:
    """How many tokens a document may have."""

    @pytest.fixture(autouse=True)
    def _few(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(file_formats, "MAX_DOCUMENT_TOKENS", 1000)
        monkeypatch.setattr(file_formats, "_CHARACTERS_AT_ONCE", 64)

    async def test_limit(self) -> None:
        """As many tokens as allowed are taken, however they fall into pieces; one more is refused."""
        for piece_bytes in (1, 7, 4096):
            await check(b"word " * 1000, "a.txt", piece_bytes=piece_bytes)
            with pytest.raises(BadRequestError, match="1000 tokens at most"):
                await check(b"word " * 1001, "a.txt", piece_bytes=piece_bytes)

    async def test_short(self) -> None:
        """Of a text with fewer bytes than tokens are allowed, none is counted."""
        counter, reader = Counter(), Reader(b"a" * 1000)

        await FileFormats(counter).check("assistants", reader, filename="a.txt", num_bytes=1000)

        assert counter.texts == []

    async def test_ends_early(self) -> None:
        """Nothing more is read than it takes to see that there are too many."""
        reader = Reader(b"word " * 100_000, piece_bytes=100)

        with pytest.raises(BadRequestError):
            await FileFormats(Counter()).check("assistants", reader, filename="a.txt", num_bytes=len(reader.data))

        assert reader.num_read < 60

    async def test_cut_between_words(self) -> None:
        """The text is counted in short parts, together the whole, that begin with white space where there is some."""
        counter, text = Counter(), "word\n" * 200 + "x" * 200 + " end"

        await FileFormats(counter).check(
            "assistants", Reader(text.encode(), piece_bytes=50), filename="a.txt", num_bytes=1001
        )

        assert "".join(counter.texts) == text
        assert max(map(len, counter.texts)) <= 64
        assert all(part.startswith(("\n", "word", "x", " ")) for part in counter.texts)
        assert sum(len(part.split()) for part in counter.texts) <= 200 + 200 // 64 + 3

    async def test_other_formats(self) -> None:
        """What is no text has no tokens to count."""
        await check(b"%PDF-1.7" + b" word" * 2000, "a.pdf")


class TestVision:
    """Files of purpose `vision`."""

    @pytest.mark.parametrize(
        "data", [b"\x89PNG\r\n\x1a\n..", b"\xff\xd8\xff\xe1..", b"GIF89a..", b"RIFF....WEBPVP8L"], ids=str
    )
    async def test_taken(self, data: bytes) -> None:
        """Pictures are known by how they begin; no more is read."""
        reader = await check(data + bytes(2**21), "upload", "vision")

        assert reader.num_read == 1

    @pytest.mark.parametrize("data", [b"", b"\x89PNG", b"RIFF....WAVE", b"<svg/>", b"%PDF-1.7"], ids=str)
    async def test_refused(self, data: bytes) -> None:
        """Whatever else is refused."""
        with pytest.raises(BadRequestError, match="Must be a PNG, JPEG, GIF or WebP picture") as caught:
            await check(data, "a.png", "vision")

        assert caught.value.param == "file"


@pytest.mark.parametrize(
    ("purpose", "mime_type"),
    [
        ("fine-tune", "text/jsonl"),
        ("batch", "application/x-ndjson"),
        ("assistants", "text/plain; charset=utf-8"),
        ("assistants", "application/PDF"),
        ("vision", "image/webp"),
        ("user_data", "anything"),
        ("evals", ""),
    ],
)
def test_mime_types(purpose: FilePurpose, mime_type: str) -> None:
    """The types of a purpose are taken, in any case and with parameters."""
    check_mime_type(purpose, mime_type)


@pytest.mark.parametrize(
    ("purpose", "mime_type"),
    [("fine-tune", "text/csv"), ("batch", ""), ("assistants", "video/mp4"), ("vision", "application/pdf")],
)
def test_other_mime_types(purpose: FilePurpose, mime_type: str) -> None:
    """Another type is refused, and those that are taken are named."""
    with pytest.raises(BadRequestError, match=rf"does not suit the purpose '{purpose}'\. Supported") as caught:
        check_mime_type(purpose, mime_type)

    assert (caught.value.param, caught.value.code) == ("mime_type", "invalid_value")

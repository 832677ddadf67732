"""Bodies that nobody should send: whatever comes, the answer is an answer, and files stay in their folder."""

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from openhearth.engine.fake.engine import FakeTextEngine
from tests.servers import RunningServer, make_settings, run_server

FORM = "multipart/form-data; boundary=xx"

names = st.sampled_from(
    ["file", "data", "purpose", "expires_after[anchor]", "expires_after[seconds]", "expires_after", "file[]", "a[b][c]"]
) | st.text(max_size=20)
filenames = st.sampled_from(
    [
        "a.jsonl",
        "../../escaped",
        "/tmp/escaped",
        "..\\escaped",
        "C:\\escaped",
        "a\0b",
        ".",
        "",
        "x" * 300,
        "%2e%2e%2fescaped",
    ]
) | st.text(max_size=40)
contents = st.sampled_from(
    [
        b"batch",
        b"fine-tune",
        b"user_data",
        b"created_at",
        b"3600",
        b"9" * 5000,
        b"{}\n",
        b"\r\n--xx",
        b"\r\n--xx--",
        b"",
    ]
) | st.binary(max_size=200)
headers = st.sampled_from(
    [
        b"Content-Transfer-Encoding: base64",
        b"Content-Disposition: form-data",
        b"Content-Disposition: attachment",
        b": empty",
        b"no colon",
        b"X: " + b"y" * 10_000,
    ]
) | st.binary(max_size=40)
header_values = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1).map(str.strip)
members = ["filename", "purpose", "bytes", "mime_type", "expires_after", "anchor", "seconds", "part_ids", "md5"]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(members), inner, max_size=5),
    max_leaves=9,
)


def part(disposition: str, content: bytes, *lines: bytes) -> bytes:
    """Return one part."""
    return b"\r\n".join([b"--xx", f"Content-Disposition: form-data; {disposition}".encode(), *lines, b"", content, b""])


odd_parts = st.builds(
    lambda name, filename, content, lines: part(
        f'name="{name}"' + (f'; filename="{filename}"' if filename is not None else ""), content, *lines
    ),
    names,
    st.none() | filenames,
    contents,
    st.lists(headers, max_size=1),
)
good_parts = st.builds(
    lambda field, filename, content, purpose: [
        part(f'name="{field}"; filename="{filename}"', content),
        *([part('name="purpose"', purpose)] if field == "file" else []),
    ],
    st.sampled_from(["file", "data"]),
    filenames,
    st.binary(max_size=200),
    st.sampled_from([b"user_data", b"vision", b"batch", b"fine-tune"]),
)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Return a body that is right but for its names, or has an odd part, or a piece too much, or is noise."""
    body_parts = draw(good_parts)
    kind = draw(st.sampled_from(["right", "right", "odd part", "too little", "too much", "noise"]))
    if kind == "odd part":
        body_parts.append(draw(odd_parts))
    body = b"".join(draw(st.permutations(body_parts))) + b"--xx--\r\n"
    start, length = draw(st.integers(0, len(body))), draw(st.integers(0, 20))
    if kind == "too little":
        return body[:start] + body[start + length :]
    if kind == "too much":
        return body[:start] + draw(st.binary(max_size=20)) + body[start:]
    return draw(st.binary(max_size=300)) if kind == "noise" else body


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Run a server of its own, whose home shows every stray file."""
    with run_server(make_settings(tmp_path_factory.mktemp("fuzzed")), FakeTextEngine()) as running:
        yield running


@pytest.fixture(scope="module")
def others(server: RunningServer) -> set[Path]:
    """Return the files that are there from the beginning."""
    return files_outside(server)


@pytest.fixture(scope="module")
def http(server: RunningServer) -> Iterator[httpx2.Client]:
    """Give a plain HTTP client."""
    with httpx2.Client(base_url=server.url) as client:
        yield client


@pytest.fixture(scope="module")
def upload_id(server: RunningServer) -> str:
    """Return the id of an upload that takes parts."""
    with server.client() as client:
        return client.uploads.create(filename="x", purpose="user_data", bytes=9, mime_type="text/plain").id


@pytest.fixture(scope="module")
def file_id(server: RunningServer) -> str:
    """Return the id of a file of ten bytes."""
    with server.client() as client:
        return client.files.create(file=("a", b"0123456789"), purpose="user_data").id


fuzzed = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def files_outside(server: RunningServer) -> set[Path]:
    """Return all files that the server could have reached, but for the blobs."""
    home = server.settings.home
    return {path for path in home.parent.rglob("*") if path.is_file() and path.parent != home / "blobs"}


def check(server: RunningServer, others: set[Path], response: httpx2.Response) -> None:
    """See that an answer is a success or a proper error, and that nothing lies where it should not."""
    answer = response.json()
    if response.status_code != 200:
        assert response.status_code in (400, 413), answer
        assert answer["error"].keys() == {"message", "type", "param", "code"}
    elif answer["object"] == "file":
        assert (server.settings.home / "blobs" / answer["id"]).stat().st_size == answer["bytes"]
    assert files_outside(server) == others
    assert all(path.name.startswith(("file-", "part_")) for path in (server.settings.home / "blobs").glob("*"))


@fuzzed
@given(body=bodies())
@example(body=b"")
@example(body=b"--xx--\r\n")
@example(body=b'--xx\r\nContent-Disposition: form-data; name="file"; filename="../../escaped"\r\n\r\nx\r\n--xx--\r\n')
def test_any_form(server: RunningServer, others: set[Path], http: httpx2.Client, body: bytes) -> None:
    """No form makes the server fail or puts a file anywhere but among the blobs."""
    check(server, others, http.post("/v1/files", content=body, headers={"content-type": FORM}))


@fuzzed
@given(body=bodies())
def test_any_part(server: RunningServer, others: set[Path], http: httpx2.Client, upload_id: str, body: bytes) -> None:
    """No part of an upload does either."""
    check(server, others, http.post(f"/v1/uploads/{upload_id}/parts", content=body, headers={"content-type": FORM}))


@fuzzed
@given(content_type=header_values | header_values.map("multipart/form-data; boundary={}".format))
def test_any_content_type(server: RunningServer, others: set[Path], http: httpx2.Client, content_type: str) -> None:
    """No content type makes the server fail."""
    check(server, others, http.post("/v1/files", content=b"--xx--\r\n", headers={"content-type": content_type}))


@fuzzed
@given(body=json_values)
def test_any_json(server: RunningServer, others: set[Path], http: httpx2.Client, upload_id: str, body: object) -> None:
    """No JSON makes the routes of uploads fail."""
    for path in ("/v1/uploads", f"/v1/uploads/{upload_id}/complete"):
        check(server, others, http.post(path, json=body))


@fuzzed
@given(value=header_values | st.from_regex(r"bytes=[0-9]{0,20}-[0-9]{0,20}(,[0-9]*-[0-9]*)?", fullmatch=True))
def test_any_range(http: httpx2.Client, file_id: str, value: str) -> None:
    """No range makes the server fail, and what it gives is as long as it says."""
    response = http.get(f"/v1/files/{file_id}/content", headers={"range": value})

    assert response.status_code in (200, 206, 416)
    assert len(response.content) == int(response.headers["content-length"])

"""What is sent to DynamoDB, and what is made of an answer that is not the service's own."""

import threading
import zlib
from base64 import b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import orjson
import pytest
from typing_extensions import override

from eventcore.stores.dynamodb.calls import CallFailedError, ConditionFailedError
from eventcore.stores.dynamodb.client import BotoTransport

CREDENTIALS = {
    "aws_access_key_id": "AKIDEXAMPLE",
    "aws_secret_access_key": "not a secret",
    "aws_session_token": "a-token",
}


class Service(ThreadingHTTPServer):
    """Answers everything with what it was told to, and keeps what it was sent."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer: tuple[int, dict[str, str], bytes] = (200, {}, b"{}")
        self.sent: list[tuple[dict[str, str], bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Service

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.sent.append((dict(self.headers), body))
        status, headers, answer = self.server.answer
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(answer))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer)

    @override
    def log_message(self, *_args: object) -> None:
        pass


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
    thread = threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield service
    service.shutdown()
    thread.join()
    service.server_close()


@pytest.fixture
def transport(service: Service) -> Iterator[BotoTransport]:
    transport = BotoTransport(region="eu-west-1", endpoint_url=service.url, credentials=CREDENTIALS)
    yield transport
    transport.close()


def test_a_request_is_signed_for_the_service_with_the_session_it_belongs_to(
    service: Service, transport: BotoTransport
) -> None:
    transport.call("PutItem", {"TableName": "t", "Item": {"b": {"B": b"\x00\xff"}}})

    headers, body = service.sent[0]
    assert headers["X-Amz-Target"] == "DynamoDB_20120810.PutItem"
    assert headers["X-Amz-Security-Token"] == "a-token"
    algorithm, credential, signed, signature = headers["Authorization"].split(" ")
    assert algorithm == "AWS4-HMAC-SHA256"
    assert credential.startswith("Credential=AKIDEXAMPLE/")
    assert credential.endswith("/eu-west-1/dynamodb/aws4_request,")
    assert {"host", "x-amz-date", "x-amz-security-token", "x-amz-target"} <= set(
        signed.removeprefix("SignedHeaders=").rstrip(",").split(";")
    )
    assert len(signature.removeprefix("Signature=")) == 64
    assert orjson.loads(body)["Item"]["b"]["B"] == b64encode(b"\x00\xff").decode()


def test_credentials_are_asked_for_at_each_call(service: Service, transport: BotoTransport) -> None:
    transport.call("ListTables", {})
    transport._found.token = "a-newer-token"
    transport.call("ListTables", {})

    assert [headers["X-Amz-Security-Token"] for headers, _ in service.sent] == [
        "a-token",
        "a-newer-token",
    ]


def test_a_damaged_answer_is_no_answer(service: Service, transport: BotoTransport) -> None:
    answer = b'{"TableNames":["a"]}'
    service.answer = (200, {"x-amz-crc32": str(zlib.crc32(answer))}, answer)
    assert transport.call("ListTables", {}) == {"TableNames": ["a"]}

    service.answer = (200, {"x-amz-crc32": str(zlib.crc32(answer))}, answer.replace(b"a", b"b"))
    with pytest.raises(CallFailedError, match="damaged") as caught:
        transport.call("ListTables", {})

    assert caught.value.kind == "unknown"


@pytest.mark.parametrize(
    ("status", "page", "kind"),
    [
        (200, b"<html>Welcome to the hotel</html>", "unknown"),
        (200, b'"text"', "unknown"),
        (502, b"<html>Bad gateway</html>", "unknown"),
        (503, b"", "unknown"),
        (403, b"<html>Not from here</html>", "refused"),
        (301, b"", "refused"),
    ],
)
def test_the_page_of_a_proxy_is_not_taken_for_an_answer(  # noqa: PLR0917 - cases
    service: Service, transport: BotoTransport, status: int, page: bytes, kind: str
) -> None:
    service.answer = (status, {}, page)

    with pytest.raises(CallFailedError) as caught:
        transport.call("GetItem", {"TableName": "t"})

    assert caught.value.kind == kind


def test_an_item_in_an_error_is_handed_out(service: Service, transport: BotoTransport) -> None:
    item = {"pk": {"S": "a"}}
    error = {"__type": "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException"}
    service.answer = (400, {}, orjson.dumps({**error, "message": "no", "Item": item}))

    with pytest.raises(ConditionFailedError) as caught:
        transport.call("PutItem", {"TableName": "t"})

    assert caught.value.item == item


def test_without_credentials_nothing_is_sent(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    transport = BotoTransport(region="eu-west-1", endpoint_url=service.url)

    with pytest.raises(CallFailedError) as caught:
        transport.call("ListTables", {})
    transport.close()

    assert caught.value.kind == "forbidden"
    assert service.sent == []

"""Google Cloud Storage over HTTP (gcp-storage-emulator), corrected to what Google documents.

    python -m tests.gcs_emulator      # prints its URL; ends with SIGTERM

The emulator lacks some of what our adapter relies on, or does it otherwise than
https://cloud.google.com/storage/docs/json_api/v1 says. Here,

- `ifGenerationMatch=0` on an object that is there is refused with 412; it would be written over;
- bytes of a resumable upload that have arrived are ignored when they are sent again, and an upload
  that has ended answers with its object; it would answer 400 and 404;
- `generation` of an object that was replaced is 404; it would give the newer one;
- a range that begins past the end is 416; it would answer 206 with nothing;
- a list has pages of `maxResults`; it would have one;
- a resumable upload can be cancelled by DELETE; it knows no such call;
- `POST /token` gives an access token for a service account's assertion, as oauth2.googleapis.com
  does; it has none. Neither the token nor a link's signature is looked at.

One request is served after the other, so each of them happens at one moment.
"""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from http.server import HTTPServer
from typing import Any

from gcp_storage_emulator import server as emulator
from gcp_storage_emulator.exceptions import BadRequest, NotFound
from gcp_storage_emulator.handlers import objects
from gcp_storage_emulator.storage import Storage

__all__: list[str] = []

_Handler = Callable[[Any, Any, Any], None]


class _Refused(Exception):
    """The request ends here, with a status."""


class _CorrectedStorage(Storage):  # type: ignore[misc]  # the emulator has no types
    asked: Any = None  #: the request that is being served

    def __init__(self) -> None:
        super().__init__(use_memory_fs=True)
        self.arrived: dict[str, bytearray] = {}
        self.ended: dict[str, Any] = {}

    def create_resumable_upload(self, bucket: str, name: str, resource: Any) -> Any:
        self._check_condition(bucket, name)
        return super().create_resumable_upload(bucket, name, resource)

    def create_file(
        self, bucket: str, name: str, data: bytes, resource: Any, upload: str | None = None
    ) -> None:
        self._check_condition(bucket, name)
        super().create_file(bucket, name, data, resource, upload)
        if upload:
            self.arrived.pop(upload, None)
            self.ended[upload] = resource

    def add_to_resumable_upload(
        self,
        upload: str,
        data: bytes,
        total_size: int | None = None,
        expected_start: int | None = None,
    ) -> bytes | None:
        whole = self.arrived.setdefault(upload, bytearray())
        start = len(whole) if expected_start is None else expected_start
        if start > len(whole):
            raise BadRequest("bytes are missing")
        whole += (data or b"")[len(whole) - start :]
        return bytes(whole) if total_size is not None and len(whole) >= total_size else None

    def get_resumable_byte_count(self, upload: str) -> int:
        return len(self.arrived.get(upload, b""))

    def _check_condition(self, bucket: str, name: str) -> None:
        new_only = self.asked.query.get("ifGenerationMatch") == ["0"]
        if new_only and name in self.objects.get(bucket, {}):
            raise _Refused(HTTPStatus.PRECONDITION_FAILED)


def _of_generation(handler: _Handler) -> _Handler:
    def answer(request: Any, response: Any, storage: Any) -> None:
        names = request.params["bucket_name"], request.params["object_id"]
        try:
            there = storage.get_file_obj(*names)
        except NotFound:
            raise _Refused(HTTPStatus.NOT_FOUND) from None
        if request.query.get("generation", [there["generation"]]) != [there["generation"]]:
            raise _Refused(HTTPStatus.NOT_FOUND)
        media = handler is objects.download or request.query.get("alt") == ["media"]
        span = re.match(r"bytes=(\d+)-", request.get_header("range", "") or "")
        if media and span and int(span[1]) >= int(there["size"]):
            raise _Refused(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
        handler(request, response, storage)

    return answer


def _in_pages(request: Any, response: Any, storage: Any) -> None:
    prefix = request.query.get("prefix", [None])[0]
    try:
        found, _ = storage.get_file_list(request.params["bucket_name"], prefix)
    except NotFound:
        raise _Refused(HTTPStatus.NOT_FOUND) from None
    start = int(request.query.get("pageToken", ["0"])[0])
    end = start + int(request.query.get("maxResults", ["1000"])[0])
    more = {"nextPageToken": str(end)} if end < len(found) else {}
    response.json({"kind": "storage#objects", "items": found[start:end], **more})


def _unless_ended(handler: _Handler) -> _Handler:
    def answer(request: Any, response: Any, storage: Any) -> None:
        ended = storage.ended.get(request.query["upload_id"][0])
        if ended is None:
            handler(request, response, storage)
        elif request.data is not None or not ended["size"]:
            response.json(ended)

    return answer


def _cancel(request: Any, response: Any, storage: Any) -> None:
    upload = request.query["upload_id"][0]
    storage.arrived.pop(upload, None)
    storage.resumable.pop(upload, None)
    response.status = _ClientClosedRequest


def _token(request: Any, response: Any, _storage: Any) -> None:
    assert b"assertion=" in request.data
    response.json({"access_token": "a-token", "expires_in": 3600, "token_type": "Bearer"})


class _ClientClosedRequest:
    """What Google answers to a cancelled upload; no status of the standard library's."""

    value = 499
    phrase = "Client Closed Request"


class _Request(emulator.Request):  # type: ignore[misc]
    def set_match(self, match: Any) -> None:
        super().set_match(match)
        self._request_handler.storage.asked = self


class _Served(emulator.RequestHandler):  # type: ignore[misc]
    def __getattribute__(self, name: str) -> Any:
        if name.startswith("do_"):
            return partial(self.serve, name.removeprefix("do_"))
        return super().__getattribute__(name)

    def serve(self, method: str) -> None:
        try:
            emulator.Router(self).handle(method)
        except _Refused as exc:
            self.send_response(exc.args[0])
            self.send_header("Content-Length", "0")
            self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class _Server(HTTPServer):
    request_queue_size = 128

    def handle_error(self, *_: Any) -> None:
        """A client that went away is what these tests are about."""


def _correct() -> None:
    for _, handlers in emulator.HANDLERS:
        for method, handler in list(handlers.items()):
            if handler in (objects.get, objects.download):
                handlers[method] = _of_generation(handler)
            elif handler is objects.ls:
                handlers[method] = _in_pages
            elif handler is objects.upload_partial:
                handlers[method] = _unless_ended(handler)
                handlers["DELETE"] = _cancel
    emulator.HANDLERS = ((r"^/token$", {"POST": _token}), *emulator.HANDLERS)
    emulator.Request = _Request


def _main() -> None:
    _correct()
    server = _Server(("127.0.0.1", 0), partial(_Served, _CorrectedStorage()))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    sys.stdout.write(f"Running on http://127.0.0.1:{server.server_address[1]}\n")
    sys.stdout.flush()
    server.serve_forever(0.05)


if __name__ == "__main__":
    _main()

"""What is known of an RPC."""

from __future__ import annotations

from typing import Generic, TypeVar

from google.protobuf.message import Message

from sessiond._view import View

RequestT = TypeVar("RequestT", bound=Message)
ResponseT = TypeVar("ResponseT", bound=Message)
ViewT = TypeVar("ViewT", bound=View)


class Method(Generic[RequestT, ResponseT, ViewT]):
    __slots__ = ("name", "path", "request", "response", "view", "changes")

    def __init__(
        self,
        service: str,
        name: str,
        request: type[RequestT],
        response: type[ResponseT],
        view: type[ViewT],
        changes: bool,
    ) -> None:
        self.name = name
        self.path = f"/sessiond.v1.{service}/{name}"
        self.request = request
        self.response = response
        self.view = view
        # Whether its request has a request_id.
        self.changes = changes

"""Lists that are read page by page while somebody goes through them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Generic, TypeVar

from sessiond._view import View

ItemT = TypeVar("ItemT", bound=View)


class Pager(Generic[ItemT]):
    """The items, in order. A page is asked for when its first item is; a refusal is raised there.

    `pages()` gives lists, a page each; `next_page_token` goes on behind the last page that was read, in another process
    too.
    """

    def __init__(self, read: Callable[[Any], View], request: Any, field: str, item: type[ItemT]) -> None:
        self._read = read
        self._request = request
        self._field = field
        self._item = item
        self._items = self._all()
        #: Empty at the end.
        self.next_page_token: str = request.page_token

    def pages(self) -> Iterator[list[ItemT]]:
        while True:
            page = self._read(self._request).message
            self.next_page_token = self._request.page_token = page.next_page_token
            yield [self._item(each) for each in getattr(page, self._field)]
            if not page.next_page_token:
                return

    def __iter__(self) -> Iterator[ItemT]:
        return self._items

    def __next__(self) -> ItemT:
        return next(self._items)

    def _all(self) -> Iterator[ItemT]:
        for page in self.pages():
            yield from page


class AioPager(Generic[ItemT]):
    """As Pager, for `async for`."""

    def __init__(self, read: Callable[[Any], Awaitable[View]], request: Any, field: str, item: type[ItemT]) -> None:
        self._read = read
        self._request = request
        self._field = field
        self._item = item
        self._items = self._all()
        #: Empty at the end.
        self.next_page_token: str = request.page_token

    async def pages(self) -> AsyncIterator[list[ItemT]]:
        while True:
            page = (await self._read(self._request)).message
            self.next_page_token = self._request.page_token = page.next_page_token
            yield [self._item(each) for each in getattr(page, self._field)]
            if not page.next_page_token:
                return

    def __aiter__(self) -> AsyncIterator[ItemT]:
        return self._items

    async def __anext__(self) -> ItemT:
        return await self._items.__anext__()

    async def _all(self) -> AsyncIterator[ItemT]:
        async for page in self.pages():
            for item in page:
                yield item

"""What answers are made of: a view of a message, whose fields are converted when they are looked at."""

from __future__ import annotations

import enum
from typing import Any, TypeVar

from google.protobuf import json_format
from google.protobuf.message import Message

SelfT = TypeVar("SelfT", bound="OpenEnum")


class OpenEnum(enum.IntEnum):
    """An enum of the contract. A value that a newer daemon sends is a member too, named UNKNOWN_N."""

    @classmethod
    def _missing_(cls: type[SelfT], value: object) -> SelfT | None:
        if not isinstance(value, int):
            return None
        member = int.__new__(cls, value)
        member._name_ = f"UNKNOWN_{value}"
        member._value_ = value
        return cls._value2member_map_.setdefault(value, member)  # type: ignore[return-value]


class View:
    """A message of the contract, read as Python's own types. `message` is Protobuf's."""

    __slots__ = ("message",)

    def __init__(self, message: Any) -> None:
        self.message = message

    def to_dict(self) -> dict[str, Any]:
        """Protobuf's JSON of it, with the contract's names; fields at their default are left out."""
        found: dict[str, Any] = json_format.MessageToDict(self.message, preserving_proto_field_name=True)
        return found

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return bool(self.message == other.message)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        fields = ", ".join(f"{field.name}={getattr(self, field.name)!r}" for field, _ in self.message.ListFields())
        return f"{type(self).__name__}({fields})"

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.message,))


def message_of(value: View | Message) -> Message:
    if isinstance(value, View):
        found: Message = value.message
        return found
    return value

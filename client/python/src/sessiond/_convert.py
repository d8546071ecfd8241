"""Between Python's types and Protobuf's."""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import ListValue, Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp

from sessiond._view import View, message_of

# Beyond it a double cannot tell a whole number from its neighbour.
_EXACT_MAX = 2**53


def from_struct(struct: Struct) -> dict[str, Any]:
    """Whole numbers come back as int up to 2**53; keys in their order, as Protobuf keeps none."""
    return {key: from_value(value) for key, value in sorted(struct.fields.items())}


def from_value(value: Value) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        return value.string_value
    if kind == "number_value":
        return _from_number(value.number_value)
    if kind == "bool_value":
        return value.bool_value
    if kind == "struct_value":
        return from_struct(value.struct_value)
    if kind == "list_value":
        return [from_value(each) for each in value.list_value.values]
    return None


def _from_number(number: float) -> float:
    negative_zero = number == 0 and math.copysign(1, number) < 0
    whole = number.is_integer() and abs(number) <= _EXACT_MAX and not negative_zero
    return int(number) if whole else number


def to_struct(values: Mapping[str, Any], struct: Struct, path: str = "") -> None:
    """Raises TypeError or ValueError, with the key's path, for what JSON cannot carry."""
    struct.SetInParent()
    for key, each in values.items():
        if not isinstance(key, str):
            raise TypeError(f"{path or 'The object'} has the key {key!r}; keys are strings.")
        _to_value(each, struct.fields[key], f"{path}.{key}" if path else key)


def _to_value(given: Any, value: Value, path: str) -> None:
    if given is None:
        value.null_value = 0  # type: ignore[assignment]
    elif isinstance(given, bool):
        value.bool_value = given
    elif isinstance(given, str):
        value.string_value = given
    elif isinstance(given, int):
        if not _is_double(given):
            raise ValueError(f"{path} is {given}, which a double does not hold. Send it as a string.")
        value.number_value = float(given)
    elif isinstance(given, float):
        if not math.isfinite(given):
            raise ValueError(f"{path} is {given}, which JSON does not know.")
        value.number_value = given
    elif isinstance(given, Mapping):
        to_struct(given, value.struct_value, path)
    elif isinstance(given, (list, tuple)):
        _to_list(given, value.list_value, path)
    else:
        raise TypeError(f"{path} is a {type(given).__name__}, which JSON does not know. Send it as a string.")


def _is_double(given: int) -> bool:
    try:
        return float(given) == given
    except OverflowError:
        return False


def _to_list(given: Sequence[Any], values: ListValue, path: str) -> None:
    values.SetInParent()
    for index, each in enumerate(given):
        _to_value(each, values.values.add(), f"{path}[{index}]")


def from_timestamp(timestamp: Timestamp) -> datetime.datetime:
    """UTC."""
    return timestamp.ToDatetime(tzinfo=datetime.timezone.utc)


def to_timestamp(given: datetime.datetime, timestamp: Timestamp) -> None:
    if given.tzinfo is None:
        raise ValueError(f"{given!r} has no time zone. Say which: datetime.now(timezone.utc), for example.")
    timestamp.FromDatetime(given)


def from_duration(duration: Duration) -> datetime.timedelta:
    return duration.ToTimedelta()


def to_duration(given: datetime.timedelta | float, duration: Duration) -> None:
    """A number is in seconds."""
    if not isinstance(given, datetime.timedelta):
        given = datetime.timedelta(seconds=given)
    duration.FromTimedelta(given)
    duration.SetInParent()


def to_messages(given: Iterable[View | Message | Mapping[str, Any]], messages: Any) -> None:
    for each in given:
        to_message(each, messages.add())


def to_message(given: View | Message | Mapping[str, Any], message: Any) -> None:
    """Fills a message from a view, from another message, or from an object by the names of its fields."""
    if not isinstance(given, Mapping):
        message.CopyFrom(message_of(given))
        return
    message.SetInParent()
    fields = message.DESCRIPTOR.fields_by_name
    for name, each in given.items():
        field = fields.get(name)
        if field is None:
            raise TypeError(f"{message.DESCRIPTOR.name} has no field {name!r}; it has {', '.join(fields)}.")
        if each is None:
            continue
        kind = field.message_type
        is_map = kind is not None and kind.GetOptions().map_entry
        if is_map:
            getattr(message, name).update(each)
        elif kind is None and _is_repeated(field):
            getattr(message, name).extend(_number(field, one) for one in each)
        elif kind is None:
            setattr(message, name, _number(field, each))
        elif _is_repeated(field):
            to_messages(each, getattr(message, name))
        elif kind.full_name == "google.protobuf.Struct" and isinstance(each, Mapping):
            to_struct(each, getattr(message, name), name)
        elif kind.full_name == "google.protobuf.Timestamp" and isinstance(each, datetime.datetime):
            to_timestamp(each, getattr(message, name))
        elif kind.full_name == "google.protobuf.Duration" and isinstance(each, (datetime.timedelta, int, float)):
            to_duration(each, getattr(message, name))
        else:
            to_message(each, getattr(message, name))


def _is_repeated(field: Any) -> bool:
    repeated = getattr(field, "is_repeated", None)  # Newer Protobufs have it in place of the label.
    return bool(field.label == field.LABEL_REPEATED if repeated is None else repeated)


def _number(field: Any, given: Any) -> Any:
    """An enum's value by its name."""
    if field.enum_type is None or not isinstance(given, str):
        return given
    value = field.enum_type.values_by_name.get(given)
    if value is None:
        known = ", ".join(field.enum_type.values_by_name)
        raise ValueError(f"{field.name} is {given!r}; it can be {known}.")
    return value.number

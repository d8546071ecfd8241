"""Protobuf by hand: bytes that no client library would write, and the paths of a message's fields.

A request is a valid one with something appended: a later value of a field replaces an earlier one,
messages merge, and maps and lists grow.
"""

import struct

from google.protobuf.descriptor import FieldDescriptor

VARINT, FIXED64, BYTES = 0, 1, 2


def varint(number):
    """The number, as the 64-bit two's complement that it is on the wire."""
    number &= (1 << 64) - 1
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def whole(field, number):
    """A field with a whole number."""
    return varint(field << 3 | VARINT) + varint(number)


def double(field, number):
    return varint(field << 3 | FIXED64) + struct.pack("<d", number)


def blob(field, content):
    """A field with a string, bytes or message."""
    content = content.encode() if isinstance(content, str) else content
    return varint(field << 3 | BYTES) + varint(len(content)) + content


def within(path, content):
    """Content as it looks from the message that the path of field descriptors begins at. What lies
    in a map is under the key `k`."""
    for field in reversed(path):
        is_entry = field.message_type and field.message_type.GetOptions().map_entry
        if is_entry and not content.startswith(blob(1, "")[:1]):
            content = blob(1, "k") + content
        content = blob(field.number, content)
    return content


# google.protobuf.Struct, Value and ListValue.


def entry(key, value):
    """What one field of a Struct adds to it; `value` is a Value."""
    return blob(1, blob(1, key) + blob(2, value))


def number_value(number):
    return double(2, number)


def string_value(text):
    return blob(3, text)


def list_value(*values):
    return blob(6, b"".join(blob(1, value) for value in values))


def deep_struct(levels):
    """A Struct of so many levels, with the key `a` at each."""
    fields = entry("a", string_value("bottom"))
    for _ in range(levels - 1):
        fields = entry("a", blob(5, fields))
    return fields


def deep_list(levels):
    """A Struct with a list in it, so many levels in all."""
    value = string_value("bottom")
    for _ in range(levels - 1):
        value = list_value(value)
    return entry("a", value)


# What is not taken apart: its insides are not ours to name.
OPAQUE = {"google.protobuf.Struct", "google.protobuf.Timestamp", "google.protobuf.Duration"}


def leaves(message, path=()):
    """The paths of all fields of a message, as tuples of descriptors, those of its parts too."""
    for field in message.fields:
        here = (*path, field)
        inside = field.message_type
        if field.type != FieldDescriptor.TYPE_MESSAGE or inside.full_name in OPAQUE:
            yield here
        else:
            yield from leaves(inside, here)


def dotted(path):
    return ".".join(field.name for field in path)

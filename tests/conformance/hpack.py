"""Headers of HTTP/2 (HPACK, RFC 7541): reads whatever an encoder may write, and writes literals only."""

_STATIC = [
    *[(":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"), (":path", "/index.html")],
    *[(":scheme", "http"), (":scheme", "https"), (":status", "200"), (":status", "204"), (":status", "206")],
    *[(":status", "304"), (":status", "400"), (":status", "404"), (":status", "500")],
    *[("accept-charset", ""), ("accept-encoding", "gzip, deflate"), ("accept-language", ""), ("accept-ranges", "")],
    *[("accept", ""), ("access-control-allow-origin", ""), ("age", ""), ("allow", ""), ("authorization", "")],
    *[("cache-control", ""), ("content-disposition", ""), ("content-encoding", ""), ("content-language", "")],
    *[("content-length", ""), ("content-location", ""), ("content-range", ""), ("content-type", ""), ("cookie", "")],
    *[("date", ""), ("etag", ""), ("expect", ""), ("expires", ""), ("from", ""), ("host", ""), ("if-match", "")],
    *[("if-modified-since", ""), ("if-none-match", ""), ("if-range", ""), ("if-unmodified-since", "")],
    *[("last-modified", ""), ("link", ""), ("location", ""), ("max-forwards", ""), ("proxy-authenticate", "")],
    *[("proxy-authorization", ""), ("range", ""), ("referer", ""), ("refresh", ""), ("retry-after", "")],
    *[("server", ""), ("set-cookie", ""), ("strict-transport-security", ""), ("transfer-encoding", "")],
    *[("user-agent", ""), ("vary", ""), ("via", ""), ("www-authenticate", "")],
]
assert len(_STATIC) == 61

# How long the code of each byte is (appendix B). The code is canonical: its bits follow from the lengths.
# fmt: off
_CODE_LENGTHS = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6,
    6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5,
    6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24,
    23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21,
    23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26,
    26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21,
    26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26,
    26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
]
# fmt: on


def _codes():
    codes, code, length = {}, 0, 0
    for symbol in sorted(range(256), key=lambda each: (_CODE_LENGTHS[each], each)):
        code <<= _CODE_LENGTHS[symbol] - length
        length = _CODE_LENGTHS[symbol]
        codes[(length, code)] = symbol
        code += 1
    return codes


_CODES = _codes()


def _huffman(octets):
    text, code, length = bytearray(), 0, 0
    for octet in octets:
        for bit in range(7, -1, -1):
            code, length = code << 1 | octet >> bit & 1, length + 1
            symbol = _CODES.get((length, code))
            if symbol is not None:
                text.append(symbol)
                code, length = 0, 0
    return bytes(text)  # What is left is padding.


class Decoder:
    """The headers of one direction of one connection."""

    def __init__(self):
        self._table = []
        self._size_max = 4096

    def headers(self, block):
        """Names and values, as text, in their order."""
        headers, at = [], 0
        while at < len(block):
            first = block[at]
            if first & 0x80:
                index, at = _integer(block, at, 7)
                headers.append(self._entry(index))
            elif first & 0xE0 == 0x20:
                self._size_max, at = _integer(block, at, 5)
                self._evict()
            else:
                indexed = bool(first & 0x40)
                index, at = _integer(block, at, 6 if indexed else 4)
                if index:
                    name = self._entry(index)[0]
                else:
                    name, at = _string(block, at)
                value, at = _string(block, at)
                headers.append((name, value))
                if indexed:
                    self._table.insert(0, (name, value))
                    self._evict()
        return headers

    def _entry(self, index):
        return _STATIC[index - 1] if index <= 61 else self._table[index - 62]

    def _evict(self):
        def size():
            return sum(len(name) + len(value) + 32 for name, value in self._table)

        while self._table and size() > self._size_max:
            self._table.pop()


def encode(headers):
    """A block of literals that leaves the other side's table alone."""
    return b"".join(b"\0" + _literal(name) + _literal(value) for name, value in headers)


def _literal(text):
    octets = text.encode("latin-1")
    length = len(octets)
    if length < 127:
        return bytes([length]) + octets
    prefix, length = bytearray([127]), length - 127
    while length >= 128:
        prefix.append(length & 0x7F | 0x80)
        length >>= 7
    prefix.append(length)
    return bytes(prefix) + octets


def _integer(block, at, bits):
    mask = (1 << bits) - 1
    value, at = block[at] & mask, at + 1
    if value < mask:
        return value, at
    shift = 0
    while True:
        octet, at = block[at], at + 1
        value += (octet & 0x7F) << shift
        shift += 7
        if octet < 0x80:
            return value, at


def _string(block, at):
    huffman = bool(block[at] & 0x80)
    length, at = _integer(block, at, 7)
    octets = bytes(block[at : at + length])
    return (_huffman(octets) if huffman else octets).decode("latin-1"), at + length

"""Mutations of XML: attributes, elements, and what XML can do to whoever believes it."""

from __future__ import annotations

import random
import re

from tests.fuzz.mutate import TEXTS, mutate_text, number

_ATTRIBUTE = re.compile(rb'\s[\w:]+="([^"]*)"')
_ELEMENT = re.compile(rb"<[A-Za-z][^<>]*/>|<([A-Za-z]\w*)\b[^<>]*>[^<>]*</\1>")
_OPENING = re.compile(rb"<[A-Za-z][^<>]*>")

_LAUGHS = b"".join(
    b'<!ENTITY l%d "%s">' % (level, b"&l%d;" % (level - 1) * 10 if level else b"ha" * 10)
    for level in range(10)
)
DOCTYPES = (
    b"<!DOCTYPE OME [" + _LAUGHS + b"]>",
    b'<!DOCTYPE OME [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
    b'<!DOCTYPE OME [<!ENTITY x SYSTEM "http://127.0.0.1:9/x">]>',
    b'<!DOCTYPE OME SYSTEM "http://127.0.0.1:9/x.dtd">',
    b'<!DOCTYPE OME [<!ENTITY % x SYSTEM "file:///etc/passwd"> %x;]>',
    b'<!DOCTYPE OME [<!ENTITY x "y">]>',
    b"<!DOCTYPE OME>",
)
_ENCODINGS = (b"utf-16", b"utf-7", b"latin-1", b"nonsense", b"cp037", b"", b"rot13", b"idna")


def mutate_xml(rng: random.Random, data: bytes) -> bytes:
    """Return XML after one change."""
    what = rng.randrange(14)
    attributes = list(_ATTRIBUTE.finditer(data))
    elements = list(_ELEMENT.finditer(data))
    openings = list(_OPENING.finditer(data))
    if what < 6 and attributes:
        start, end = rng.choice(attributes).span(1)
        value = str(number(rng)) if rng.random() < 0.7 else rng.choice(TEXTS)
        raw = value.encode(errors="surrogatepass")
        if rng.random() < 0.9:
            raw = raw.replace(b"&", b"&amp;").replace(b"<", b"&lt;").replace(b'"', b"&quot;")
        return data[:start] + raw + data[end:]
    if what == 6 and elements:
        start, end = rng.choice(elements).span()
        return data[:start] + data[start:end] * rng.choice((0, 2, 50, 3000)) + data[end:]
    if what == 7:
        head, closed, rest = (
            data.partition(b"?>") if data.startswith(b"<?xml") else (b"", b"", data)
        )
        use = rng.choice((b"", b"&x;", b"&l9;"))
        at = rest.find(b">") + 1
        return head + closed + rng.choice(DOCTYPES) + rest[:at] + use + rest[at:]
    if what == 8:
        _, _, rest = data.rpartition(b"?>")
        return b'<?xml version="1.0" encoding="' + rng.choice(_ENCODINGS) + b'"?>' + rest
    if what == 9 and openings:
        at = rng.choice(openings).end()
        depth = rng.choice((10, 1000, 50_000))
        closing = b"</a>" * depth if rng.random() < 0.5 else b""
        return data[:at] + b"<a>" * depth + closing + data[at:]
    if what == 10 and openings:
        at = rng.choice(openings).end()
        put = rng.choice(
            (b"<Image/>", b"<TiffData/>", b"<Channel/>", b"<Plane/>", b'<TiffData IFD="0"/>')
        )
        return data[:at] + put * rng.choice((1, 100, 5000)) + data[at:]
    if what == 11 and openings:
        start, end = rng.choice(openings).span()
        return data[:start] + data[end:]
    if what == 12:
        at = rng.randrange(len(data) + 1)
        put = rng.choice(
            (b"<!--", b"<![CDATA[", b"<?x ", b"&#0;", b"&#xD800;", b"\0", b"\xff", b"]]>")
        )
        return data[:at] + put + data[at:]
    return mutate_text(rng, data)

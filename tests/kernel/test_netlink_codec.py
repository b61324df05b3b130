"""The layout of netlink messages: whatever comes, walks end, and stay inside the buffer."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netperf_exporter.kernel.netlink import codec

TYPE = st.integers(1, 0x3FFF)
U32 = st.integers(0, 2**32 - 1)
ATTRIBUTES = st.lists(st.tuples(TYPE, st.binary(max_size=40)))


@given(st.binary(max_size=200))
def test_messages_of_any_bytes_are_inside_the_buffer(buffer: bytes) -> None:
    """One after the other, each with a whole header before it."""
    end = 0
    for span in codec.messages(buffer):
        assert end + codec.HEADER.size <= span.start <= span.end <= len(buffer)
        end = span.end


@given(st.lists(st.integers(0, 70)), st.binary(max_size=400))
def test_attributes_of_any_bytes_are_between_the_positions(
    lengths: list[int], noise: bytes
) -> None:
    """Also with headers that promise more or less than there is."""
    buffer = b"".join(struct.pack("=HH", length, 1) for length in lengths) + noise
    for start in range(min(len(buffer), 9)):
        for end in (len(buffer), len(buffer) // 2):
            last = start
            for span in codec.attributes(buffer, start, end):
                assert last + 4 <= span.start <= span.end <= end
                assert span.type <= 0x3FFF
                last = span.end


@given(ATTRIBUTES)
def test_attributes_are_read_as_they_were_written(written: list[tuple[int, bytes]]) -> None:
    """Whatever their lengths, since each is padded to the alignment of the next."""
    buffer = b"".join(codec.attribute(type, payload) for type, payload in written)

    assert written == [
        (span.type, buffer[span.start : span.end])
        for span in codec.attributes(buffer, 0, len(buffer))
    ]
    assert len(buffer) % 4 == 0


@given(TYPE, ATTRIBUTES)
def test_a_nest_holds_what_was_put_in(type: int, written: list[tuple[int, bytes]]) -> None:
    """Its type is read without the flag that says it is one."""
    inner = [codec.attribute(type, payload) for type, payload in written]
    buffer = codec.nested(type, *inner)
    (nest,) = codec.attributes(buffer, 0, len(buffer))

    assert nest.type == type
    assert struct.unpack_from("=H", buffer, 2)[0] == type | 0x8000
    assert buffer[nest.start : nest.end] == b"".join(inner)


@given(st.lists(st.tuples(TYPE, st.binary(max_size=40))))
def test_messages_are_read_as_they_were_written(written: list[tuple[int, bytes]]) -> None:
    """The kernel pads messages as it does attributes."""
    buffer = b"".join(
        codec.HEADER.pack(codec.HEADER.size + len(body), type, 0, 1, 0)
        + body
        + bytes(-len(body) % 4)
        for type, body in written
    )

    assert written == [
        (span.type, buffer[span.start : span.end]) for span in codec.messages(buffer)
    ]


@given(TYPE, U32)
def test_an_integer_is_read_as_it_was_written(type: int, value: int) -> None:
    """From whichever kind of buffer."""
    written = codec.u32(type, value)
    for buffer in (written, bytearray(written), memoryview(written)):
        (span,) = codec.attributes(buffer, 0, len(buffer))
        assert (span.type, codec.integer(buffer, span)) == (type, value)


@pytest.mark.parametrize("format", ["=B", "=H", "=I", "=Q"])
def test_an_integer_has_the_size_of_its_attribute(format: str) -> None:
    largest = 2 ** (8 * struct.calcsize(format)) - 1
    for value in (0, 1, largest):
        buffer = codec.attribute(7, struct.pack(format, value))
        (span,) = codec.attributes(buffer, 0, len(buffer))

        assert codec.integer(buffer, span) == value


@given(st.binary(max_size=20).filter(lambda payload: len(payload) not in (1, 2, 4, 8)))
def test_what_has_another_size_is_no_integer(payload: bytes) -> None:
    buffer = codec.attribute(7, payload)
    (span,) = codec.attributes(buffer, 0, len(buffer))

    with pytest.raises(ValueError, match=f"an integer of {len(payload)} bytes"):
        codec.integer(buffer, span)


@given(TYPE, st.text(st.characters(exclude_categories=["Cs"])).filter(lambda s: "\0" not in s))
def test_a_string_is_read_as_it_was_written(type: int, value: str) -> None:
    buffer = codec.string(type, value)
    (span,) = codec.attributes(buffer, 0, len(buffer))

    assert codec.text(buffer, span) == value
    assert buffer[span.end - 1] == 0


@given(st.binary(max_size=40))
def test_any_bytes_are_a_text(payload: bytes) -> None:
    """Up to the first NUL; what is no UTF-8 is replaced."""
    buffer = codec.attribute(7, payload)
    (span,) = codec.attributes(buffer, 0, len(buffer))

    assert codec.text(buffer, span) == payload.split(b"\0")[0].decode("utf-8", "replace")

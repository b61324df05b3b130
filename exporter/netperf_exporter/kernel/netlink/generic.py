"""Generic netlink: families that go by name, whose numbers the kernel hands out at run time.

struct genlmsghdr and the controller's attributes: include/uapi/linux/genetlink.h.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable
from typing import NamedTuple

from netperf_exporter.kernel.netlink import codec
from netperf_exporter.kernel.netlink import socket as netlink

HEADER = struct.Struct("=BBxx")
"""struct genlmsghdr: command, version."""

_NETLINK_GENERIC = 16
_CONTROLLER, _GETFAMILY = 16, 3  # GENL_ID_CTRL, CTRL_CMD_GETFAMILY
_FAMILY_ID, _FAMILY_NAME, _VERSION, _OPERATIONS, _GROUPS = 1, 2, 3, 6, 7  # CTRL_ATTR_…
_OPERATION_ID, _OPERATION_FLAGS = 1, 2
_CMD_CAP_DUMP = 0x04
_GROUP_NAME, _GROUP_ID = 1, 2


class Request(NamedTuple):
    """A message to send to a family.

    name: what it is called in a captured host and in errors.
    family: the name of the family (``netdev``).
    command: the number of the command in the family.
    body: its attributes.
    """

    name: str
    family: str
    command: int
    body: bytes = b""


class Family(NamedTuple):
    """What the running kernel says of a family.

    dumps: the commands that may be asked for as dumps. A kernel without an operation does not
        list it: that is how features are probed.
    groups: the multicast groups, by name.
    """

    id: int
    version: int
    dumps: frozenset[int]
    groups: dict[str, int]


_families: dict[str, Family] = {}


def dump(request: Request) -> bytes:
    """Every message of one dump, without the closing one.

    Raises OSError: ENOENT without such a family, EOPNOTSUPP where the family lacks the command,
    else as the kernel answers.
    """
    return _send(request, _dump)


def ask(request: Request) -> bytes:
    """The messages that answer a request that is no dump. Raises OSError as dump() does."""
    return _send(request, lambda request, family: netlink.ask(_message(request, family)))


def _send(request: Request, send: Callable[[Request, Family], bytes]) -> bytes:
    known = request.family in _families
    try:
        return send(request, family(request.family))
    except OSError as error:
        if error.errno != errno.ENOENT or not known:
            raise
    # The family's module was taken away, or came back with another number. Another thread may
    # have seen it first.
    _families.pop(request.family, None)
    return send(request, family(request.family))


def family(name: str) -> Family:
    """Look a family up by its name, once. Raises OSError: ENOENT if there is none."""
    found = _families.get(name)
    if found is None:
        body = HEADER.pack(_GETFAMILY, 1) + codec.string(_FAMILY_NAME, name)
        asked = netlink.Request(f"family {name}", _NETLINK_GENERIC, _CONTROLLER, body)
        found = _families[name] = parse_family(netlink.ask(asked))
    return found


def _dump(request: Request, family: Family) -> bytes:
    if request.command not in family.dumps:
        said = f"no command {request.command} in the netlink family {request.family}"
        raise OSError(errno.EOPNOTSUPP, said, request.name)
    try:
        return netlink.dump(_message(request, family))
    except netlink.Incomplete as error:
        # ethnl_default_dumpit() of v5.10 (net/ethtool/netlink.c) passes over a device that has no
        # such operation, but if it is the last one the whole dump ends with the error of this one.
        if error.errno != errno.EOPNOTSUPP:
            raise
        return error.messages


def _message(request: Request, family: Family) -> netlink.Request:
    body = HEADER.pack(request.command, family.version) + request.body
    return netlink.Request(request.name, _NETLINK_GENERIC, family.id, body)


def parse_family(answer: bytes) -> Family:
    """What ctrl_fill_info() in net/netlink/genetlink.c writes. Raises ValueError without an id."""
    id = version = 0
    dumps: set[int] = set()
    groups: dict[str, int] = {}
    for message in codec.messages(answer):
        for span in codec.attributes(answer, message.start + HEADER.size, message.end):
            if span.type == _FAMILY_ID:
                id = codec.integer(answer, span)
            elif span.type == _VERSION:
                version = codec.integer(answer, span)
            elif span.type == _OPERATIONS:
                for operation in codec.attributes(answer, span.start, span.end):
                    fields = _fields(answer, operation)
                    flags = fields.get(_OPERATION_FLAGS)
                    number = fields.get(_OPERATION_ID)
                    if number and flags and codec.integer(answer, flags) & _CMD_CAP_DUMP:
                        dumps.add(codec.integer(answer, number))
            elif span.type == _GROUPS:
                for group in codec.attributes(answer, span.start, span.end):
                    fields = _fields(answer, group)
                    if _GROUP_NAME in fields and _GROUP_ID in fields:
                        called = codec.text(answer, fields[_GROUP_NAME])
                        groups[called] = codec.integer(answer, fields[_GROUP_ID])
    if not id:
        raise ValueError("an answer without the number of a family")
    return Family(id, version, frozenset(dumps), groups)


def _fields(buffer: bytes, span: codec.Span) -> dict[int, codec.Span]:
    return {found.type: found for found in codec.attributes(buffer, span.start, span.end)}

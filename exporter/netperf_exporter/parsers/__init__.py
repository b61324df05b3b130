"""Bytes the kernel wrote → values. Pure: one module per kernel file, named after it.

A parser raises Malformed when the whole text is unusable. A line it can do without is left
out, and the parser appends one sentence about it to the list it was given.
"""


class Malformed(ValueError):
    """A text is not what the kernel writes in that file; the message says where it differs."""

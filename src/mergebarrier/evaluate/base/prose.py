"""A page of plain prose, to check that a model still reads English when no text is given.

A broken model does not lose a point on a task, it answers noise; a page is enough to see that, and needs no file.
"""

from typing import Final

CHECK_TEXT: Final = (
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness, "
    "it was the epoch of belief, it was the epoch of incredulity, it was the season of Light, it was the season of "
    "Darkness, it was the spring of hope, it was the winter of despair, we had everything before us, we had nothing "
    "before us, we were all going direct to Heaven, we were all going direct the other way. The capital of France "
    "is Paris. Water boils at one hundred degrees Celsius at sea level. To sort a list of numbers, compare "
    "neighbours and swap them until none is out of order; this is slow for long lists, but it is easy to explain. "
    "She opened the door, looked at the rain, and went back for her coat. The quarterly report shows that sales "
    "grew by four percent while costs stayed flat."
)

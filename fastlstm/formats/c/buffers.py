"""Where the values between the stages lie in a state's working memory."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["assign_buffers"]


def assign_buffers(reads: Sequence[Sequence[int]], widths: Sequence[int]) -> tuple[list[int], int]:
    """Return where each stage's value begins, and the size of all; a stage never writes to what it reads.

    Parameters
    ----------
    reads : sequence of sequences of int
        For each stage the values that it reads: 0 is the input, k + 1 the value of stage k.
    widths : sequence of int
        Size of each stage's value; 0: it lies elsewhere.

    Examples
    --------
    >>> assign_buffers([[0], [1], [2], [3]], [4, 6, 3, 0])
    ([0, 4, 0, -1], 10)
    """
    last_use = {value: index for index, values in enumerate(reads) for value in values}
    sizes: list[int] = []
    slot_of: dict[int, int] = {}
    free: list[int] = []
    for index, width in enumerate(widths):
        if width:
            slot = free.pop() if free else len(sizes)
            if slot == len(sizes):
                sizes.append(0)
            sizes[slot] = max(sizes[slot], width)
            slot_of[index + 1] = slot
        free += [slot_of[value] for value, end in last_use.items() if end == index and value in slot_of]
        if width and index + 1 not in last_use:
            free.append(slot_of[index + 1])
    starts = [sum(sizes[:slot]) for slot in range(len(sizes))]
    return [starts[slot_of[k + 1]] if k + 1 in slot_of else -1 for k in range(len(widths))], sum(sizes)

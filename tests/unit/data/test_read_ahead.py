"""The thread that reads ahead: order, limits, errors, and that it ends however the caller ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from fastlstm.data.read_ahead import read_ahead


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "fastlstm-read-ahead"]


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert not readers()


@pytest.mark.parametrize("n", [0, 1, 2, 3, 50])
def test_all_items_come_in_order(n: int) -> None:
    assert list(read_ahead(iter(range(n)))) == list(range(n))


def test_at_most_two_items_are_ahead() -> None:
    begun: list[int] = []
    more = threading.Condition()

    def numbers() -> Iterator[int]:
        for i in range(10):
            with more:
                begun.append(i)
                more.notify()
            yield i

    with closing(read_ahead(numbers())) as items:
        for i in items:
            with more:  # the thread goes on while the caller has this item
                assert more.wait_for(lambda: len(begun) >= min(i + 3, 10), timeout=60)  # noqa: B023
                assert len(begun) <= i + 3


@pytest.mark.parametrize("error", [ValueError("broken"), KeyboardInterrupt(), SystemExit(3)])
def test_an_error_comes_after_the_items_before_it(error: BaseException) -> None:
    def numbers() -> Iterator[int]:
        yield 1
        yield 2
        raise error

    seen = []
    with pytest.raises(type(error)) as raised:
        for i in read_ahead(numbers()):
            seen.append(i)
    assert seen == [1, 2] and raised.value is error


@pytest.mark.parametrize("taken", range(5))
def test_closing_early_ends_the_thread(taken: int) -> None:
    items = read_ahead(iter(range(4)))
    for _ in range(taken):
        next(items, None)
    items.close()
    assert not readers()


def test_closing_while_an_error_waits_ends_the_thread() -> None:
    raised = threading.Event()

    def numbers() -> Iterator[int]:
        yield 1
        raised.set()
        raise ValueError("nobody waits for it")

    items = read_ahead(numbers())
    next(items)
    assert raised.wait(timeout=60)
    items.close()


def test_an_exception_of_the_caller_ends_the_thread() -> None:
    with pytest.raises(KeyboardInterrupt), closing(read_ahead(iter(range(10)))) as items:
        for _ in items:
            raise KeyboardInterrupt
    assert not readers()


def test_no_thread_before_the_first_item() -> None:
    items = read_ahead(iter(range(3)))
    assert not readers()
    assert next(items) == 0 and len(readers()) == 1
    items.close()

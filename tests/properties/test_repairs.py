"""Paths are put right while others read trees and load cases below them: nobody is turned away, nothing stays half."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from blocks import views
from blocks.stores import Storage
from collectors.closing import repair_paths
from collectors.loading import Loader
from collectors.models import Batch, Record
from collectors.paths import below, derive
from collectors.trees import walked

ROUNDS = 8
TOP, WIDTH = "top", 5


def directory(id: str, parent: str | None, name: str) -> Record:
    return Record(kind="directory", id=id, parent_id=parent, name=name)


def case(number: int) -> Record:
    return Record(kind="case", id=f"c{number}", parent_id=f"{number % WIDTH}.{number % WIDTH}", name=f"case {number}")


DIRECTORIES = [
    directory(TOP, None, TOP),
    *(directory(f"{one}", TOP, f"d{one}") for one in range(WIDTH)),
    *(directory(f"{one}.{other}", f"{one}", f"d{other}") for one in range(WIDTH) for other in range(WIDTH)),
]


class Beside:
    """A thread that does something again and again, until it is told to end."""

    def __init__(self, act: Callable[[int], None]) -> None:
        self.times, self.error = 0, None
        self._act, self._over = act, threading.Event()
        self._turned = threading.Condition()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Beside":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._over.is_set():
                self._act(self.times)
                with self._turned:
                    self.times += 1
                    self._turned.notify_all()
        except Exception as error:  # noqa: BLE001 - whatever it is, the test tells it
            self.error = error
            with self._turned:
                self._turned.notify_all()

    def turn(self) -> None:
        """Until it has done it once more."""
        with self._turned:
            before = self.times
            assert self._turned.wait_for(lambda: self.times > before or self.error, 60)
        assert self.error is None, repr(self.error)


@pytest.mark.parametrize("stores", ["storage", "served_storage"])
def test_a_subtree_is_put_right_while_others_read_and_load(request, names: Iterator[str], stores: str):
    storage: Storage = request.getfixturevalue(stores)
    of = "default", next(names)
    loader = Loader(storage.rows, storage.documents, storage.cache)

    def load(page: str, *records: Record) -> None:
        loader.apply(Batch(*of, "r", "s01", page, storage.shards.observe(), records))

    def read(_: int) -> None:
        top, _ = views.tree(storage, *of)
        shown = list(walked(top))
        assert len(shown) == len(DIRECTORIES)
        assert next(node["id"] for node, _ in shown) == TOP

    def repair() -> int:
        return repair_paths(storage.rows, storage.documents, storage.cache, *of)

    load("0.0", *DIRECTORIES, *map(case, range(50)))
    with Beside(read) as reading, ThreadPoolExecutor(1) as loading:
        for number in range(ROUNDS):
            load(f"1{number}.0", directory(TOP, None, f"name {number}"))
            loads = [loading.submit(load, f"2{number}{more}.0", case(10 * number + more)) for more in range(6)]
            repair()
            reading.turn()
            for each in loads:
                each.result()
    repair()
    assert repair() == 0
    _no_half_path(storage, of)


@pytest.mark.parametrize("stores", ["storage", "served_storage"])
@pytest.mark.parametrize("kind", ["case", "directory"])
def test_what_is_on_its_way_while_paths_are_put_right_gets_its_own_later(request, names, stores: str, kind: str):
    storage: Storage = request.getfixturevalue(stores)
    of = "default", next(names)
    loader = Loader(storage.rows, storage.documents, storage.cache)

    def batch(*records: Record) -> Batch:
        number = storage.shards.observe()
        return Batch(*of, "r", "s01", f"{number}.0", number, records)

    loader.apply(batch(*DIRECTORIES, case(0)))
    loader.apply(batch(directory(TOP, None, f"name {ROUNDS - 1}")))
    renamed = Record(kind="case", id="c0", parent_id="0.0", name="renamed")
    late = batch(renamed if kind == "case" else directory("0.0", "0", "renamed"))
    written = storage.rows.apply(late)
    assert repair_paths(storage.rows, storage.documents, storage.cache, *of) > 0
    storage.documents.write(written)
    storage.rows.finish(late)
    assert repair_paths(storage.rows, storage.documents, storage.cache, *of) == 1
    _no_half_path(storage, of)


def _no_half_path(storage: Storage, of: tuple[str, str]) -> None:
    places = derive((id, parent, name) for id, parent, name, *_ in storage.rows.directories(*of))
    assert places[TOP].path == f"/name {ROUNDS - 1}"
    for kind in ("directory", "case"):
        rows = [row for chunk in storage.rows.live(*of, kind) for row in chunk]
        found = storage.documents.read(*of, kind, [row["id"] for row in rows])
        assert rows
        for row in rows:
            above = places[row["parent_id"]] if row["parent_id"] else None
            assert row["path"] == found[row["id"]].path == below(above, row["name"]).path

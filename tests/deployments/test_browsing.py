"""Any tree a source can serve is shown and exported: deep, wide, in circles, without parents, with nasty names."""

import json
import os

import pytest

from blocks.settings import Settings
from blocks.stores import open_storage
from collectors.closing import repair_paths
from collectors.errors import Misconfigured
from collectors.models import Batch, Collection, Record
from deployments.cli.browsing import DEEPEST, export, tree

NASTY = "a/..\x1b[2J\n\u202e\u200b\x00/b"


def directory(id, parent=None, name=None):
    return Record(
        kind="directory", id=str(id), parent_id=None if parent is None else str(parent), name=name or f"d{id}"
    )


def case(id, parent=None, name=None):
    return Record(kind="case", id=str(id), parent_id=None if parent is None else str(parent), name=name or f"c{id}")


@pytest.fixture
def loaded(tmp_path, monkeypatch):
    """Loads records as a run does and closes it; the commands find them by default."""
    monkeypatch.setenv("COLLECT_HOME", str(tmp_path / "home"))

    def load(*records):
        with open_storage(Settings.load()) as storage:
            storage.catalog.begin(Collection(name="c", collector="testrail", source={}), "me")
            for page, start in enumerate(range(0, len(records), 10_000)):
                batch = Batch("default", "c", "r", "s01", f"{page}.0", page + 1, records[start : start + 10_000])
                if documents := storage.rows.apply(batch):
                    storage.documents.write(documents)
                storage.rows.finish(batch)
            return repair_paths(storage.rows, storage.documents, storage.cache, "default", "c")

    return load


@pytest.fixture
def shown(capsysbinary):
    """What `tree` prints on stdout and says on stderr."""

    def show(**options):
        assert tree("c", **options) == 0
        out, err = capsysbinary.readouterr()
        return (json.loads(out) if options.get("json") else out.decode().splitlines()), err.decode()

    return show


def walk(nodes):
    left = list(nodes)
    while left:
        node = left.pop()
        yield node
        left += node["children"]


def test_a_tree_is_drawn_by_name_with_the_cases_below(loaded, shown):
    directories = (
        directory(1, None, "b"),
        directory(2, None, "a"),
        directory(3, 1, "c"),
        directory(4, 1),
        directory(5, 3),
    )
    loaded(*directories, case(1, 5), case(2, 1), case(3))
    assert shown()[0] == [
        "c  3 cases",
        "├─ a   0",
        "└─ b   2",
        "   ├─ c   1",
        "   │  └─ d5   1",
        "   └─ d4   0",
        "   1 cases in no directory",
    ]
    drawn, said = shown(depth=1)
    assert drawn[1:3] == ["├─ a   0", "└─ b   2   …"]
    assert said == ""


def test_an_empty_tree_is_no_trouble(loaded, shown):
    loaded()
    assert shown() == (["c  0 cases"], "")
    assert shown(json=True) == ([], "")


def test_a_cut_tree_counts_what_is_left_out(loaded, shown):
    loaded(directory(1), directory(2, 1), directory(3, 2), directory(4, 2), directory(5))
    (first, second), said = shown(json=True, depth=1)
    assert (first["cut"], first["children"]) == (3, [])
    assert "cut" not in second
    (first, _), _ = shown(json=True, depth=2)
    assert "cut" not in first
    assert first["children"][0]["cut"] == 2
    assert said == ""


def test_ten_thousand_levels_are_cut_where_readers_fail_it_is_said_and_all_are_exported(loaded, shown, tmp_path):
    loaded(*reversed([directory(n, n - 1 if n else None, "x") for n in range(10_000)]), case(1, 9_999))
    for depth in (None, 10_000):
        top, said = shown(json=True, depth=depth)
        nodes = list(walk(top))
        assert len(nodes) == DEEPEST
        assert [node["cut"] for node in nodes if "cut" in node] == [10_000 - DEEPEST]
        assert top[0]["cases"] == 1
        assert "9,900 directories below level 100 are left out" in said
    drawn, said = shown()
    assert len(drawn) == 1 + DEEPEST
    assert drawn[-1].endswith("   1   …")
    assert "9,900 directories" in said
    assert shown(json=True, depth=3)[1] == ""
    export("c", output=tmp_path / "all.jsonl")
    paths = [json.loads(line)["path"] for line in (tmp_path / "all.jsonl").read_text().splitlines()]
    assert (len(paths), max(map(len, paths))) == (10_001, 1_000)


def test_five_thousand_siblings_are_drawn(loaded, shown):
    loaded(directory("top"), *(directory(n, "top") for n in range(5_000)))
    drawn, said = shown()
    assert (len(drawn), said) == (5_002, "")


def test_directories_that_hang_nowhere_are_shown_with_their_reason(loaded, shown):
    loaded(
        directory("orphan", "gone"), directory("child", "orphan"),
        directory("a", "c", "A"), directory("b", "a", "B"), directory("c", "b", "C"), directory("d", "b", "D"),
        directory("self", "self"),
        directory("fine"),
        *(case(f"in-{id}", id) for id in ("orphan", "child", "a", "b", "c", "d", "self", "fine")),
    )  # fmt: skip
    top, _ = shown(json=True)
    assert {node["id"]: node.get("lost") for node in top} == {
        "a": "its parents form a circle", "fine": None,
        "orphan": "its parent is not there", "self": "its parents form a circle",
    }  # fmt: skip
    assert sorted(node["id"] for node in walk(top)) == ["a", "b", "c", "child", "d", "fine", "orphan", "self"]
    assert {node["id"]: node["cases"] for node in top} == {"a": 4, "fine": 1, "orphan": 2, "self": 1}
    drawn, _ = shown()
    assert drawn == [
        "c  8 cases",
        "├─ A   4   (its parents form a circle)",
        "│  └─ B   3",
        "│     ├─ C   1",
        "│     └─ D   1",
        "├─ dfine   1",
        "├─ dorphan   2   (its parent is not there)",
        "│  └─ dchild   1",
        "└─ dself   1   (its parents form a circle)",
    ]


def test_a_circle_of_ten_thousand_is_shown_once(loaded, shown):
    loaded(*(directory(n, (n + 1) % 10_000) for n in range(10_000)))
    top, said = shown(json=True)
    assert [node["lost"] for node in top] == ["its parents form a circle"]
    assert "9,900 directories" in said


def test_names_are_stored_exactly_and_drawn_visibly(loaded, shown, capsysbinary):
    loaded(directory(1, None, NASTY), case(1, 1, NASTY))
    (top,), _ = shown(json=True)
    assert top["name"] == NASTY
    drawn, _ = shown()
    assert drawn[1] == r"└─ a/..\x1b[2J\n\u202e\u200b\x00/b   1"
    export("c")
    lines = [json.loads(line) for line in capsysbinary.readouterr().out.splitlines()]
    assert [line["name"] for line in lines] == [NASTY, NASTY]


# ---- export to files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", ".", "folder", "gone/file", "file/below", "n" * 300])
def test_an_output_that_cannot_be_written_is_refused_and_nothing_is_left(loaded, tmp_path, monkeypatch, name):
    loaded(directory(1))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("mine")
    before = sorted(tmp_path.rglob("[!c]*"))
    with pytest.raises(Misconfigured) as error:
        export("c", output=type(tmp_path)(name))
    assert error.value.code == "COL-0225"
    assert error.value.remedy
    assert sorted(tmp_path.rglob("[!c]*")) == before


def test_a_full_device_is_named_and_stays(loaded):
    loaded(directory(1))
    with pytest.raises(Misconfigured, match="No space left"):
        export("c", output=type(Settings.load().home)("/dev/full"))


def test_devices_and_pipes_and_links_are_written_and_not_replaced(loaded, tmp_path, capsysbinary):
    loaded(directory(1))
    link, target = tmp_path / "link", tmp_path / "target"
    link.symlink_to(target)
    target.write_text("a longer text that was there before" * 100)
    export("c", output=link)
    assert link.is_symlink()
    assert json.loads(target.read_text())["id"] == "1"
    read, write = os.pipe()
    export("c", output=tmp_path / f"/dev/fd/{write}")
    os.close(write)
    with os.fdopen(read) as pipe:
        assert json.loads(pipe.read())["id"] == "1"
    null = tmp_path / "null"
    null.symlink_to("/dev/null")
    export("c", output=null)
    assert null.is_symlink()


def test_a_file_is_replaced_when_it_is_whole(loaded, tmp_path):
    loaded(directory(1))
    output = tmp_path / "out.jsonl"
    output.write_text("before")
    export("c", output=output)
    assert json.loads(output.read_text())["id"] == "1"
    assert [path.name for path in tmp_path.iterdir() if path.name != "home"] == ["out.jsonl"]


def test_a_collection_that_is_not_there_is_named(loaded):
    loaded(directory(1))
    with pytest.raises(Misconfigured, match="nothing was collected as 'x'") as error:
        tree("x")
    assert (error.value.code, error.value.remedy) == ("COL-0228", "Collected so far: c")

"""The audit: an entry for each verb, in its transaction, and nothing of it is changed unnoticed."""

import stat
from contextlib import suppress

import pytest
from anyio import to_thread
from sqlalchemy import delete, insert, select, update

from blocks.acting import ACTING, PERSON, acting
from blocks.process import this_process
from blocks.sql.audit import Audit, audited
from blocks.sql.audit_chain import Anchor, Fault, Verified
from blocks.sql.catalog import Catalog
from blocks.sql.control import Control
from blocks.sql.keys import Keys, Role
from blocks.sql.mysql import MysqlDatabase
from blocks.sql.requests import Once, Requests
from blocks.sql.run_rows import new_run_id
from blocks.sql.sealing import Seals
from blocks.sql.tables import audit, audit_end
from blocks.sql.watermarks import Watermarks
from collectors.errors import Misconfigured, Refused
from collectors.models import ShardPlan
from collectors.states import RunState

ME = this_process()
COLUMNS = [column.name for column in audit.c if column.name != "number"]
DAY = 24 * 3600 * 1_000_000


@pytest.fixture
def trail(database):
    return Audit(database)


@pytest.fixture
def five(database, trail):
    """Five entries of two tenants."""
    for number in range(1, 6):
        append(database, f"r{number}", tenant="acme" if number == 4 else "default")
    return trail


def append(database, subject, tenant="default", **details):
    with database.write() as connection:
        audited(connection, tenant, "pause", subject, **details)


def change(database, *statements):
    with database.write() as connection:
        for each in statements:
            connection.execute(each)


def row(database, number):
    with database.read() as connection:
        return dict(connection.execute(select(audit).where(audit.c.number == number)).mappings().one())


def faults(trail, anchor=None):
    return list(trail.verify(anchor).faults)


def done(trail):
    return [(each["actor"], each["action"], each["subject"], each["details"]) for each in reversed(trail.entries())]


# ---- what is found ------------------------------------------------------------------------------------------


def test_nothing_is_whole(trail):
    assert trail.verify() == Verified(0, None, ())


def test_what_is_appended_is_whole_and_told_newest_first(five):
    found = five.verify()
    assert (found.entries, found.faults) == (5, ())
    assert [each["number"] for each in five.entries()] == [5, 4, 3, 2, 1]
    assert [each["number"] for each in five.entries("acme")] == [4]
    assert [each["number"] for each in five.entries("default", limit=2, before=5)] == [3, 2]
    assert {each["actor"] for each in five.entries()} == {PERSON}


@pytest.mark.parametrize("name", COLUMNS)
def test_an_edit_of_any_column_is_found(five, database, name):
    before = row(database, 3)[name]
    change(database, update(audit).where(audit.c.number == 3).values({name: before + 1 if name == "at" else "other"}))
    expected = Fault("unknown-key", 3, "other") if name == "key_id" else Fault("edited", 3)
    assert faults(five) == [expected]


def test_details_that_were_written_over_are_shown_as_they_stand(five, database):
    change(database, update(audit).where(audit.c.number == 3).values(details="{broken"))
    assert [each["details"] for each in five.entries() if each["number"] == 3] == [{"?": "{broken"}]


def test_many_edits_are_found(five, database):
    for number in range(6, 40):
        append(database, f"r{number}")
    change(database, update(audit).values(actor="nobody"))
    assert faults(five) == [Fault("edited", number) for number in range(1, 40)]


@pytest.mark.parametrize(("gone", "expected"), [((1, 1), (1, 1)), ((3, 3), (3, 3)), ((2, 4), (2, 4))])
def test_a_missing_entry_is_found(five, database, gone, expected):
    change(database, delete(audit).where(audit.c.number.between(*gone)))
    assert faults(five) == [Fault("missing", *expected)]


def test_an_order_that_was_changed_is_found(five, database):
    swap = [(3, -1), (2, 3), (-1, 2)]
    change(database, *(update(audit).where(audit.c.number == a).values(number=b) for a, b in swap))
    assert faults(five) == [Fault("out-of-order", 2, 3), Fault("out-of-order", 3, 2)]


def test_an_entry_that_was_made_up_is_found(five, database):
    made_up = row(database, 5) | {"number": 6, "subject": "r6"}
    change(database, insert(audit).values(made_up))
    assert Fault("edited", 6) in faults(five)
    change(database, delete(audit).where(audit.c.number == 6), insert(audit).values(made_up | {"number": 0}))
    assert faults(five) == [Fault("edited", 0)]


def test_an_end_that_was_cut_off_is_found(five, database):
    change(database, delete(audit).where(audit.c.number > 3))
    assert faults(five) == [Fault("cut-off", 4, 5)]
    change(database, delete(audit))
    assert faults(five) == [Fault("cut-off", 1, 5)]


def test_an_end_that_is_gone_or_edited_is_found(five, database):
    change(database, update(audit_end).values(seal="0" * 64))
    assert faults(five) == [Fault("edited", None)]
    change(database, delete(audit).where(audit.c.number > 3), update(audit_end).values(number=3))
    assert faults(five) == [Fault("edited", None)]
    change(database, delete(audit_end))
    assert faults(five) == [Fault("cut-off", None)]


@pytest.mark.parametrize("hide", [delete(audit_end), update(audit_end).values(number=3)])
def test_what_is_appended_after_a_cut_does_not_heal_it(five, database, hide):
    change(database, delete(audit).where(audit.c.number > 3), hide)
    append(database, "later")
    append(database, "and later")
    assert faults(five) == [Fault("cut-off", 4)]


def test_a_last_entry_that_is_gone_does_not_stop_the_next_one(five, database):
    change(database, delete(audit).where(audit.c.number == 5))
    append(database, "later")
    assert faults(five) == [Fault("missing", 5, 5)]


def test_an_old_end_that_was_brought_back_is_found_by_an_anchor_alone(database, trail):
    for number in range(3):
        append(database, f"r{number}")
    with database.read() as connection:
        old = dict(connection.execute(select(audit_end)).mappings().one())
    early = trail.verify().last
    append(database, "r3")
    late = trail.verify().last
    change(database, delete(audit).where(audit.c.number > 3), update(audit_end).values(old))
    assert faults(trail) == []
    assert faults(trail, early) == []
    assert faults(trail, late) == [Fault("not-the-anchor", 4)]


def test_an_anchor_of_another_seal_is_not_there(five):
    number, seal = five.verify().last
    assert faults(five, Anchor(number, seal)) == []
    assert faults(five, Anchor(number, "0" * 64)) == [Fault("not-the-anchor", 5)]


# ---- what is written ----------------------------------------------------------------------------------------


def test_what_is_undone_leaves_no_entry(five, database):
    with suppress(ZeroDivisionError), database.write() as connection:
        audited(connection, "default", "pause", "r9")
        raise ZeroDivisionError
    append(database, "r6")
    found = five.verify()
    assert (found.entries, found.faults) == (6, ())


def test_writers_at_once_make_one_chain(database, processes, address, opens_database):
    program = opens_database + (
        "from blocks.sql.audit import audited\nfrom blocks.sql.database import contending\n"
        "from blocks.sql.sealing import Seals\n"
        "if '://' in address: database = MysqlDatabase(address, seals=Seals({'one': b'1'}))\n"
        "@contending\n"
        "def append():\n"
        "    with database.write() as connection: audited(connection, 't', 'pause', 'r')\n"
        "print('ready', flush=True)\ninput()\n"
        "for _ in range(30): append()\n"
    )
    processes.at_once(program, 2, address)
    opened = MysqlDatabase(address, seals=Seals({"one": b"1"})) if "://" in address else database
    found = Audit(opened).verify()
    assert (found.entries, found.faults) == (60, ())
    opened.close()


def test_each_verb_writes_one_entry_with_who_did_it(database, trail, definition):
    run_id = begun(database, definition())
    control = Control(database)
    with acting("key:1"):
        control.pause(run_id, None, "slow", hard=True)
        control.resume(run_id)
        control.pause(run_id, "s01", "slow")
        control.cancel(run_id, "s01", "wrong")
    with acting("prefect"):
        control.retry(run_id, "specific", ["s01"])
    control.cancel(run_id)
    assert done(trail) == [
        (PERSON, "start", run_id, {"collection": "cases", "mode": "full"}),
        ("key:1", "pause", run_id, {"reason": "slow", "hard": True}),
        ("key:1", "resume", run_id, {}),
        ("key:1", "pause", f"{run_id}/s01", {"reason": "slow"}),
        ("key:1", "cancel", f"{run_id}/s01", {"reason": "wrong"}),
        ("prefect", "retry", f"{run_id}/s01", {"scope": "specific", "shards": ["s01"], "again": 1}),
        (PERSON, "cancel", run_id, {}),
    ]
    assert trail.verify().faults == ()
    assert {each["tenant"] for each in trail.entries()} == {"default"}


def begun(database, collection):
    """A run with two shards that nobody works on."""
    catalog = Catalog(database)
    claim = catalog.begin(collection, ME)
    claim = catalog.lead(claim.run_id, ME)
    plans = [ShardPlan(shard_id=f"s0{n}", stage="cases", label=f"{n}", span={}, estimate=1) for n in (1, 2)]
    catalog.save_plan(claim, plans, 1.0)
    catalog.end(claim, RunState.PAUSED)
    return claim.run_id


def test_what_is_accepted_is_written_once(database, trail, definition):
    requests, once = Requests(database), Once("key", "print")
    first = requests.accept(definition(), new_run_id(), once=once).run_id
    assert requests.accept(definition(), new_run_id(), once=once).repeated
    assert done(trail) == [(PERSON, "start", first, {"collection": "cases", "mode": "full"})]


def test_a_run_that_gives_way_is_written_too(database, trail, definition):
    catalog = Catalog(database)
    stopped = begun(database, definition())
    successor = catalog.begin(definition(), ME).run_id
    replacing = definition(triggers={"overlap": "replace"})
    last = Requests(database).accept(replacing, new_run_id()).run_id
    assert done(trail)[1:] == [
        (PERSON, "cancel", stopped, {"reason": f"superseded by run {successor}"}),
        (PERSON, "start", successor, {"collection": "cases", "mode": "full"}),
        (PERSON, "cancel", successor, {"reason": f"replaced by run {last}"}),
        (PERSON, "start", last, {"collection": "cases", "mode": "full"}),
    ]


def test_marks_are_written_with_what_they_were(database, trail):
    marks = Watermarks(database)
    marks.set("acme", "cases", 5)
    marks.bump("acme", "cases")
    marks.set("acme", "cases", 7)
    marks.set("acme", "cases", None)
    assert done(trail) == [
        (PERSON, "watermark set", "cases", {"value": 5}),
        (PERSON, "epoch bump", "cases", {"epoch": 1, "before": 5}),
        (PERSON, "watermark set", "cases", {"value": 7}),
        (PERSON, "watermark reset", "cases", {"before": 7}),
    ]
    assert {each["tenant"] for each in trail.entries()} == {"acme"}


def test_keys_are_written_without_what_is_secret_of_them(database, trail):
    keys = Keys(database)
    key, key_id = keys.create("acme", Role.ADMIN, "nightly", 3)
    new, new_id = keys.rotate(key, 90, 24)
    for _ in range(2):
        keys.revoke(key)
    assert done(trail) == [
        (PERSON, "keys create", key_id, {"role": "admin", "name": "nightly", "days": 3}),
        (PERSON, "keys rotate", key_id, {"successor": new_id, "days": 90, "hours": 24}),
        (PERSON, "keys revoke", key_id, {}),
    ]
    assert not any(each.split("_", 2)[2] in repr(trail.entries()) for each in (key, new))


def test_what_is_refused_writes_nothing(database, trail, definition):
    run_id = begun(database, definition())
    control = Control(database)
    control.cancel(run_id)
    before = trail.verify()
    for asked in (control.pause, control.resume):
        with pytest.raises(Refused):
            asked(run_id)
    with pytest.raises(Misconfigured):
        control.pause("nothing")
    with pytest.raises(Misconfigured):
        Keys(database).revoke("nothing")
    assert trail.verify() == before


async def test_who_acts_is_known_in_the_threads_that_work_for_it():
    with acting("key:1"):
        assert await to_thread.run_sync(ACTING.get) == "key:1"
    assert await to_thread.run_sync(ACTING.get) == PERSON


# ---- keys ---------------------------------------------------------------------------------------------------


def test_the_key_of_a_folder_is_made_once_and_for_its_owner(open_database, tmp_path):
    append(open_database(), "r1")
    file = tmp_path / "audit.key"
    key = file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    append(open_database(), "r2")
    assert file.read_text() == key
    assert [path.name for path in tmp_path.iterdir() if "audit" in path.name] == ["audit.key"]
    assert Audit(open_database()).verify().faults == ()


def test_who_only_looks_makes_no_key(database, open_database, tmp_path):
    assert Audit(open_database()).verify().faults == ()
    assert not (tmp_path / "audit.key").exists()


def test_another_key_is_not_taken_for_an_edit(open_database, tmp_path):
    append(open_database(), "r1")
    (tmp_path / "audit.key").unlink()
    append(open_database(), "r2")
    found = Audit(open_database()).verify().faults
    assert [(fault.how, fault.number) for fault in found] == [("unknown-key", 1), ("cut-off", 2)]


@pytest.mark.parametrize("spoil", [lambda file: file.chmod(0o644), lambda file: file.write_text("nothing\n")])
def test_a_key_that_cannot_be_used_is_named(open_database, tmp_path, spoil):
    append(open_database(), "r1")
    spoil(tmp_path / "audit.key")
    with pytest.raises(Misconfigured, match="COL-0293"):
        append(open_database(), "r2")
    with pytest.raises(Misconfigured, match="COL-0293"):
        Audit(open_database()).verify()


def test_entries_of_a_key_that_was_replaced_verify_as_long_as_it_is_known(mysql):
    old, new = {"2025": b"o" * 32}, {"2026": b"n" * 32}
    opened = [MysqlDatabase(mysql.url, seals=Seals(keys)) for keys in (old, new | old, new)]
    before, both, after = opened
    append(before, "r1")
    append(both, "r2")
    append(both, "r3")
    assert Audit(both).verify().faults == ()
    assert [each["key_id"] for each in Audit(both).entries()] == ["2026", "2026", "2025"]
    assert list(Audit(after).verify().faults) == [Fault("unknown-key", 1, "2025")]
    for each in opened:
        each.close()


# ---- rotation -----------------------------------------------------------------------------------------------


def test_a_key_that_is_rotated_goes_on_for_a_while_beside_the_new_one(database, alter):
    keys = Keys(database)
    old, old_id = keys.create("acme", Role.OPERATOR, "nightly", 30)
    new, new_id = keys.rotate(old_id, 90, hours=24)
    assert keys.caller(old) == (old_id, "acme", Role.OPERATOR)
    assert keys.caller(new) == (new_id, "acme", Role.OPERATOR)
    first, second = keys.all()
    assert first["name"] == second["name"] == "nightly"
    assert abs(first["expires_at"] - second["created_at"] - DAY) < 60 * 1_000_000
    assert second["expires_at"] - second["created_at"] == 90 * DAY


def test_a_key_that_is_rotated_at_once_is_not_valid_any_more(database):
    keys = Keys(database)
    old, _ = keys.create("acme", Role.OPERATOR, "", 30)
    new, _ = keys.rotate(old, 90)
    assert (keys.caller(old), bool(keys.caller(new))) == (None, True)
    with pytest.raises(Misconfigured, match="COL-0291"):
        keys.rotate(old, 90)
    with pytest.raises(Misconfigured, match="COL-0266"):
        keys.rotate("nothing", 90)


def test_a_rotation_makes_no_key_live_longer(database):
    keys = Keys(database)
    _, old_id = keys.create("acme", Role.OPERATOR, "", 1)
    ends = keys.all()[0]["expires_at"]
    keys.rotate(old_id, 90, hours=48)
    assert next(each["expires_at"] for each in keys.all() if each["key_id"] == old_id) == ends

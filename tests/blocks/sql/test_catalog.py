"""One run of a collection at a time, led by one process; its state moves only where the table allows."""

import threading

import pytest

from blocks.process import identity, this_process
from blocks.settings import Settings
from blocks.sql.catalog import Catalog, RunClaim
from blocks.sql.shards import Shards
from blocks.stores import open_storage
from blocks.workspace import workspace
from collectors.closing import Errors
from collectors.errors import Fenced, Misconfigured, Refused
from collectors.models import ShardPlan
from collectors.states import RUN_MOVES, Desired, RunState, ShardState

ELSEWHERE = "far:1:1"
RACE = """
import sys
from blocks.sql.catalog import Catalog
from blocks.process import this_process
from collectors.errors import Refused
from collectors.models import Collection
catalog = Catalog(database)
print("ready", flush=True)
for line in sys.stdin:
    verb, argument = line.split()
    try:
        if verb == "begin":
            print(catalog.begin(Collection(name=argument, collector="testrail", source={}), this_process()).run_id)
        else:
            print(catalog.lead(argument, this_process()).run_id)
    except Refused as error:
        print("refused:", error.what)
    sys.stdout.flush()
"""


@pytest.fixture
def catalog(database):
    return Catalog(database)


@pytest.fixture
def expired(database):
    """A catalog whose leases have ended as soon as they are given."""
    return Catalog(database, lease_seconds=-1.0)


@pytest.fixture
def racers(opens_database, address, processes):
    """Two processes that try the same at once; answers what each of them got."""
    pair = [processes.start(opens_database + RACE, address) for _ in range(2)]
    assert [process.stdout.readline() for process in pair] == ["ready\n"] * 2

    def race(verb, argument):
        for process in pair:
            process.stdin.write(f"{verb} {argument}\n")
        return [process.stdout.readline().strip() for process in pair]

    return race


def plans(*shard_ids):
    return [
        ShardPlan(shard_id=each, stage="cases", label=f"cases {each}", span={"start": 0}, estimate=5)
        for each in shard_ids
    ]


def test_what_failed_shards_did_not_read_is_counted(catalog, alter, database, definition):
    claim = catalog.lead(catalog.begin(definition(), "me").run_id, "me")
    assert catalog.errors(claim.run_id) == Errors(0)
    catalog.save_plan(claim, plans("s01", "s02", "s03"), 1.0)
    stands = {"s01": ("COMPLETED", 4, 1), "s02": ("FAILED", 2, 2), "s03": ("FAILED", 7, 0)}
    for id, (state, fetched, refused) in stands.items():
        what = "UPDATE shard SET state = ?, fetched = ?, quarantined = ? WHERE shard_id = ?"
        alter(database, what, state, fetched, refused, id)
    assert catalog.errors(claim.run_id) == Errors(planned=15, refused=3, unread=3)


def set_state(alter, database, run_id, state):
    assert alter(database, "UPDATE run SET state = ? WHERE run_id = ?", state, run_id) == 1


def test_definitions_and_runs_hold_references_and_not_what_they_refer_to(tmp_path, monkeypatch, definition):
    monkeypatch.setenv("KEY", "the-real-s3cret")
    settings = Settings(tmp_path / "home", None)
    with open_storage(settings) as storage:
        storage.registry.remember(definition())
        claim = storage.catalog.begin(definition(), this_process())
        storage.catalog.save_plan(claim, plans("s01"), 1.0)
        assert '"env:KEY"' in storage.catalog.run(claim.run_id)["definition"]
        stored = b"".join(file.read_bytes() for file in settings.home.glob("*.db*"))
    assert b"env:KEY" in stored
    assert b"the-real-s3cret" not in stored


async def test_a_run_is_worked_on_only_where_its_references_mean_something(tmp_path, monkeypatch, definition):
    monkeypatch.setenv("KEY", "the-real-s3cret")
    monkeypatch.setenv("COLLECT_HOME", str(tmp_path / "home"))
    with open_storage(Settings.load()) as storage:
        run_id = storage.catalog.begin(definition(), this_process()).run_id
    async with workspace(run_id) as here, workspace(run_id) as same:
        assert same is here
        assert here.collection == definition()
    monkeypatch.delenv("KEY")
    with pytest.raises(Misconfigured, match="KEY"):
        async with workspace(run_id):
            pass


# ---- beginning ---------------------------------------------------------------------------------------------


def test_a_new_run_is_created_and_led_by_its_process(catalog, definition):
    claim = catalog.begin(definition(), this_process())
    row = catalog.run(claim.run_id)
    assert (row["state"], row["desired"], row["owner"], row["fence"]) == ("CREATED", "run", this_process(), 1)
    assert (row["planned"], row["sweep"], claim.superseded) == (False, 0, None)


def test_a_run_is_planned_after_what_was_observed_and_before_what_will_be(catalog, database, definition):
    claim = catalog.begin(definition(), this_process())
    before = [Shards(database).observe() for _ in range(3)]
    catalog.save_plan(claim, [], 1.0)
    assert max(before) < catalog.run(claim.run_id)["sweep"] < Shards(database).observe()


@pytest.mark.parametrize("state", [RunState.CREATED, RunState.RUNNING, RunState.PAUSED])
def test_no_run_begins_beside_one_that_may_be_alive(catalog, database, definition, processes, alter, dump, state):
    for name, owner in (("here", identity(processes.sleeper().pid)), ("elsewhere", ELSEWHERE)):
        first = catalog.begin(definition(name), owner)
        set_state(alter, database, first.run_id, state)
        before = dump(database)
        with pytest.raises(Refused) as refused:
            catalog.begin(definition(name), this_process())
        assert first.run_id in refused.value.what
        assert first.run_id in refused.value.remedy
        assert dump(database) == before


def test_no_run_begins_beside_one_whose_shards_are_still_held(catalog, expired, database, definition, dump):
    first = expired.begin(definition(), ELSEWHERE)
    expired.save_plan(first, plans("s01", "s02"), 1.0)
    Shards(database).claim(first.run_id, "s02", ELSEWHERE)
    before = dump(database)
    with pytest.raises(Refused):
        catalog.begin(definition(), this_process())
    assert dump(database) == before


@pytest.mark.parametrize("end", ["killed", "zombie", "another process", "lease ended", "paused"])
def test_a_run_that_nobody_works_on_gives_way(catalog, expired, database, definition, processes, alter, end):
    process = processes.sleeper()
    owner = {"another process": f"{this_process()}9", "lease ended": ELSEWHERE}.get(end, identity(process.pid))
    first = (expired if end == "lease ended" else catalog).begin(definition(), owner)
    (expired if end == "lease ended" else catalog).save_plan(first, plans("s01", "s02", "s03", "s04"), 1.0)
    for shard_id, state in (("s01", "COMPLETED"), ("s02", "RUNNING"), ("s03", "PAUSED")):
        alter(database, "UPDATE shard SET state = ? WHERE shard_id = ?", state, shard_id)
    if end == "killed":
        process.kill()
        process.wait()
    elif end == "zombie":
        processes.zombie(process)
    elif end == "paused":
        catalog.end(catalog.lead(first.run_id, owner), RunState.PAUSED)

    second = catalog.begin(definition(), this_process())

    assert second.superseded == first.run_id
    row = catalog.run(first.run_id)
    assert (row["state"], row["reason"]) == ("CANCELLED", f"superseded by run {second.run_id}")
    assert row["ended_at"] is not None
    assert [each["state"] for each in catalog.shards(first.run_id)] == ["COMPLETED", *["CANCELLED"] * 3]
    with pytest.raises(Fenced):
        catalog.renew(first)


@pytest.mark.parametrize("state", [state for state in RunState if state not in ("CREATED", "RUNNING", "PAUSED")])
def test_a_run_that_has_ended_is_left_as_it_is_by_the_next(catalog, expired, definition, database, alter, state):
    first = expired.begin(definition(), ELSEWHERE)
    set_state(alter, database, first.run_id, state)
    before = catalog.run(first.run_id)
    assert catalog.begin(definition(), this_process()).superseded is None
    assert catalog.run(first.run_id) == before


def test_runs_of_other_collections_and_tenants_do_not_matter(catalog, definition):
    begun = [catalog.begin(each, this_process()) for each in (definition(), definition("b"), definition(tenant="t"))]
    assert [each.superseded for each in begun] == [None] * 3
    assert {catalog.run(each.run_id)["state"] for each in begun} == {"CREATED"}


def test_of_two_processes_that_begin_at_once_exactly_one_runs(catalog, racers):
    for attempt in range(10):
        answers = racers("begin", f"c{attempt}")
        (winner,) = [answer for answer in answers if not answer.startswith("refused")]
        (loser,) = [answer for answer in answers if answer.startswith("refused")]
        assert winner in loser
        assert [row["run_id"] for row in catalog.runs("default", f"c{attempt}")] == [winner]


def test_of_two_processes_that_supersede_a_run_at_once_exactly_one_does(catalog, expired, racers, definition):
    for attempt in range(10):
        old = expired.begin(definition(f"c{attempt}", source={}), ELSEWHERE).run_id
        answers = racers("begin", f"c{attempt}")
        (winner,) = [answer for answer in answers if not answer.startswith("refused")]
        states = {row["run_id"]: row["state"] for row in catalog.runs("default", f"c{attempt}")}
        assert states == {old: "CANCELLED", winner: "CREATED"}


# ---- leading -----------------------------------------------------------------------------------------------


def test_a_run_is_led_by_the_process_that_began_it(catalog, definition):
    begun = catalog.begin(definition(), this_process())
    led = catalog.lead(begun.run_id, this_process())
    assert led.fence == begun.fence + 1
    with pytest.raises(Fenced):
        catalog.renew(begun)
    assert catalog.renew(led) is Desired.RUN


def test_a_run_that_is_led_by_a_live_process_is_refused(catalog, definition, processes, database, dump):
    begun = catalog.begin(definition(), identity(processes.sleeper().pid))
    before = dump(database)
    with pytest.raises(Refused, match=begun.run_id):
        catalog.lead(begun.run_id, this_process())
    assert dump(database) == before


@pytest.mark.parametrize("end", ["killed", "zombie"])
def test_a_run_whose_process_is_gone_is_taken_over(catalog, definition, processes, end):
    process = processes.sleeper()
    begun = catalog.begin(definition(), identity(process.pid))
    if end == "zombie":
        processes.zombie(process)
    else:
        process.kill()
        process.wait()
    assert catalog.seconds_held(begun.run_id) == 0
    assert catalog.lead(begun.run_id, this_process()).fence == 2


def test_a_run_led_elsewhere_is_taken_over_only_when_its_lease_has_ended(database, definition, until):
    catalog = Catalog(database, lease_seconds=0.5)
    begun = catalog.begin(definition(), ELSEWHERE)
    ends = catalog.run(begun.run_id)["lease_until"]
    assert 0 < catalog.seconds_held(begun.run_id) <= 0.5

    def taken():
        try:
            return catalog.lead(begun.run_id, this_process())
        except Refused:
            return None

    assert taken() is None
    assert until(taken).fence == 2
    assert catalog.run(begun.run_id)["lease_until"] - 500_000 > ends


def test_of_two_processes_that_lead_at_once_exactly_one_does(expired, catalog, racers, definition):
    for attempt in range(10):
        run_id = expired.begin(definition(f"c{attempt}"), ELSEWHERE).run_id
        answers = racers("lead", run_id)
        assert sorted(answer.startswith("refused") for answer in answers) == [False, True]
        assert catalog.run(run_id)["fence"] == 2


def test_what_is_desired_is_told_at_the_next_renewal(catalog, definition):
    claim = catalog.begin(definition(), this_process())
    catalog.desire(claim.run_id, Desired.PAUSE, "interrupted")
    assert catalog.renew(claim) is Desired.PAUSE
    assert catalog.run(claim.run_id)["reason"] == "interrupted"
    catalog.desire(claim.run_id, Desired.RUN)
    assert catalog.renew(claim) is Desired.RUN
    assert catalog.run(claim.run_id)["reason"] is None


def test_a_pause_that_comes_after_the_end_changes_nothing(catalog, definition, database, dump):
    led = catalog.lead(catalog.begin(definition(), this_process()).run_id, this_process())
    catalog.end(led, RunState.COMPLETED)
    before = dump(database)
    catalog.desire(led.run_id, Desired.PAUSE, "interrupted")
    assert dump(database) == before


def test_a_run_that_was_begun_is_led_only_once(catalog, definition, database, dump):
    begun = catalog.begin(definition(), this_process())
    led = catalog.lead(begun.run_id, this_process())
    before = dump(database)
    with pytest.raises(Refused):
        catalog.lead(begun.run_id, this_process())
    assert dump(database) == before
    assert catalog.renew(led) is Desired.RUN


@pytest.mark.parametrize("state", [RunState.FAILED, RunState.PARTIALLY_COMPLETED])
def test_an_ended_run_does_not_go_on_beside_a_newer_one(catalog, definition, processes, database, dump, state):
    first = catalog.lead(catalog.begin(definition(), this_process()).run_id, this_process())
    catalog.end(first, state)
    newer = catalog.begin(definition(), identity(processes.sleeper().pid))
    before = dump(database)
    with pytest.raises(Refused, match=newer.run_id):
        catalog.lead(first.run_id, this_process())
    assert dump(database) == before


@pytest.mark.parametrize("state", [RunState.COMPLETED, RunState.CANCELLED])
def test_a_run_that_cannot_go_on_is_not_led(catalog, expired, definition, database, alter, dump, state):
    first = expired.begin(definition(), ELSEWHERE)
    set_state(alter, database, first.run_id, state)
    before = dump(database)
    with pytest.raises(Refused):
        catalog.lead(first.run_id, this_process())
    assert dump(database) == before


# ---- fences ------------------------------------------------------------------------------------------------

STALE_WRITES = {
    "renew": lambda catalog, claim: catalog.renew(claim),
    "save_plan": lambda catalog, claim: catalog.save_plan(claim, plans("s01"), 1.0),
    **{
        f"end {state}": lambda catalog, claim, state=state: catalog.end(claim, state, "late")
        for state in (RunState.COMPLETED, RunState.PAUSED, RunState.FAILED)
    },
}


@pytest.mark.parametrize("write", STALE_WRITES)
def test_a_leader_that_was_followed_changes_nothing(catalog, expired, definition, database, dump, write):
    stale = expired.begin(definition(), ELSEWHERE)
    catalog.lead(stale.run_id, this_process())
    before = dump(database)
    for claim in (stale, RunClaim(stale.run_id, this_process(), stale.fence), RunClaim(stale.run_id, "far:2:2", 2)):
        with pytest.raises(Fenced, match=stale.run_id):
            STALE_WRITES[write](catalog, claim)
    assert dump(database) == before


def test_a_plan_is_saved_wholly_or_not_at_all(catalog, definition, database, dump):
    claim = catalog.begin(definition(), this_process())
    before = dump(database)
    with pytest.raises(Exception, match=r"UNIQUE|Duplicate"):
        catalog.save_plan(claim, plans("s01", "s02", "s01"), 1.0)
    assert dump(database) == before


# ---- states ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", RunState)
@pytest.mark.parametrize("state", RunState)
def test_a_run_moves_only_where_the_table_allows(catalog, expired, definition, database, alter, dump, state, target):
    claim = expired.begin(definition(), ELSEWHERE)
    set_state(alter, database, claim.run_id, state)
    before = dump(database)
    # A run whose process died is still called so; one that rests in its process is PAUSED already.
    going_on = state is target and state in (RunState.RUNNING, RunState.PAUSED)

    def move():
        if target is RunState.RUNNING:
            catalog.lead(claim.run_id, this_process(), "flow")
        else:
            catalog.end(claim, target, "why")

    if target in RUN_MOVES[state] or going_on:
        move()
        assert catalog.run(claim.run_id)["state"] == target
    else:
        with pytest.raises((Fenced, Refused)):
            move()
        assert dump(database) == before


@pytest.mark.parametrize("state", sorted(RUN_MOVES[RunState.RUNNING]))
def test_a_run_that_ended_is_held_by_nobody(catalog, definition, state):
    claim = catalog.lead(catalog.begin(definition(), this_process()).run_id, this_process())
    catalog.end(claim, state, "why")
    row = catalog.run(claim.run_id)
    assert (row["owner"], row["lease_until"], row["error"]) == (None, 0, "why")
    assert (row["ended_at"] is None) == (state is RunState.PAUSED)
    assert catalog.seconds_held(claim.run_id) == 0


# ---- looking -----------------------------------------------------------------------------------------------


def test_an_unknown_run_is_named_with_a_remedy(catalog):
    with pytest.raises(Misconfigured) as unknown:
        catalog.run("nope")
    assert "nope" in unknown.value.what
    assert "collect status" in unknown.value.remedy


def test_runs_are_listed_newest_first_by_collection(catalog, definition, alter, database):
    begun = [catalog.begin(definition(name), this_process()).run_id for name in ("a", "b", "c")]
    for age, run_id in enumerate(begun):
        alter(database, "UPDATE run SET created_at = ? WHERE run_id = ?", 1_000 + age, run_id)
    assert [row["run_id"] for row in catalog.runs("default")] == begun[::-1]
    assert [row["run_id"] for row in catalog.runs("default", "b")] == [begun[1]]
    assert [row["run_id"] for row in catalog.runs("default", limit=2)] == begun[:0:-1]
    assert catalog.runs("other") == []
    assert catalog.collected("default") == ["a", "b", "c"]


def test_shards_are_listed_in_the_order_of_the_plan(catalog, definition):
    claim = catalog.begin(definition(), this_process())
    names = [f"s{number:02}" for number in range(1, 121)]
    catalog.save_plan(claim, plans(*names), 1.0)
    assert [row["shard_id"] for row in catalog.shards(claim.run_id)] == names


def test_shards_that_stand_alike_are_one_row(catalog, database, definition):
    claim = catalog.lead(catalog.begin(definition(), this_process()).run_id, this_process())
    catalog.save_plan(claim, plans(*"abcde"), 1.0)
    read = Shards(database).claim(claim.run_id, "a", ELSEWHERE)
    Shards(database).checkpoint(read, 0, None, [], [], read=7)
    expired = Shards(database, lease_seconds=-1.0).claim(claim.run_id, "b", ELSEWHERE)
    at = catalog.now()
    found = {(each["state"], each["lease_until"] > at): each for each in catalog.standings(claim.run_id, at)}
    assert {key: each["shards"] for key, each in found.items()} == {
        ("PENDING", False): 3, ("RUNNING", False): 1, ("RUNNING", True): 1,
    }  # fmt: skip
    assert (found["RUNNING", True]["fetched"], found["RUNNING", True]["total"]) == (7, 7)
    assert all(type(each["total"]) is int for each in found.values())
    assert catalog.troubles(claim.run_id) == []
    Shards(database).release(expired, ShardState.FAILED, "it broke")
    assert catalog.troubles(claim.run_id) == [{"shard_id": "b", "label": "cases b", "error": "it broke"}]


def test_a_run_is_held_as_long_as_one_of_its_shards_is(catalog, expired, database, definition):
    run_id = expired.begin(definition(), ELSEWHERE).run_id
    assert catalog.seconds_held(run_id) == 0
    expired.save_plan(RunClaim(run_id, ELSEWHERE, 1), plans("s01"), 1.0)
    claim = Shards(database, lease_seconds=5).claim(run_id, "s01", ELSEWHERE)
    assert 0 < catalog.seconds_held(run_id) <= 5
    Shards(database).release(claim, ShardState.PAUSED)
    assert catalog.seconds_held(run_id) == 0


def test_a_reader_never_sees_half_a_checkpoint(catalog, database, definition, new_batch, new_case):
    """Readers ask while a writer works: the counts of shard and ledger come from the same moment."""
    claim = catalog.begin(definition(), this_process())
    catalog.save_plan(claim, plans("s01"), 1.0)
    shards = Shards(database)
    held = shards.claim(claim.run_id, "s01", this_process())
    pages = 100

    def write():
        for page in range(pages):
            batch = new_batch(new_case(str(page)), run_id=claim.run_id, page=f"{page}.0", observation=page)
            shards.checkpoint(held, page, page, [batch], [], read=1)

    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    while writer.is_alive() or not seen:
        with database.read() as connection:
            fetched = connection.exec_driver_sql("SELECT fetched FROM shard").scalar()
            batches = connection.exec_driver_sql("SELECT count(*) FROM batch").scalar()
        assert fetched == batches
        seen.add(fetched)
    writer.join()
    assert len(seen) > 1

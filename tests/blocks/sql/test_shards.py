"""A shard has one holder at a time; what an outdated one writes changes nothing."""

import pytest
from sqlalchemy.exc import IntegrityError

from blocks.process import identity, this_process
from blocks.sql.catalog import Catalog
from blocks.sql.control import Control
from blocks.sql.quarantine import Quarantine
from blocks.sql.shards import Shards
from collectors.errors import Fenced, Refused
from collectors.models import Quarantined, ShardPlan
from collectors.states import Desired, ShardState

ELSEWHERE = ("far:1:1", "away:2:2")  # processes of other machines: whether they are alive cannot be known
OBSERVE = """
import sys
from blocks.sql.shards import Shards
shards = Shards(database)
print("ready", flush=True)
input()
for _ in range(200):
    print(shards.observe())
"""
CLAIM = """
import os
import sys
from blocks.sql.shards import Shards
from collectors.errors import Refused
shards = Shards(database)
print("ready", flush=True)
input()
for shard_id in sys.argv[3:]:
    try:
        print(shard_id, shards.claim(sys.argv[2], shard_id, f"far:{os.getpid()}:1").fence)
    except Refused:
        pass
"""


@pytest.fixture
def catalog(database):
    return Catalog(database)


@pytest.fixture
def run(catalog, definition):
    """A planned run of twelve shards."""
    claim = catalog.begin(definition(), this_process())
    plans = [
        ShardPlan(shard_id=f"s{n:02}", stage="cases", label="all", span={"start": n, "stop": None}, estimate=10)
        for n in range(1, 13)
    ]
    catalog.save_plan(claim, plans, 1.0)
    return claim


@pytest.fixture
def shards(database):
    return Shards(database)


@pytest.fixture
def expired(database):
    """Shards whose leases have ended as soon as they are given."""
    return Shards(database, lease_seconds=-1.0)


def refusal(position=0, **values):
    fields = {"reason": "missing-name", "message": "has no name", "record_id": "7", "payload": b"{}"}
    return Quarantined(position, **fields | values)


def row(catalog, run, shard_id="s01"):
    return next(row for row in catalog.shards(run.run_id) if row["shard_id"] == shard_id)


# ---- observation numbers -----------------------------------------------------------------------------------


def test_observation_numbers_only_grow_in_four_processes_at_once(processes, opens_database, address):
    found = [list(map(int, out.split())) for out in processes.at_once(opens_database + OBSERVE, 4, address)]
    assert all(numbers == sorted(set(numbers)) for numbers in found)
    assert sorted(number for numbers in found for number in numbers) == list(range(1, 801))


def test_observation_numbers_go_on_after_a_restart(open_database):
    first = open_database()
    assert [Shards(first).observe() for _ in range(3)] == [1, 2, 3]
    first.close()
    assert Shards(open_database()).observe() == 4


# ---- claiming ----------------------------------------------------------------------------------------------


def test_what_goes_on_after_a_pause_is_no_new_attempt(shards, catalog, run, database):
    control = Control(database)

    def tried():
        return row(catalog, run)["attempts"]

    control.pause(run.run_id, "s01")
    assert (row(catalog, run)["state"], tried()) == ("PAUSED", 0)
    control.resume(run.run_id, "s01")
    shards.release(shards.claim(run.run_id, "s01", this_process()), ShardState.PAUSED)
    claim = shards.claim(run.run_id, "s01", this_process())
    assert tried() == 1
    shards.release(claim, ShardState.RETRYING, "it broke")
    control.pause(run.run_id, "s01")
    control.resume(run.run_id, "s01")
    assert (row(catalog, run)["state"], tried()) == ("PAUSED", 1)
    shards.claim(run.run_id, "s01", this_process())
    assert tried() == 2


def test_a_first_claim_begins_at_the_beginning(shards, catalog, run):
    claim = shards.claim(run.run_id, "s02", this_process())
    assert (claim.stage, claim.span, claim.cursor, claim.page) == ("cases", {"start": 2, "stop": None}, None, 0)
    found = row(catalog, run, "s02")
    assert (found["state"], found["owner"], found["attempts"]) == ("RUNNING", this_process(), 1)
    assert found["lease_until"] > found["started_at"]


def test_a_claim_goes_on_at_the_last_checkpoint(shards, run, new_batch):
    claim = shards.claim(run.run_id, "s01", this_process())
    shards.checkpoint(claim, 0, {"after": "支付"}, [], [], read=10)
    shards.release(claim, ShardState.PAUSED)
    again = shards.claim(run.run_id, "s01", this_process())
    assert (again.cursor, again.page) == ({"after": "支付"}, 1)
    assert again.fence > claim.fence


def test_a_shard_somebody_holds_is_refused_and_stays_as_it_is(shards, run, database, dump, processes):
    shards.claim(run.run_id, "s01", identity(processes.sleeper().pid))
    shards.claim(run.run_id, "s02", ELSEWHERE[0])
    before = dump(database)
    for shard_id in ("s01", "s02"):
        with pytest.raises(Refused, match=shard_id):
            shards.claim(run.run_id, shard_id, this_process())
    assert dump(database) == before


def test_each_of_many_shards_goes_to_exactly_one_of_four_processes(run, processes, opens_database, address):
    names = [f"s{n:02}" for n in range(1, 13)]
    claimed = "".join(processes.at_once(opens_database + CLAIM, 4, address, run.run_id, *names)).splitlines()
    assert sorted(claimed) == [f"{name} 1" for name in names]


def test_a_holder_elsewhere_is_followed_only_when_its_lease_has_ended(database, catalog, run, until):
    short = Shards(database, lease_seconds=0.5)
    first = short.claim(run.run_id, "s01", ELSEWHERE[0])
    ends = row(catalog, run)["lease_until"]

    def taken():
        try:
            return short.claim(run.run_id, "s01", ELSEWHERE[1])
        except Refused:
            return None

    assert taken() is None
    second = until(taken)
    # The new lease was given at its end minus its length, by the same clock.
    assert row(catalog, run)["lease_until"] - 500_000 > ends
    assert second.fence == first.fence + 1


def test_a_renewed_lease_does_not_end(database, catalog, run, until):
    short = Shards(database, lease_seconds=0.5)
    claim = short.claim(run.run_id, "s01", ELSEWHERE[0])
    ends = row(catalog, run)["lease_until"]

    def renewed():
        with pytest.raises(Refused):
            short.claim(run.run_id, "s01", ELSEWHERE[1])
        short.renew(claim)
        return row(catalog, run)["lease_until"] > ends + 1_500_000

    until(renewed)
    assert row(catalog, run)["fence"] == claim.fence


@pytest.mark.parametrize("end", ["killed", "zombie"])
def test_a_holder_of_this_machine_that_is_gone_is_followed_at_once(shards, catalog, run, processes, end):
    process = processes.sleeper()
    first = shards.claim(run.run_id, "s01", identity(process.pid))
    if end == "zombie":
        processes.zombie(process)
    else:
        process.kill()
        process.wait()
    second = shards.claim(run.run_id, "s01", this_process())
    assert second.fence == first.fence + 1
    assert row(catalog, run)["attempts"] == 2


def test_a_holder_whose_number_was_given_to_another_process_is_followed_at_once(shards, run):
    host, pid, born = this_process().split(":")
    first = shards.claim(run.run_id, "s01", f"{host}:{pid}:{int(born) - 1}")
    assert shards.claim(run.run_id, "s01", ELSEWHERE[0]).fence == first.fence + 1


def test_a_process_does_not_take_a_shard_it_holds_already(shards, run, database, dump):
    claim = shards.claim(run.run_id, "s01", this_process())
    before = dump(database)
    with pytest.raises(Refused):
        shards.claim(run.run_id, "s01", this_process())
    assert dump(database) == before
    assert shards.renew(claim) is Desired.RUN


@pytest.mark.parametrize("state", [ShardState.COMPLETED, ShardState.CANCELLED])
def test_a_shard_that_has_ended_is_not_claimed_any_more(shards, run, database, alter, dump, state):
    alter(database, "UPDATE shard SET state = ? WHERE shard_id = 's01'", state)
    before = dump(database)
    with pytest.raises(Refused, match=state):
        shards.claim(run.run_id, "s01", this_process())
    assert dump(database) == before


@pytest.mark.parametrize(
    "state", [state for state in ShardState if state not in (ShardState.COMPLETED, ShardState.CANCELLED)]
)
def test_any_other_shard_is_claimed_and_runs(shards, run, catalog, database, alter, state):
    alter(database, "UPDATE shard SET state = ? WHERE shard_id = 's01'", state)
    shards.claim(run.run_id, "s01", this_process())
    assert row(catalog, run)["state"] == "RUNNING"


def test_a_claim_forgets_how_the_last_try_ended_but_not_when_the_first_began(shards, catalog, run):
    claim = shards.claim(run.run_id, "s01", this_process())
    began = row(catalog, run)["started_at"]
    shards.release(claim, ShardState.FAILED, "the source is away")
    assert (row(catalog, run)["error"], row(catalog, run)["ended_at"] >= began) == ("the source is away", True)
    shards.claim(run.run_id, "s01", this_process())
    found = row(catalog, run)
    assert (found["error"], found["ended_at"], found["started_at"]) == (None, None, began)


# ---- fences ------------------------------------------------------------------------------------------------

STALE_WRITES = {
    "checkpoint": lambda shards, claim, batch: shards.checkpoint(claim, 0, 50, [batch], [refusal()], read=50),
    "renew": lambda shards, claim, batch: shards.renew(claim),
    **{
        f"release {state}": lambda shards, claim, batch, state=state: shards.release(claim, state, "late")
        for state in (ShardState.COMPLETED, ShardState.PAUSED, ShardState.FAILED)
    },
}


@pytest.mark.parametrize("write", STALE_WRITES)
@pytest.mark.parametrize("how", ["taken over", "released", "given to the same process", "cancelled"])
def test_a_stale_holder_changes_nothing(
    shards, expired, catalog, run, database, dump, new_batch, new_case, definition, alter, write, how
):
    owner = ELSEWHERE[0] if how in ("taken over", "cancelled") else this_process()
    claim = expired.claim(run.run_id, "s01", owner)
    if how == "taken over":
        shards.claim(run.run_id, "s01", ELSEWHERE[1])
    elif how == "released":
        shards.release(claim, ShardState.PAUSED)
    elif how == "given to the same process":
        shards.claim(run.run_id, "s01", owner)
    else:
        alter(database, "UPDATE run SET lease_until = 0")
        catalog.begin(definition(), this_process())
    before = dump(database)
    with pytest.raises(Fenced, match="s01"):
        STALE_WRITES[write](shards, claim, new_batch(new_case("1")))
    assert dump(database) == before


def test_what_is_written_again_because_its_answer_was_lost_counts_once(shards, catalog, run, new_batch, new_case):
    claim = shards.claim(run.run_id, "s01", this_process())
    for _ in range(2):
        shards.checkpoint(claim, 0, 50, [new_batch(new_case("1"))], [refusal()], read=50)
    assert (row(catalog, run)["fetched"], row(catalog, run)["quarantined"], row(catalog, run)["page"]) == (50, 1, 1)
    for _ in range(2):
        shards.release(claim, ShardState.FAILED, "the source is away")
    assert row(catalog, run)["state"] == "FAILED"


def test_a_holder_whose_lease_has_ended_may_go_on_while_nobody_followed(expired, shards, catalog, run):
    claim = expired.claim(run.run_id, "s01", ELSEWHERE[0])
    shards.checkpoint(claim, 0, 50, [], [], read=50)
    assert row(catalog, run)["fetched"] == 50
    with pytest.raises(Refused):
        shards.claim(run.run_id, "s01", this_process())


def test_one_holder_does_not_disturb_the_next_shard(shards, catalog, run):
    first, second = (shards.claim(run.run_id, shard_id, this_process()) for shard_id in ("s01", "s02"))
    shards.checkpoint(first, 0, 50, [], [], read=50)
    shards.release(first, ShardState.COMPLETED)
    assert (row(catalog, run, "s02")["fetched"], row(catalog, run, "s02")["state"]) == (0, "RUNNING")
    assert shards.renew(second) is Desired.RUN


# ---- checkpoints -------------------------------------------------------------------------------------------


def test_a_shard_knows_how_many_before_it_are_being_read(shards, catalog, run, database, alter):
    claims = {id: shards.claim(run.run_id, id, this_process()) for id in ("s02", "s03", "s09", "s10")}
    assert [shards.standing(claim).ahead for claim in claims.values()] == [0, 1, 2, 3]
    shards.release(claims["s02"], ShardState.PAUSED)
    alter(database, "UPDATE shard SET lease_until = 1 WHERE shard_id = ?", "s03")
    assert shards.checkpoint(claims["s10"], 0, 50, [], [], read=50).ahead == 1


def test_a_checkpoint_keeps_cursor_counts_ledger_and_quarantine(
    shards, catalog, run, database, dump, new_batch, new_case
):
    claim = shards.claim(run.run_id, "s01", this_process())
    batch = new_batch(new_case("1"), new_case("2"), run_id=run.run_id, observation=5)
    standing = shards.checkpoint(claim, 0, 50, [batch], [refusal(2, payload=b'{"id": 7}')], read=3)
    assert (standing.desired, standing.quarantined) == (Desired.RUN, 1)
    found = row(catalog, run)
    assert [found[name] for name in ("cursor", "page", "fetched", "quarantined")] == ["50", 1, 3, 1]
    (refused,) = Quarantine(database).records(run.run_id)
    assert [refused[name] for name in ("page", "position", "record_id", "payload")] == [0, 2, "7", b'{"id": 7}']
    assert [(each["reason"], each["count"]) for each in catalog.refusals(run.run_id)] == [("missing-name", 1)]
    assert len(dump(database)["batch"]) == 1


def test_a_checkpoint_that_fails_leaves_nothing_of_itself(shards, run, database, dump, new_batch, new_case):
    claim = shards.claim(run.run_id, "s01", this_process())
    before = dump(database)
    with pytest.raises(IntegrityError):
        shards.checkpoint(claim, 0, 50, [new_batch(new_case("1"))], [refusal(1), refusal(1)], read=50)
    assert dump(database) == before


def test_counts_add_up_over_pages_and_shards(shards, catalog, run):
    first, second = (shards.claim(run.run_id, shard_id, this_process()) for shard_id in ("s01", "s02"))
    assert shards.checkpoint(first, 0, 50, [], [refusal(0), refusal(1)], read=50).quarantined == 2
    assert shards.checkpoint(first, 1, None, [], [refusal(0)], read=20).quarantined == 3
    assert shards.checkpoint(second, 0, None, [], [refusal(0)], read=5).quarantined == 4
    assert [(row(catalog, run, id)["fetched"], row(catalog, run, id)["quarantined"]) for id in ("s01", "s02")] == [
        (70, 3),
        (5, 1),
    ]


def test_a_checkpoint_and_a_renewal_tell_what_is_desired(shards, catalog, run):
    claim = shards.claim(run.run_id, "s01", this_process())
    assert shards.renew(claim) is Desired.RUN
    catalog.desire(run.run_id, Desired.PAUSE, "interrupted")
    assert shards.renew(claim) is Desired.PAUSE
    assert shards.checkpoint(claim, 0, 50, [], [], read=1).desired is Desired.PAUSE


def test_a_checkpoint_prolongs_the_lease(expired, shards, catalog, run):
    claim = expired.claim(run.run_id, "s01", this_process())
    before = row(catalog, run)["lease_until"]
    shards.checkpoint(claim, 0, 50, [], [], read=1)
    assert row(catalog, run)["lease_until"] > before + 10_000_000


@pytest.mark.parametrize("state", [ShardState.COMPLETED, ShardState.PAUSED, ShardState.FAILED])
def test_a_released_shard_is_nobodys(shards, catalog, run, state):
    claim = shards.claim(run.run_id, "s01", this_process())
    shards.release(claim, state, "why" if state is ShardState.FAILED else None)
    found = row(catalog, run)
    assert (found["state"], found["owner"], found["lease_until"]) == (state, None, 0)
    assert found["ended_at"] >= found["started_at"]

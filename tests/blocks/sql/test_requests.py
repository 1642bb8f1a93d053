"""Runs that were asked for: once, in their order, never by two, and by another when one is gone."""

import threading

import pytest

from blocks.process import identity, this_process
from blocks.sql.catalog import Catalog
from blocks.sql.registry import Registry
from blocks.sql.requests import Once, Requests
from blocks.sql.run_rows import new_run_id
from blocks.sql.spool import ALL, Spool
from collectors.errors import Refused
from collectors.models import Collection
from collectors.states import Desired, RunState

ME = this_process()
OTHER = "elsewhere-1:7:1"  # of another machine: nobody here can tell whether it is gone


def definition(name="cases", tenant="default"):
    return Collection(name=name, collector="import", source={}, tenant=tenant)


@pytest.fixture
def requests(database):
    return Requests(database)


@pytest.fixture
def catalog(database):
    return Catalog(database)


@pytest.fixture
def ask(requests, database):
    def asked(name="cases", **options):
        run_id = new_run_id()
        if options.get("sent"):
            Spool(database).add(run_id, ALL, 0, 0, b"")
        return requests.accept(definition(name, options.pop("tenant", "default")), run_id, **options)

    return asked


# ---- once ------------------------------------------------------------------------------------------------


def test_a_request_that_comes_again_is_the_same_run(ask, catalog):
    once = Once("key", "print")
    first, again = ask(once=once, sent=True), ask(once=once, sent=True)
    assert (first.repeated, again.repeated) == (False, True)
    assert first.run_id == again.run_id
    assert len(catalog.runs("default")) == 1


def test_a_key_stands_for_one_request_of_its_tenant(ask):
    first = ask(once=Once("key", "print"))
    with pytest.raises(Refused, match="COL-0407"):
        ask("other", once=Once("key", "another"))
    assert ask(tenant="acme", once=Once("key", "another")).run_id != first.run_id


def test_a_hundred_at_once_with_one_key_are_one_run(ask, catalog):
    found = []
    threads = [threading.Thread(target=lambda: found.append(ask(once=Once("k", "p"), sent=True))) for _ in range(20)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len({each.run_id for each in found}) == len(catalog.runs("default")) == 1


def test_a_key_may_be_used_anew_after_a_day(ask, requests, database, alter):
    first = ask("a", once=Once("key", "print"))
    requests.forget()
    assert ask("a", once=Once("key", "print")) == (first.run_id, True, False)
    alter(database, "UPDATE request SET created_at = created_at - ?", 25 * 3600 * 1_000_000)
    requests.forget()
    assert ask("b", once=Once("key", "print")).repeated is False


# ---- who gives way ---------------------------------------------------------------------------------------


def test_a_second_run_of_a_collection_is_refused_with_the_first_ones_id(ask):
    first = ask()
    with pytest.raises(Refused, match=first.run_id):
        ask()
    assert ask("other")


def test_what_was_accepted_does_not_give_way_to_a_command(ask, catalog):
    waiting = ask()
    with pytest.raises(Refused, match=waiting.run_id):
        catalog.begin(definition(), ME)


def test_what_was_left_gives_way_unless_something_was_sent_with_it(ask, catalog, database):
    left = ask()
    catalog.desire(left.run_id, Desired.LEAVE)
    assert catalog.begin(definition(), ME).superseded == left.run_id
    sent = ask("sent", sent=True)
    Spool(database).add(sent.run_id, "cases", 0, 1, b"x")
    catalog.desire(sent.run_id, Desired.PAUSE)
    with pytest.raises(Refused, match=sent.run_id):
        catalog.begin(definition("sent"), ME)


def test_imports_and_a_source_do_not_fill_one_collection(ask, requests, catalog, database):
    source = {"base_url": "http://source", "project_id": 1, "username": "u", "api_key": "k"}
    of_source = Collection(name="sourced", collector="testrail", source=source)
    Registry(database).remember(of_source)
    with pytest.raises(Refused, match="COL-0410"):
        ask("sourced", sent=True)
    Registry(database).remember(definition("imported"))
    with pytest.raises(Refused, match="COL-0410"):
        catalog.begin(of_source.model_copy(update={"name": "imported"}), ME)
    assert catalog.runs("default") == []


def test_what_was_given_up_meanwhile_is_not_accepted(requests, database, catalog):
    run_id, spool = new_run_id(), Spool(database)
    spool.add(run_id, "cases", 0, 2, b"x")
    spool.add(run_id, ALL, 0, 3, b"")
    with pytest.raises(Refused, match="COL-0413"):
        requests.accept(definition(), run_id, sent=True)
    spool.drop_unclaimed(run_id)
    assert (spool.sizes(run_id), catalog.runs("default")) == ({}, [])


def test_what_a_run_was_made_for_is_kept_whatever_its_sender_heard(ask, database):
    run_id, spool = ask(sent=True).run_id, Spool(database)
    spool.drop_unclaimed(run_id)
    assert spool.whole(run_id)


# ---- carried out -------------------------------------------------------------------------------------------


def test_runs_are_taken_in_their_order_and_by_one_only(ask, requests):
    first, second = ask("a"), ask("b")
    assert requests.waiting() == 2
    assert [requests.take(ME), requests.take(OTHER), requests.take(ME)] == [first.run_id, second.run_id, None]


def test_runs_of_one_collection_wait_for_each_other(ask, requests, catalog):
    first, second = ask(sent=True), ask(sent=True)
    assert (requests.take(ME), requests.take(ME)) == (first.run_id, None)
    claim = catalog.lead(first.run_id, ME)
    assert requests.take(OTHER) is None
    catalog.end(claim, RunState.COMPLETED)
    assert requests.take(OTHER) == second.run_id


def test_who_took_a_run_leads_it_and_nobody_else(ask, requests, catalog):
    run_id = ask().run_id
    requests.take(ME)
    with pytest.raises(Refused):
        catalog.lead(run_id, OTHER)
    assert catalog.lead(run_id, ME).run_id == run_id


def test_a_run_that_is_given_back_waits_as_long_as_it_is_to(ask, requests):
    run_id = ask().run_id
    requests.take(ME)
    requests.give_back(run_id, ME, 3600)
    assert requests.take(ME) is None
    requests.give_back(run_id, ME)
    assert requests.take(ME) == run_id


def test_a_run_whose_process_died_is_taken_by_another(ask, requests, catalog, processes):
    run_id = ask().run_id
    process = processes.sleeper()
    dead = identity(process.pid)
    assert requests.take(dead) == run_id
    catalog.lead(run_id, dead)
    assert requests.take(ME) is None
    process.kill()
    process.wait()
    assert requests.take(ME) == run_id
    assert catalog.lead(run_id, ME)


def test_an_interrupted_run_goes_on_and_one_that_was_paused_does_not(ask, requests, catalog):
    run_id = ask().run_id
    requests.take(ME)
    catalog.end(catalog.lead(run_id, ME), RunState.PAUSED)
    assert requests.take(ME) == run_id
    requests.give_back(run_id, ME)
    catalog.desire(run_id, Desired.PAUSE, "somebody said so")
    assert requests.take(ME) is None


def test_a_run_that_was_handed_over_is_handed_over_once(ask, requests, catalog):
    run_id = ask().run_id
    assert requests.take(ME, to_hand_over=True) == run_id
    requests.handed_over(run_id, ME, "flow-run")
    assert requests.take(ME, to_hand_over=True) is None
    assert catalog.lead(run_id, OTHER, "flow-run").run_id == run_id


def test_a_run_whose_worker_died_is_handed_over_again(ask, requests, catalog, processes):
    run_id, process = ask().run_id, processes.sleeper()
    requests.take(ME, to_hand_over=True)
    requests.handed_over(run_id, ME, "flow-run")
    assert requests.handed() == {"flow-run": run_id}
    catalog.lead(run_id, identity(process.pid), "flow-run")
    assert requests.handed() == {}
    assert not requests.take_back(run_id, "flow-run")
    assert requests.take(ME, to_hand_over=True) is None
    process.kill()
    process.wait()
    assert requests.handed() == {"flow-run": run_id}
    assert requests.take_back(run_id, "flow-run")
    assert requests.take(ME, to_hand_over=True) == run_id


def test_giving_back_leaves_a_run_alone_that_another_leads(ask, requests, catalog):
    run_id = ask().run_id
    requests.take(ME)
    catalog.lead(run_id, ME)
    requests.give_back(run_id, ME)
    assert catalog.run(run_id)["owner"] == ME

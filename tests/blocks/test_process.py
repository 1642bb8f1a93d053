"""A lease's holder is taken for gone only when it certainly is."""

import os

import pytest

from blocks.process import identity, is_gone, is_here, this_process

HERE = this_process().split(":")[0]
RENAMED = "import sys; open('/proc/self/comm', 'w').write(') Z 1 2'); print('ready', flush=True); input()"


def test_a_name_that_was_cut_is_no_process_that_lives():
    cut = this_process().rpartition(":")[0]
    assert is_gone(cut) and not is_here(cut)


def test_this_process_is_alive():
    assert not is_gone(this_process())


def test_a_process_is_alive_until_it_is_killed_and_waited_for(processes):
    process = processes.sleeper()
    owner = identity(process.pid)
    assert not is_gone(owner)
    process.kill()
    process.wait()
    assert is_gone(owner)


def test_a_zombie_is_gone(processes):
    process = processes.sleeper()
    owner = identity(process.pid)
    processes.zombie(process)
    assert os.kill(process.pid, 0) is None
    assert is_gone(owner)


def test_another_process_with_the_same_number_is_not_taken_for_the_owner(processes):
    process = processes.sleeper()
    host, pid, born = identity(process.pid).split(":")
    assert is_gone(f"{host}:{pid}:{int(born) - 1}")
    assert not is_gone(f"{host}:{pid}:{born}")


def test_two_processes_have_two_identities(processes):
    assert len({this_process(), *(identity(processes.sleeper().pid) for _ in range(2))}) == 3


def test_a_strange_name_of_a_process_does_not_hide_that_it_lives(processes):
    process = processes.start(RENAMED)
    owner = identity(process.pid)
    assert process.stdout.readline() == "ready\n"
    assert identity(process.pid) == owner
    assert not is_gone(owner)


@pytest.mark.parametrize(
    "owner", [None, "", "elsewhere:1:1", "elsewhere", HERE, f"{HERE}:x:1", f"{HERE}::", f"{HERE}9:1:1"]
)
def test_nothing_is_said_about_owners_of_other_machines_or_unreadable_ones(owner):
    assert not is_gone(owner)

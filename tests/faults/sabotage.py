"""Does the suite notice? Each sabotage breaks one promise in a copy of the tree; tests that are named have to turn red.

    python tests/faults/sabotage.py [WORDS]     all of them, or those whose names hold WORDS

A sabotage replaces exact text; where that text is gone it fails, and has to be written anew.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = ("collectors", "blocks", "tasks", "flows", "deployments", "tests", "docs", "pyproject.toml")


@dataclass(frozen=True)
class Sabotage:
    name: str
    file: str
    text: str
    instead: str
    tests: str  # as pytest takes them


SQL, LOADING = "tests/blocks/sql/test_mysql.py", "tests/collectors/test_loading.py"
SHARDS, READING = "tests/blocks/sql/test_shards.py", "tests/collectors/test_reading.py"
MONGO, REDIS = "tests/blocks/documents/test_mongo.py", "tests/blocks/caches/test_redis_cache.py"
RABBIT, TAKEN = "tests/blocks/queues/test_rabbitmq.py", "tests/blocks/queues/test_deliveries.py"
CONSUMING, RECOVERING = "tests/blocks/queues/test_consuming.py", "tests/collectors/test_recovering.py"

MODES, SWEEPS = "tests/properties/test_modes.py", "tests/blocks/sql/test_sweeps.py"
CONCLUSIONS, FAILURES = "tests/properties/test_conclusions.py", "tests/acceptance/test_failures.py"
MARKS, SELECTING = "tests/blocks/sql/test_watermarks.py", "tests/collectors/test_selecting.py"

VERBS, ADOPTING = "tests/blocks/sql/test_verbs.py", "tests/flows/test_adopting.py"
TICKS, AUDITED = "tests/blocks/sql/test_ticks.py", "tests/blocks/sql/test_audit.py"

SABOTAGES = (
    Sabotage(
        "registry: a time is a run each time it is noticed",
        "blocks/sql/ticks.py",
        "        found = _known(connection, tenant, collection, slug, due_at)\n",
        "        found = None\n",
        TICKS,
    ),
    Sabotage(
        "registry: a run begins although it is dark",
        "blocks/sql/ticks.py",
        "if triggers.is_dark(at) or triggers.is_dark(present):",
        "if triggers.is_dark(at):",
        TICKS,
    ),
    Sabotage(
        "registry: what was pressed in Prefect is told away",
        "flows/switching.py",
        "if switches[slug].told not in (None, on)}",
        "if False}",
        "tests/flows/test_applying.py",
    ),
    Sabotage(
        "registry: a password in an old version is told",
        "deployments/registering.py",
        "return HIDDEN if secret and",
        "return HIDDEN if False and",
        "tests/deployments/api/test_registry.py",
    ),
    Sabotage(
        "registry: an entry stands by itself",
        "blocks/sql/audit.py",
        "key_id, seal = seals.sealed(*entry.values(), before)",
        "key_id, seal = seals.sealed(*entry.values(), NO_SEAL)",
        AUDITED,
    ),
    Sabotage(
        "registry: roles are not looked at",
        "deployments/api/guard.py",
        "if caller.role < needed:",
        "if False:",
        "tests/deployments/api/test_keys.py",
    ),
    Sabotage(
        "a shard is read although it is paused",
        "blocks/sql/shards.py",
        "and_(key, shard.c.state.in_(allowed), MAY_GO_ON),",
        "and_(key, shard.c.state.in_(allowed)),",
        VERBS,
    ),
    Sabotage(
        "a shard does not hear of its own pause",
        "blocks/sql/shards.py",
        "return stronger(Desired(of_run), Desired(of_shard or Desired.RUN))",
        "return Desired(of_run)",
        VERBS,
    ),
    Sabotage(
        "who is shut out still writes",
        "blocks/sql/control.py",
        'left = {"owner": None, "lease_until": 0, "fence": shard.c.fence + 1}',
        'left = {"lease_until": 0}',
        VERBS,
    ),
    Sabotage(
        "a pause is forgotten when its process is interrupted",
        "blocks/sql/catalog.py",
        "wish = case((run.c.desired == Desired.PAUSE, Desired.STOP), else_=Desired.LEAVE)",
        "wish = Desired.LEAVE",
        VERBS,
    ),
    Sabotage(
        "a pause of Prefect's page keeps its end",
        "flows/adopting.py",
        "endless = (Suspended() if reschedules else Paused()) if state.state_details.pause_timeout else None",
        "endless = None",
        ADOPTING,
    ),
    Sabotage(
        "a watermark of now",
        "blocks/concluding.py",
        '*key, row["source_time"], here.run_id',
        "*key, here.storage.catalog.now(), here.run_id",
        f"{CONCLUSIONS} -k sources_time",
    ),
    Sabotage(
        "a watermark of the end of the run",
        "collectors/outbound.py",
        "self.began = self.began or _dated(",
        "self.began = _dated(",
        f"{CONCLUSIONS} -k sources_time",
    ),
    Sabotage(
        "a list that moved is concluded from",
        "blocks/concluding.py",
        'refuse_moved(shard["label"] for shard in shards if shard["moved"])',
        "refuse_moved([])",
        f"{CONCLUSIONS} -k moved",
    ),
    Sabotage(
        "what is wrong with the tree is not kept",
        "blocks/concluding.py",
        "closing = closing.and_also(findings=await look(here))",
        "await look(here)",
        f"{CONCLUSIONS} -k wrong",
    ),
    Sabotage(
        "what was not seen is not told",
        "blocks/concluding.py",
        "*left_uncertain(gone.missing), ",
        "",
        f"{CONCLUSIONS} -k not_seen",
    ),
    Sabotage(
        "what is not listed is not told",
        "blocks/concluding.py",
        ", *left_unlisted(gone.there)",
        "",
        f"{CONCLUSIONS} -k not_listed",
    ),
    Sabotage(
        "a source that was restored is not noticed",
        "collectors/loading.py",
        "return Verdict.REGRESSED if later else Verdict.SUPERSEDED",
        "return Verdict.SUPERSEDED",
        f"{CONCLUSIONS} -k restored",
    ),
    Sabotage(
        "a source that lets nobody in is a success in part",
        "blocks/concluding.py",
        "shut_out=let_in_nowhere(shards)",
        "shut_out=False",
        f"{FAILURES} -k lets_nobody",
    ),
    Sabotage(
        "siblings of what failed go on",
        "flows/collect.py",
        "        await to_thread.run_sync(here.storage.catalog.desire, here.run_id, Desired.LEAVE, why)\n"
        "        stop.set()\n",
        "        assert why\n",
        f"{FAILURES} -k siblings",
    ),
    Sabotage(
        "an id that was made up is kept of what is refused",
        "collectors/quarantine.py",
        "str(found) if type(found) is int else found)\n    except",
        "str(found))\n    except",
        "tests/collectors/test_hostile.py -k made_up",
    ),
    Sabotage(
        "after the watermark instead of from it",
        "collectors/sources/testrail.py",
        '"updated_after": (wanted.since, -1)',
        '"updated_after": (wanted.since, 0)',
        MODES,
    ),
    Sabotage(
        "what is passed over keeps its version",
        "blocks/sql/applying.py",
        '"new_batch": None, "new_observation": f"{batch.observation:016x}"}\n    execute_among',
        '"new_batch": None, "new_observation": ""}\n    execute_among',
        "tests/collectors/test_known_pages.py",
    ),
    Sabotage(
        "what was replaced is forgotten",
        "collectors/history.py",
        "for pair in pairs if differ(*pair)]",
        "for pair in pairs if not differ(*pair)]",
        "tests/blocks/documents/test_sqlite.py",
    ),
    Sabotage(
        "tombstones by an incomplete sweep",
        "blocks/concluding.py",
        ' or any(shard["state"] != ShardState.COMPLETED for shard in shards)',
        "",
        f"{CONCLUSIONS} -k did_not_read_all",
    ),
    Sabotage(
        "tombstones although something without an id was refused",
        "blocks/sql/sweeps.py",
        "        if nameless:",
        "        if nameless and False:",
        SWEEPS,
    ),
    Sabotage(
        "paths are put right of what is on its way",
        "blocks/sql/rows.py",
        "as_found, ~_on_its_way(table))",
        "as_found)",
        "tests/properties/test_repairs.py -k on_its_way",
    ),
    Sabotage(
        "a late message wins over a tombstone",
        "collectors/loading.py",
        " or batch.observation <= (stored.tombstone or 0)",
        "",
        SWEEPS,
    ),
    Sabotage(
        "one sweep is enough",
        "collectors/sweeping.py",
        "return each.again if still_there is None",
        "return True if still_there is None",
        SWEEPS,
    ),
    Sabotage(
        "descendants without their present parent",
        "collectors/sweeping.py",
        "    covered = dead - left_in_time",
        "    covered = dead",
        "tests/collectors/test_sweeping.py",
    ),
    Sabotage(
        "pages without the one before",
        "collectors/sources/testrail.py",
        'overlap = int("end" in span and',
        'overlap = int("never" in span and',
        MODES,
    ),
    Sabotage(
        "a run moves its watermark back",
        "blocks/sql/watermarks.py",
        "if mark.value is None or value > mark.value or (instead_of and mark.moved_by == instead_of):",
        "if True:",
        MARKS,
    ),
    Sabotage(
        "acknowledged before it is applied",
        "collectors/consuming.py",
        "            await to_thread.run_sync(self.loader.apply, delivery.batch)\n",
        "            await delivery.done()\n            await to_thread.run_sync(self.loader.apply, delivery.batch)\n",
        CONSUMING,
    ),
    Sabotage(
        "done before the documents",
        "collectors/loading.py",
        "        if bad := alone(documents",
        "        self._rows.finish(batch)\n        if bad := alone(documents",
        LOADING,
    ),
    Sabotage(
        "checkpoint before publishing",
        "collectors/reading.py",
        "        for batch in batches:\n            await self.queue.publish(batch)\n",
        "        await to_thread.run_sync(\n"
        "            self.progress.checkpoint, claim, number, page.cursor, batches, refused, len(page.items)\n"
        "        )\n"
        "        for batch in batches:\n            await self.queue.publish(batch)\n",
        READING,
    ),
    Sabotage(
        "no fence at the checkpoint",
        "blocks/sql/shards.py",
        "    return and_(shard_key(claim.run_id, claim.shard_id), shard.c.fence == claim.fence)",
        "    return shard_key(claim.run_id, claim.shard_id)",
        SHARDS,
    ),
    Sabotage(
        "no guard in MySQL",
        "blocks/sql/applying.py",
        "guard=fresh(version) >= version",
        "guard=None",
        SQL,
    ),
    Sabotage(
        "the version assigned first",
        "blocks/sql/applying.py",
        "[*changes, (version, fresh(version))], guard=fresh(version) >= version",
        "[(version, fresh(version)), *changes], guard=fresh(version) > version",
        "tests/blocks/sql/test_rows.py",
    ),
    Sabotage(
        "equal content does not raise the version",
        "blocks/sql/applying.py",
        '            version=greatest(c.version, source.concat(bindparam("new_observation"))),\n',
        '            version=greatest(c.version, source.concat(func.substr(bindparam("new_observation"), 1, 0))),\n',
        LOADING,
    ),
    Sabotage(
        "what comes again is skipped, however far it came",
        "collectors/loading.py",
        "missing = stored.last_batch in unfinished or not stored.last_batch",
        "missing = False",
        LOADING,
    ),
    Sabotage(
        "no guard in MongoDB",
        "blocks/documents/mongo.py",
        '{"$gte": [each.version, "$version"]}',
        "True",
        MONGO,
    ),
    Sabotage(
        "no literal in MongoDB",
        "blocks/documents/mongo.py",
        '{"$literal": document}',
        "document",
        MONGO,
    ),
    Sabotage(
        "a cached value is filled without asking for the token",
        "blocks/caches/scripts.py",
        "    if era and held[1] == era and held[2] == ARGV[1] then",
        "    if era then",
        REDIS,
    ),
    Sabotage(
        "ids compare without case",
        "blocks/sql/constructs.py",
        'BYTEWISE = {True: "utf8mb4_nopad_bin"',
        'BYTEWISE = {True: "utf8mb4_general_ci"',
        SQL,
    ),
    Sabotage(
        "a hung database is waited for",
        "blocks/sql/mysql.py",
        '            "read_timeout": answer,\n',
        "",
        f"{SQL} -k hangs --timeout=30",
    ),
    Sabotage(
        "signatures are not compared",
        "blocks/queues/messages.py",
        "        if not hmac.compare_digest(",
        "        if False and not hmac.compare_digest(",
        "tests/blocks/queues/test_messages.py",
    ),
    Sabotage(
        "what no queue takes counts as published",
        "blocks/queues/publishing.py",
        "queue, mandatory=True",
        "queue, mandatory=False",
        RABBIT,
    ),
    Sabotage(
        "few deliveries and a message is dead",
        "blocks/queues/topology.py",
        "MOST_DELIVERIES = 50",
        "MOST_DELIVERIES = 1",
        TAKEN,
    ),
    Sabotage(
        "what was lost is not fetched again",
        "collectors/recovering.py",
        "                await self._fetch_again(",
        "                (",
        f"{RECOVERING} --timeout=20",
    ),
    Sabotage(
        "what was fetched again counts twice",
        "blocks/sql/ledger.py",
        '    values = {"stage": "refetched", "confirmed": False}',
        '    values = {"stage": "refetched"}',
        RECOVERING,
    ),
    Sabotage(
        "a tenant is missing in one question",
        "blocks/sql/rows.py",
        "    return and_(table.c.tenant == tenant, table.c.collection == collection)",
        "    return and_(table.c.collection == collection)",
        SQL,
    ),
    Sabotage(
        "who is frozen keeps its locks",
        "blocks/sql/mysql.py",
        "innodb_lock_wait_timeout = {lock_wait}, wait_timeout = {silence}",
        "innodb_lock_wait_timeout = {lock_wait}",
        f"{SQL} -k frozen",
    ),
    Sabotage(
        "what was stopped while it was loaded is complete",
        "collectors/closing.py",
        "    if not loaded or any(",
        "    if any(",
        "tests/collectors/test_closing.py",
    ),
    Sabotage(
        "a stage begins before the one before it is loaded",
        "flows/collect.py",
        "not stop.is_set() and await until_stopped(stop, load_stage(claim))",
        "not stop.is_set()",
        "tests/faults/test_crashes.py -m faults -k places",
    ),
    Sabotage(
        "a pause without a cap",
        "collectors/pacing.py",
        "        first = min(first * 2, last)",
        "        first = first * 2",
        "tests/collectors/test_pacing.py",
    ),
)


def caught(sabotage: Sabotage, folder: Path) -> bool:
    """Whether the tests notice it, in a copy of the tree."""
    for room in ROOMS:
        copy = shutil.copytree if (ROOT / room).is_dir() else shutil.copy
        copy(ROOT / room, folder / room)
    file = folder / sabotage.file
    text = file.read_text(encoding="utf-8")
    if text.count(sabotage.text) != 1:
        raise SystemExit(f"{sabotage.name}: its text is not found once in {sabotage.file}; write it anew")
    file.write_text(text.replace(sabotage.text, sabotage.instead), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *sabotage.tests.split()]
    environment = os.environ | {"PYTHONPATH": str(folder)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode not in (0, 1):
        raise SystemExit(f"{sabotage.name}: the tests could not be run\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.returncode == 1


def main(words: str = "") -> int:
    chosen = [each for each in SABOTAGES if words in each.name]
    number = 0
    for each in chosen:
        with tempfile.TemporaryDirectory() as name:
            noticed = caught(each, Path(name))
        number += noticed
        print(f"{'caught' if noticed else 'MISSED'}  {each.name}", flush=True)
    print(f"sabotages caught {number} of {len(chosen)}")
    return 0 if number == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

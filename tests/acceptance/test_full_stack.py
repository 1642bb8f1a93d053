"""The installed command on real servers: the same as on the embedded stores, and equal counts everywhere."""

import json
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pymongo
import pymysql
import pytest
import redis


@pytest.fixture
def stack(collect, metadata_url, documents_url, cache_url, queue_url):
    """The command, told by its environment to use the four servers."""
    urls = {"METADATA": metadata_url, "DOCUMENTS": documents_url, "CACHE": cache_url, "QUEUE": queue_url}
    collect.environment |= {f"COLLECT_{role}": url for role, url in urls.items()}
    collect("storage", "migrate")
    return collect


def mysql(url):
    parts = urlsplit(url)
    to = {"host": parts.hostname, "port": parts.port, "user": parts.username, "password": parts.password}
    return closing(pymysql.connect(**to, database=parts.path[1:]))


def counted(metadata_url, documents_url, collection="cases"):
    """Live rows and live documents."""
    where = "WHERE tenant = 'default' AND collection = %s AND NOT deleted"
    with mysql(metadata_url) as connection, connection.cursor() as cursor:
        rows = []
        for table in ("test_directory", "test_case"):
            cursor.execute(f"SELECT COUNT(*) FROM {table} {where}", (collection,))
            rows.append(cursor.fetchone()[0])
    with pymongo.MongoClient(documents_url) as client:
        of = {"tenant": "default", "collection": collection, "deleted": False}
        details = client.get_default_database()["test_case_detail"]
        documents = [details.count_documents(of | {"type": type}) for type in ("DIRECTORY", "CASE")]
    return rows, documents


def held(collect):
    return {key: (line["path"], line["content_hash"]) for key, line in collect.export("cases").items()}


def test_a_collection_is_collected_read_and_collected_again(stack, source, metadata_url, documents_url, cache_url):
    done = stack.json("run", source.collection(extra="strategy: {page_size: 50, shard_size: 200}\n"))
    assert (done["state"], done["records"]["new"]) == ("COMPLETED", 640)
    assert done["delays"].keys() == {"p50", "p95", "p99"}
    assert counted(metadata_url, documents_url) == ([40, 600], [40, 600])
    assert held(stack) == source.expected()

    entries = stack.json("ledger", done["run_id"])
    assert {entry["stage"] for entry in entries} == {"done"}
    assert sum(entry["records"] for entry in entries) == 640

    (top,) = stack.json("tree", "cases")[:1]
    assert stack.json("tree", "cases")[0] == top
    case = next(id for kind, id in source.expected() if kind == "case")
    shown = stack.json("show", case, "--kind", "case")
    with redis.Redis.from_url(cache_url) as client:
        assert client.exists(f"default:cases:test:case:{case}")
    word = shown["name"].split()[0]
    assert case in [hit["id"] for hit in stack.json("search", word, "--limit", "1000")]

    source.change("update", kind="case", id=int(case), name="支付 changed")
    again = stack.json("run", "cases")
    assert (again["records"]["changed"], again["records"]["unchanged"]) == (1, 639)
    assert stack.json("show", case, "--kind", "case")["name"] == "支付 changed"
    assert held(stack) == source.expected()
    assert "say the same" in stack("reconcile", "cases").stderr

    source.change("delete", kind="case", id=int(case))
    assert stack.json("run", "cases")["records"]["deleted"] == 1
    assert held(stack) == source.expected()
    assert case not in [hit["id"] for hit in stack.json("search", word, "--limit", "1000")]
    assert "say the same" in stack("reconcile", "cases").stderr
    _what_was_is_told(stack, case, done["run_id"], again["run_id"], top)


def _what_was_is_told(stack, case, first, second, top):
    versions = stack.json("history", case, "--kind", "case")
    assert [each["change"].partition(" ")[0] for each in versions] == ["added", "changed", "deleted"]
    assert [each["run_id"] for each in versions][:2] == [first, second]
    differences = stack.json("diff", "cases", "--from", first)
    assert [(each["id"], each["change"]) for each in differences] == [(case, "deleted")]
    assert stack.json("tree", "cases", "--at", first)[0] == top


def test_what_differs_between_the_stores_is_found_and_written_anew(
    stack, source, metadata_url, documents_url, cache_url
):
    stack("run", source.collection())
    with pymongo.MongoClient(documents_url) as client:
        details = client.get_default_database()["test_case_detail"]
        first, second, third = details.find({"type": "CASE"}).limit(3)
        details.delete_one({"_id": first["_id"]})
        details.update_one({"_id": second["_id"]}, {"$set": {"contentHash": "other"}})
        details.insert_one(third | {"_id": "default:cases:case:nobody", "id": "nobody"})
    stack("show", third["id"], "--kind", "case")
    with redis.Redis.from_url(cache_url) as client:
        key = f"default:cases:test:case:{third['id']}"
        client.hset(key, "value", json.dumps({"content_hash": "other", "deleted": False}))
    found = stack.json("reconcile", "cases", exit_code=1)
    assert {(each["id"], each["what"]) for each in found} == {
        (first["id"], "no document"),
        (second["id"], "another document"),
        (third["id"], "another copy in the cache"),
        ("nobody", "no row"),
    }
    stack("reconcile", "cases", "--repair")
    assert stack.json("reconcile", "cases") == []
    assert held(stack) == source.expected()


def test_what_a_repair_cannot_collect_again_is_told_and_can_still_be_shown(stack, source, documents_url, cache_url):
    stack("run", source.collection(extra="strategy: {shrink_guard: 0}\n"))
    with pymongo.MongoClient(documents_url) as client:
        details = client.get_default_database()["test_case_detail"]
        gone, damaged = details.find({"type": "CASE"}).limit(2)
        details.delete_one({"_id": gone["_id"]})
        details.update_one({"_id": damaged["_id"]}, {"$unset": {"contentHash": 1, "deleted": 1}})
    source.change("delete", kind="case", id=int(gone["id"]))
    with redis.Redis.from_url(cache_url) as client:
        stack("show", damaged["id"], "--kind", "case")
        for key in client.scan_iter(f"default:cases:test:case:{damaged['id']}"):
            client.hset(key, "value", b"[]")
    assert "1 records differ still" in stack("reconcile", "cases", "--repair", exit_code=3).stderr
    assert [each["id"] for each in stack.json("reconcile", "cases", exit_code=1)] == [gone["id"]]
    assert "marked to be written anew" in stack("show", gone["id"], "--kind", "case").stdout
    assert damaged["name"] in stack("show", damaged["id"], "--kind", "case").stdout


def test_the_doctor_examines_the_servers_and_the_runs_they_know(stack, source):
    stack("run", source.collection())
    found = stack.json("doctor")
    assert [each["state"] for each in found if each["check"] == "database"] == ["ok"] * 4
    assert {each["state"] for each in found if each["check"] == "runs"} == {"ok"}
    stack.environment["COLLECT_CACHE"] = "redis://127.0.0.1:9/0"
    found = stack.json("doctor", exit_code=1)
    assert [each["state"] for each in found if each["check"] == "database"].count("fail") == 1


def test_the_five_minutes_of_the_readme_work_as_they_are_written(collect, source):
    page = (Path(__file__).parents[2] / "README.md").read_text()
    block = page.partition("## The full stack in five minutes")[2].split("```")[1]
    lines = [line.partition("#")[0].split()[1:] for line in block.strip().splitlines()]
    assert ["storage", "migrate"] in lines and ["dev-servers", "down"] in lines
    places: dict[str, list[str]] = {"demo": ["cases"]}
    # Kept in the folder alone: the Prefect server is that of all tests, and its blocks would be theirs, too.
    api = collect.environment["PREFECT_API_URL"]
    try:
        for line in lines:
            if line == ["sample"]:  # the source stands in for it
                continue
            typed = [each for word in line for each in places.get(word, [word])]
            collect.environment.pop("PREFECT_API_URL", None)
            if line == ["run", "demo"]:
                collect.environment["PREFECT_API_URL"] = api
                typed = ["run", source.collection(), "--json"]
            process = collect(*typed)
            if line == ["dev-servers", "up"]:
                addresses = collect.json("dev-servers", "up")
                assert all(url in process.stderr for role, url in addresses.items() if role != "prefect_database")
                places |= {role.upper(): [url] for role, url in addresses.items()}
            if line[0] == "run":
                places["RUN"] = [json.loads(process.stdout)["run_id"]]
        assert {each["state"] for each in collect.json("dev-servers", "status")} == {"stopped"}
    finally:
        collect("dev-servers", "down")

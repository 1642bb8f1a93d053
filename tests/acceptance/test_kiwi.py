"""A real Kiwi TCMS server, collected whole and compared with what its own API lists. Run by `make kiwi`."""

import httpx
import pymongo
import pytest
import sqlalchemy

PASSWORD = "collector-pass"


@pytest.fixture
def kiwi(request):
    address = request.config.getoption("--kiwi")
    if not address:
        pytest.skip("needs a Kiwi server: make kiwi KIWI=http://...")
    with httpx.Client(base_url=address, headers={"Referer": address, "Origin": address}, timeout=60) as client:

        def call(method, *arguments):
            body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": arguments}
            return client.post("/json-rpc/", json=body).json()["result"]

        call("Auth.login", "collector", PASSWORD)
        yield address, call


@pytest.fixture(params=["embedded", "full stack"])
def stores(request, collect):
    """The addresses of the stores; none of the embedded ones."""
    if request.param == "embedded":
        return {}
    urls = {role: request.getfixturevalue(f"{role}_url") for role in ("metadata", "documents", "cache", "queue")}
    collect.environment |= {f"COLLECT_{role.upper()}": url for role, url in urls.items()}
    collect("storage", "migrate")
    return urls


def counted(stores):
    """How many live records stand in MySQL and in MongoDB."""
    engine = sqlalchemy.create_engine(stores["metadata"])
    tables = ("test_directory", "test_case")
    with engine.connect() as connection:
        queries = [sqlalchemy.text(f"SELECT COUNT(*) FROM {table} WHERE NOT deleted") for table in tables]
        rows = sum(connection.scalar(query) for query in queries)
    engine.dispose()
    with pymongo.MongoClient(stores["documents"]) as client:
        details = client.get_default_database()["test_case_detail"]
        return rows, details.count_documents({"deleted": False})


def test_every_plan_and_case_is_collected(kiwi, collect, stores, tmp_path):
    address, call = kiwi
    definition = tmp_path / "kiwi.yaml"
    definition.write_text(
        f"name: kiwi\ncollector: kiwi\nsource: {{base_url: {address}, username: collector, password: {PASSWORD}}}\n"
        "strategy: {shard_size: 1000}\n"
    )
    run = collect("run", str(definition))
    print("\n" + run.stdout)
    print(collect("tree", "kiwi", "--depth", "2").stdout[:1500])
    held = collect.export("kiwi")
    plans, cases = call("TestPlan.filter", {}), call("TestCase.filter", {})
    assert {id for kind, id in held if kind == "directory"} == {str(plan["id"]) for plan in plans}
    assert {id for kind, id in held if kind == "case"} == {str(case["id"]) for case in cases}
    parents = {str(plan["id"]): plan["parent"] and str(plan["parent"]) for plan in plans}
    assert {id: line["parent_id"] for (kind, id), line in held.items() if kind == "directory"} == parents
    lowest = {}
    for plan in sorted(parents, key=int, reverse=True):
        lowest |= dict.fromkeys(call("TestCase.sortkeys", {"plan": int(plan)}), plan)
    assert {id: line["parent_id"] for (kind, id), line in held.items() if kind == "case"} == {
        str(case["id"]): lowest.get(str(case["id"])) for case in cases
    }
    again = collect.json("run", "kiwi")
    assert again["records"]["unchanged"] == len(plans) + len(cases)
    assert collect.json("reconcile", "kiwi") == []
    if stores:
        assert counted(stores) == (len(plans) + len(cases),) * 2
    assert PASSWORD not in run.stdout + run.stderr

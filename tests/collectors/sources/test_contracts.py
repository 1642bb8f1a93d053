"""What every collector keeps, kept by the built-in ones."""

from collections.abc import Iterator
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from collectors.sources import kiwi, testrail
from collectors.testing.collector_contract import CollectorContract
from collectors.testing.sample import Settings, application
from collectors.testing.serving import served

RIGHT = "the-right-one"


class TestTestRail(CollectorContract):
    collector = testrail.TestRail
    parameters = {"project_id": 1, "suite_id": 1, "username": "reader", "api_key": RIGHT}
    wrong = {"api_key": "another-one"}
    expected = {"directories": [str(id) for id in range(1, 5)], "cases": [str(id) for id in range(1, 9)]}

    def source(self):
        return served(application(Settings(cases=8, directories=4, api_key=RIGHT, page_size=3)))

    def empty(self):
        return served(application(Settings(cases=0, directories=0, api_key=RIGHT)))


class Tcms:
    """Answers as Kiwi's JSON-RPC does: look-ups without paging, many calls in one request, failures as 200."""

    def __init__(self, plans: dict[int, int | None], cases: dict[int, list[int]]) -> None:
        self.plans, self.cases = plans, cases

    async def answer(self, request: Request) -> JSONResponse:
        allowed = request.cookies.get("sessionid") == "open"
        replies = [self._reply(call, allowed) for call in await request.json()]
        response = JSONResponse(replies)
        if any(reply.get("result") == "open" for reply in replies):
            response.set_cookie("sessionid", "open")
        return response

    def _reply(self, call: dict[str, Any], allowed: bool) -> dict[str, Any]:
        reply, method, (first, *rest) = {"jsonrpc": "2.0", "id": call["id"]}, call["method"], call["params"]
        if method == "Auth.login":
            wrong = {"error": {"code": -32603, "message": "Wrong username or password"}}
            return reply | ({"result": "open"} if rest == [RIGHT] else wrong)
        if not allowed:
            return reply | {"error": {"code": -32603, "message": f"Authentication failed when calling &quot;{method}"}}
        found = getattr(self, method.replace(".", "_").lower())(first)
        return reply | {"result": found}

    def _within(self, query: dict[str, Any]) -> Iterator[int]:
        after = next((value for key, value in query.items() if key.endswith("id__gt")), 0)
        until = next((value for key, value in query.items() if key.endswith("id__lte")), 2**31)
        return (id for id in self.cases if after < id <= until)

    def testplan_filter(self, query: dict[str, Any]) -> list[dict[str, Any]]:
        ids = {plan for case in self._within(query) for plan in self.cases[case]} if query else self.plans
        return [{"id": id, "name": f"plan {id}", "text": "", "parent": self.plans[id]} for id in sorted(ids)]

    def testcase_filter(self, query: dict[str, Any]) -> list[dict[str, Any]]:
        steps = "**Steps to reproduce**:\n1. open\n**Expected results**:\n* it is open"
        return [{"id": id, "summary": f"case &amp; {id}", "text": steps} for id in self._within(query)]

    def testcase_sortkeys(self, query: dict[str, Any]) -> dict[str, int]:
        plans = {query["plan"]} if "plan" in query else set(self.plans)
        return {str(id): 10 for id in self._within(query) if plans & set(self.cases[id])}

    def testcasestatus_filter(self, query: dict[str, Any]) -> list[dict[str, Any]]:
        return [{"id": 2, "name": "CONFIRMED"}] if any(self._within(query)) else []

    def tag_filter(self, query: dict[str, Any]) -> list[dict[str, Any]]:
        if "plan__isnull" in query:
            return [{"plan": id, "name": "nightly"} for id in self.plans]
        return [{"case": id, "name": tag} for id in self._within(query) for tag in ("slow", "new")]


def tcms(plans: dict[int, int | None], cases: dict[int, list[int]]) -> Starlette:
    return Starlette(routes=[Route("/json-rpc/", Tcms(plans, cases).answer, methods=["POST"])])


class TestKiwi(CollectorContract):
    collector = kiwi.Kiwi
    parameters = {"username": "collector", "password": RIGHT}
    wrong = {"password": "another-one"}
    expected = {"directories": ["1", "2", "5"], "cases": ["1", "2", "3", "40", "5000", "70001"]}

    def source(self):
        cases = {1: [1], 2: [2, 5], 3: [], 40: [1], 5000: [5], 70_001: []}
        return served(tcms({1: None, 2: 1, 5: 1}, cases))

    def empty(self):
        return served(tcms({}, {}))

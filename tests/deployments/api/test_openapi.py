"""The service keeps what its OpenAPI says, whatever is sent to it, with whichever key."""

import json
import re

import jsonschema_rs
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
SECRET = "nobody-else-may-see-this"
EXAMPLES = 12


@pytest.fixture
def filled(api, tree):
    """Two tenants, one with a secret in everything it has."""
    api.imported(tree)
    theirs = [{"kind": "case", "id": "2", "name": SECRET, "content": {"steps": [SECRET]}}]
    api.imported(theirs, tenant="acme", collection=SECRET)
    api.imported(SECRET.encode(), tenant="acme", collection=SECRET)
    return api


@schemathesis.serializer("application/x-ndjson")
def lines(_, value):
    return value.encode(errors="replace") if isinstance(value, str) else value


@pytest.mark.timeout(300)
@pytest.mark.parametrize("role", ["viewer", "operator", "admin", None])
def test_whatever_is_sent_is_answered_as_it_says(filled, role):
    schema = schemathesis.openapi.from_url(f"{filled.url}/openapi.json")
    headers = {"Authorization": filled.as_(role).headers["Authorization"]} if role else {}
    for result in schema.get_all_operations():
        tried(result.ok(), headers)


def tried(operation, headers):
    @given(case=operation.as_strategy())
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def once(case):
        response = case.call(headers=headers)
        case.validate_response(response, checks=CHECKS)
        assert SECRET not in response.text
        if not headers and operation.path != "/api/health":
            assert response.status_code == 401

    once()


def test_every_example_fits_its_own_shape(api):
    document = api.anybody.get("/openapi.json").json()
    shapes, found = document["components"]["schemas"], 0
    for name, shape in shapes.items():
        for example in shape.get("examples", []):
            validator = jsonschema_rs.validator_for({**shape, "components": document["components"]})
            errors = [str(error) for error in validator.iter_errors(example)]
            assert not errors, f"{name}: {errors}"
            found += 1
    assert found > 8


def test_every_reference_leads_to_a_shape(api):
    document = api.anybody.get("/openapi.json").json()
    referred = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)))
    assert {"Problem", "ImportedNode"} <= referred
    assert referred <= document["components"]["schemas"].keys()

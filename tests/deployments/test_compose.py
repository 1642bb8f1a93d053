"""compose.yaml holds together: it cannot be run here, so what it names is checked to be there."""

import re
from pathlib import Path

import yaml

from blocks.addresses import ROLES, checked
from deployments.cli import COMMANDS

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "compose.yaml").read_text()
COMPOSE = yaml.safe_load(TEXT)
SERVICES = COMPOSE["services"]
SERVERS = {"mysql": "mysql:8", "mongodb": "mongo:7", "redis": "redis:7", "rabbitmq": "rabbitmq:3.13", "postgres": ""}


def test_every_server_is_there_in_its_version_and_has_a_health_check():
    for name, image in SERVERS.items():
        assert SERVICES[name]["image"].startswith(image)
        assert SERVICES[name]["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
    assert SERVICES["prefect"]["healthcheck"]


def test_services_wait_for_those_they_need():
    for name, service in SERVICES.items():
        for needed, how in service.get("depends_on", {}).items():
            assert needed in SERVICES, name
            healthy = how["condition"] == "service_healthy"
            assert healthy == ("healthcheck" in SERVICES[needed]), f"{name} waits for {needed}"


def test_every_password_comes_from_the_file_beside_it():
    wanted = set(re.findall(r"\$\{(\w+)", TEXT))
    assert wanted == set(re.findall(r"^(\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert not re.search(r"\$\{\w+\}", TEXT), "each fails where it is not set"


def test_volumes_are_declared():
    named = {volume.partition(":")[0] for service in SERVICES.values() for volume in service.get("volumes", ())}
    assert named == COMPOSE["volumes"].keys()


def test_the_addresses_and_commands_are_the_platforms_own():
    environment = SERVICES["loader"]["environment"]
    for role in ROLES:
        address = re.sub(r"\$\{\w+:\?\}", "secret", environment[f"COLLECT_{role.upper()}"])
        assert checked(role, address) == address
    for name in ("migrate", "loader"):
        assert SERVICES[name]["command"][0] in COMMANDS

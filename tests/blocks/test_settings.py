"""Where things are kept is what the environment says, else the file, else Prefect; readable by its owner only."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from blocks import settings_file
from blocks.addresses import ROLES, Addresses
from blocks.settings import Settings, secret, signing_keys, written
from blocks.stores import open_storage
from collectors.errors import Misconfigured, Unreachable

SAID = {
    "metadata": "mysql+pymysql://loader:S3cret@db/collect",
    "documents": "mongodb://loader:S3cret@docs/collect",
    "cache": "redis://:S3cret@cache/0",
    "queue": "amqp://loader:S3cret@queue/collect",
}
VARIABLES = [f"COLLECT_{name}" for name in ("HOME", "SIGNING_KEYS", "PROFILE", *map(str.upper, ROLES))]


@pytest.fixture(autouse=True)
def clean(monkeypatch, tmp_path):
    for name in (*VARIABLES, "PREFECT_API_URL", "PREFECT_API_AUTH_STRING"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("value", [None, ""])
def test_home_is_a_folder_of_the_working_directory_unless_named(monkeypatch, tmp_path, value):
    if value is not None:
        monkeypatch.setenv("COLLECT_HOME", value)
    assert Settings.load() == Settings(tmp_path / ".collect", None)


def test_home_and_server_are_taken_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("COLLECT_HOME", "some/where")
    monkeypatch.setenv("PREFECT_API_URL", "http://prefect/api")
    assert Settings.of_home() == Settings(tmp_path / "some/where", "http://prefect/api")


def test_a_tilde_means_the_users_own_folder(monkeypatch):
    monkeypatch.setenv("COLLECT_HOME", "~/collected")
    assert Settings.load().home == Path.home() / "collected"


def test_a_home_stays_where_it_is_when_the_working_directory_changes(monkeypatch, tmp_path):
    settings = Settings.load()
    monkeypatch.chdir("/")
    settings.make_home()
    assert (tmp_path / ".collect").is_dir()


def test_everything_is_kept_below_home():
    settings = Settings(Path("/home"), None)
    places = {settings.database, settings.documents, settings.prefect_home}
    assert len(places) == 3
    assert all(place.parent == settings.home for place in places)


def test_a_home_is_readable_by_its_owner_only_and_may_be_there_already(tmp_path):
    settings = Settings(tmp_path / "a" / "b", None)
    settings.make_home()
    settings.make_home()
    assert settings.home.stat().st_mode & 0o777 == 0o700


def test_a_home_below_a_file_is_refused_with_a_remedy(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Misconfigured) as refused:
        Settings(tmp_path / "file" / "home", None).make_home()
    assert str(tmp_path / "file" / "home") in refused.value.what
    assert "COLLECT_HOME" in refused.value.remedy


def test_a_home_of_a_user_there_is_not_is_refused_with_a_remedy(monkeypatch):
    monkeypatch.setenv("COLLECT_HOME", "~nobody-of-this-name/home")
    with pytest.raises(Misconfigured) as refused:
        Settings.load()
    assert refused.value.code == "COL-0210"
    assert "~nobody-of-this-name/home" in refused.value.what


def test_a_working_directory_that_is_gone_is_refused_with_a_remedy(monkeypatch, tmp_path):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(Misconfigured) as refused:
        Settings.load()
    assert refused.value.code == "COL-0210"


def test_a_home_that_is_a_file_is_refused_with_a_remedy(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Misconfigured) as refused:
        Settings(tmp_path / "file", None).make_home()
    assert "COLLECT_HOME" in refused.value.remedy


def test_a_secret_is_an_environment_variable_or_nothing(monkeypatch):
    monkeypatch.setenv("THE_KEY", "s3cret")
    monkeypatch.delenv("NO_KEY", raising=False)
    assert (secret("THE_KEY"), secret("NO_KEY")) == ("s3cret", None)


# ---- where the stores are ------------------------------------------------------------------------------------


@pytest.fixture
def environment(monkeypatch):
    """Sets COLLECT_ variables."""

    def said(values):
        for name, value in values.items():
            monkeypatch.setenv(f"COLLECT_{name.upper()}", value)

    return said


@pytest.fixture
def file(tmp_path):
    """Writes the file of this folder."""
    (tmp_path / ".collect").mkdir(mode=0o700)

    def said(values):
        settings_file.write(tmp_path / ".collect", values)
        return tmp_path / ".collect" / "settings"

    return said


class Prefect(ThreadingHTTPServer):
    """Answers what a Prefect server says to whoever asks for blocks; `asked` are the headers it was asked with."""

    def __init__(self, status, said):
        super().__init__(("127.0.0.1", 0), _Answers)
        self.status, self.said, self.asked = status, json.dumps(said).encode(), []


class _Answers(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append(self.headers)
        self.send_response(self.server.status)
        self.end_headers()
        self.wfile.write(self.server.said)

    def log_message(self, *_):
        pass


@pytest.fixture
def prefect(monkeypatch):
    """Starts a server that says this, and makes it the Prefect server."""
    started = []

    def said(blocks=(), status=200):
        server = Prefect(status, blocks)
        started.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{server.server_port}/api")
        return server

    yield said
    for server in started:
        server.shutdown()
        server.server_close()


def blocks_of(said):
    data = {role: {"connection_url" if role == "cache" else "url": url} for role, url in said.items()}
    return [{"block_type": {"slug": f"collect-{role}"}, "data": each} for role, each in data.items()]


def elsewhere(host):
    return {role: url.rpartition("@")[0] + f"@{host}/" + url.rpartition("/")[2] for role, url in SAID.items()}


def test_without_a_word_about_them_the_stores_are_embedded():
    settings = Settings.load()
    assert (settings.addresses, settings.origin, settings.signing_keys) == (None, "embedded", {})


def test_the_environment_comes_before_the_file_and_the_file_before_prefect(environment, file, prefect):
    prefect(blocks_of(elsewhere("prefect")))
    assert Settings.load().addresses == Addresses(**elsewhere("prefect"))
    assert Settings.load().origin == "block"
    path = file(elsewhere("file"))
    assert Settings.load().addresses == Addresses(**elsewhere("file"))
    assert Settings.load().origin == "file"
    environment(SAID)
    assert Settings.load().addresses == Addresses(**SAID)
    assert Settings.load().origin == "environment"
    path.unlink()
    assert Settings.load().origin == "environment"


@pytest.mark.parametrize("said", [{"queue": SAID["queue"]}, {role: SAID[role] for role in ROLES[1:]}])
def test_a_stack_that_is_said_in_part_is_refused_and_not_filled_up_from_elsewhere(environment, file, said):
    file(SAID)
    environment(said)
    with pytest.raises(Misconfigured) as refused:
        Settings.load()
    assert refused.value.code == "COL-0690"
    missing = refused.value.what.rpartition(":")[2]
    assert {role for role in ROLES if role in missing} == set(ROLES) - set(said)
    assert "S3cret" not in str(refused.value)


def test_keys_and_profile_of_the_environment_come_before_those_of_the_file(environment, file):
    file(SAID | {"signing_keys": "old:one", "profile": "production"})
    assert (Settings.load().profile, Settings.load().signing_keys) == ("production", {"old": b"one"})
    environment({"signing_keys": "new:two, old:one", "profile": "development"})
    settings = Settings.load()
    assert settings.profile == "development"
    assert list(settings.signing_keys.items()) == [("new", b"two"), ("old", b"one")]
    assert written(settings.signing_keys) == "new:two,old:one"


def test_a_key_that_nobody_gave_is_the_same_for_all_who_know_the_password_of_the_queue(environment):
    environment(SAID)
    here = Settings.load().signing_keys
    environment({"queue": "amqps://loader:S3cret@another-name:5671/collect?cafile=ca.pem"})
    assert Settings.load().signing_keys == here
    environment({"queue": "amqp://loader:another@queue/collect"})
    assert Settings.load().signing_keys.keys() == here.keys() == {"url"}
    assert Settings.load().signing_keys != here
    assert written(here) == ""


@pytest.mark.parametrize("text", ["secret", ":secret", "id:", "id:secret,other"])
def test_keys_that_cannot_be_read_are_refused_without_repeating_them(text):
    with pytest.raises(Misconfigured) as refused:
        signing_keys(text)
    assert refused.value.code == "COL-0694" and "secret" not in refused.value.what


def test_there_are_two_profiles(environment):
    environment({"profile": "staging"})
    with pytest.raises(Misconfigured) as refused:
        Settings.load()
    assert refused.value.code == "COL-0695" and "staging" in refused.value.what


def test_no_secret_is_in_the_settings_as_they_are_written(environment):
    environment(SAID | {"signing_keys": "k1:S3cretKey"})
    assert "S3cret" not in repr(Settings.load())


# ---- the file ------------------------------------------------------------------------------------------------


def test_the_file_is_read_as_it_was_written_by_its_owner_alone(file):
    values = SAID | {"signing_keys": 'k1:"quoted\\" 密😀'}
    path = file(values)
    assert path.stat().st_mode & 0o777 == 0o600
    assert settings_file.read(path.parent) == values
    assert [each.name for each in path.parent.iterdir()] == ["settings"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_file_that_others_can_read_is_refused(file, mode):
    path = file(SAID)
    path.chmod(mode)
    with pytest.raises(Misconfigured) as refused:
        Settings.load()
    assert refused.value.code == "COL-0696" and f"chmod 600 {path}" in refused.value.remedy


@pytest.mark.parametrize("text", ["metadata = ", "S3cret", "\udcff"])
def test_a_file_that_cannot_be_read_is_named_and_not_repeated(file, text):
    path = file({})
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(Misconfigured) as refused:
        Settings.load()
    assert refused.value.code == "COL-0693" and str(path) in refused.value.what
    assert "S3cret" not in str(refused.value)


# ---- Prefect -------------------------------------------------------------------------------------------------


def test_a_folder_that_holds_data_or_was_told_to_be_embedded_does_not_ask_prefect(prefect, file, tmp_path):
    server = prefect(blocks_of(SAID))
    path = file({})
    assert Settings.load().addresses is None
    path.unlink()
    (path.parent / "collect.db").touch()
    assert Settings.load().addresses is None
    assert server.asked == []


def test_prefect_is_asked_once_with_the_credentials_of_its_client(prefect, monkeypatch):
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "admin:pass")
    server = prefect(blocks_of(SAID))
    assert Settings.load().addresses == Addresses(**SAID)
    (headers,) = server.asked
    assert headers["Authorization"] == "Basic YWRtaW46cGFzcw=="


def test_a_server_without_such_blocks_means_embedded(prefect):
    prefect([])
    settings = Settings.load()
    assert (settings.addresses, settings.origin, settings.doubt) == (None, "embedded", None)


def test_blocks_that_are_not_all_there_are_refused(prefect):
    prefect(blocks_of({"cache": SAID["cache"]}))
    with pytest.raises(Misconfigured) as refused:
        Settings.load()
    assert refused.value.code == "COL-0690"


@pytest.mark.parametrize(("status", "said"), [(401, []), (500, []), (200, {"no": "list"}), (200, [{}])])
def test_stores_are_not_opened_while_it_is_not_known_which(prefect, tmp_path, status, said):
    """Else a run would be kept in this folder, since its server was slow to say where it belongs."""
    prefect(said, status)
    settings = Settings.load()
    with pytest.raises(Unreachable) as unknown, open_storage(settings):
        pass
    assert unknown.value.code == "COL-0730" and "PREFECT_API_URL" in unknown.value.what
    assert not settings.home.exists()


@pytest.mark.parametrize("api", ["http://127.0.0.1:9/api", "nonsense", "http://"])
def test_a_server_that_is_not_there_leaves_a_doubt(monkeypatch, api):
    monkeypatch.setenv("PREFECT_API_URL", api)
    assert Settings.load().doubt.code == "COL-0730"

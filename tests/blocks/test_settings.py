"""Where things are kept is what the environment says, and readable by its owner only."""

from pathlib import Path

import pytest

from blocks.settings import Settings, secret
from collectors.errors import Misconfigured


@pytest.fixture(autouse=True)
def clean(monkeypatch, tmp_path):
    for name in ("COLLECT_HOME", "PREFECT_API_URL"):
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
    assert Settings.load() == Settings(tmp_path / "some/where", "http://prefect/api")


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

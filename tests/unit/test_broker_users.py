"""The ACL file: one line per component, hashed passwords, nobody without a name."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kiosk_tasks.broker_users import COMPONENTS, BrokerKeys, Grant, broker_users
from kiosk_tasks.cli.main import build
from kiosk_tasks.errors import InvalidParameter


def acl(*arguments: str) -> str:
    done = CliRunner().invoke(build(), ["acl", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return str(done.output)


def test_passwords_are_made_once_and_kept_private(tmp_path: Path) -> None:
    file = tmp_path / "passwords.env"
    first = acl("--passwords", str(file))
    assert first == acl("--passwords", str(file))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    made = dict(line.split("=", 1) for line in file.read_text().splitlines())
    assert set(made) == {f"KIOSK_{component.upper()}_PASSWORD" for component in COMPONENTS}
    for component in COMPONENTS:
        password = made[f"KIOSK_{component.upper()}_PASSWORD"]
        assert len(password) >= 40
        assert password not in first
        digest = hashlib.sha256(password.encode()).hexdigest()
        assert f"user kiosk-{component} on sanitize-payload #{digest} " in first


def test_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "passwords.env"
    file.write_text("KIOSK_WORKER_PASSWORD=from-the-file\n")
    monkeypatch.setenv("KIOSK_WORKER_PASSWORD", "from-the-environment")
    text = acl("--passwords", str(file))
    assert hashlib.sha256(b"from-the-environment").hexdigest() in text
    assert "KIOSK_WORKER_PASSWORD=from-the-file" in file.read_text()


def test_no_password_is_ever_guessed() -> None:
    with pytest.raises(InvalidParameter, match="KIOSK_CLIENT_PASSWORD"):
        acl()


def test_user_without_a_name_is_off(tmp_path: Path) -> None:
    first, *users = acl("--passwords", str(tmp_path / "p")).splitlines()
    assert first == "user default off resetpass resetkeys resetchannels -@all"
    assert [line.split()[1] for line in users] == [f"kiosk-{name}" for name in COMPONENTS]


def test_keys_follow_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIOSK_KEY_PREFIX", "lab:")
    monkeypatch.setenv("KIOSK_BROKER_URL", "redis://host/3")
    text = acl("--passwords", str(tmp_path / "p"))
    assert "~lab:*" in text
    assert "&lab:v1:/3.celery.pidbox" in text
    assert "~predict ~predict:* ~processing-predict:*" in text
    assert "kiosk:" not in text


def test_only_the_admin_may_do_everything() -> None:
    users = broker_users(BrokerKeys("kiosk:", "kiosk:v1:"))
    everything = [user.component for user in users if "+@all" in user.line("0" * 64)]
    assert everything == ["admin"]
    for user in users[:-1]:
        assert "allkeys" not in user.line("") and " ~* " not in user.line("")  # noqa: PT018


def test_grant_in_the_acls_language() -> None:
    grant = Grant("get ping", ("a:*", "%R~b"), ("c",))
    assert grant.rules == "~a:* %R~b &c -@all +get +ping"

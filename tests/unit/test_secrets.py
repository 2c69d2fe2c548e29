"""Passwords do not show in representations, texts and logs."""

from __future__ import annotations

import io
import logging
import pickle
import time
from pathlib import Path

import pytest

from kiosk_tasks.cli.doctor import _exposed
from kiosk_tasks.redaction import Redactor, SecretUrl, hide, redact_logs, without_password
from kiosk_tasks.settings import InvalidSetting, Settings

URL = "redis://kiosk-worker:s3cr3t-word@broker:6379/0"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (URL, "redis://kiosk-worker:***@broker:6379/0"),
        ("redis://:p%40ss@h/0", "redis://:***@h/0"),
        ("redis://h:6379/0?password=abc&x=1", "redis://h:6379/0?***"),
        ("redis://:p@ss:wo@rd@h/0", "redis://:***@h/0"),
        ("s3://token@bucket/prefix", "s3://***@bucket/prefix"),
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("file:///a/folder", "file:///a/folder"),
        ("", ""),
    ],
)
def test_url_without_its_password(url: str, shown: str) -> None:
    assert without_password(url) == shown
    assert SecretUrl(url).shown == shown
    assert repr(SecretUrl(url)) == repr(shown)


def test_secret_url_is_a_string_for_whoever_connects() -> None:
    url = SecretUrl(URL)
    assert url == URL
    assert url.partition("://")[0] == "redis"
    assert pickle.loads(pickle.dumps(url)) == URL  # noqa: S301
    assert "s3cr3t" not in f"{[url]} {(url,)} {url!r} {dict(url=url)}"


SECRETS = {
    "KIOSK_BROKER_URL": URL,
    "KIOSK_LEDGER_URL": "redis://:l3dg3r-word@broker/1",
    "KIOSK_BUCKET": "s3://key-id:buck3t-word@bucket/prefix",
    "KIOSK_WORKSPACE": "s3://key-id:w0rkspace-word@bucket/prefix",
    "KIOSK_FLOWER_AUTH": "lab:fl0wer-word",
}
WORDS = ("s3cr3t-word", "l3dg3r-word", "buck3t-word", "w0rkspace-word", "fl0wer-word")


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LAB_API_TOKEN", "t0ken-word")
    return Settings.load()


def test_settings_show_no_secret(planted: Settings) -> None:
    texts = [repr(planted), str(planted), f"{planted}", repr(planted.records_url)]
    texts += [repr(planted.bucket_url), repr(planted.workspace_url), repr(planted.model_fields_set)]
    for word in WORDS:
        assert not any(word in text for text in texts), word
    assert planted.broker_url == URL
    assert planted.flower_auth is not None
    assert planted.flower_auth.get_secret_value() == "lab:fl0wer-word"


def test_secrets_in_files_are_hidden_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        (tmp_path / name).write_text(f"{value}\n")
        monkeypatch.setenv(f"{name}_FILE", str(tmp_path / name))
    assert Settings.load().broker_url == URL
    monkeypatch.setenv("KIOSK_LINK_SECRET_FILE", str(tmp_path / "missing"))
    for word in WORDS:
        assert word not in hide(f"an error with {word} in it"), word


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("KIOSK_BROKER_URL", "rediss://:s3cr3t-word@h/0?ssl_cert_reqs=none"),
        ("KIOSK_LEDGER_URL", "rediss://:s3cr3t-word@h/0?ssl_check_hostname=false"),
        ("KIOSK_BROKER_URL", "amqp://:s3cr3t-word@h/0"),
        ("KIOSK_BROKER_URL", "redis://:s3cr3t-word/x@h:1/0"),
        ("KIOSK_BROKER_URL", "redis://:s3cr3t-word#x@h:1/0"),
        ("KIOSK_BROKER_URL", "redis://:x?s3cr3t-word@h:1/0"),
        ("KIOSK_FLOWER_AUTH", "s3cr3t-word"),
        ("KIOSK_MAX_PIXELS", "s3cr3t-word"),
        ("KIOSK_STAGE_QUEUES", '{"a": s3cr3t-word'),
        ("KIOSK_BROKER_CA", "/nowhere/s3cr3t-word"),
    ],
)
def test_wrong_setting_is_named_and_its_value_is_not(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidSetting) as told:
        Settings.load()
    assert name.removeprefix("KIOSK_").lower() in str(told.value).lower()
    assert "s3cr3t-word" not in str(told.value)
    assert told.value.__cause__ is None


def test_no_certificate_authority_without_tls(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    authority = tmp_path / "ca.pem"
    authority.touch()
    monkeypatch.setenv("KIOSK_BROKER_CA", str(authority))
    monkeypatch.setenv("KIOSK_BROKER_URL", "redis://broker/0")
    with pytest.raises(InvalidSetting, match="rediss://"):
        Settings.load()
    monkeypatch.setenv("KIOSK_BROKER_URL", "redis://127.0.0.1/0")  # as `kiosk up` sets it
    assert Settings.load().tls("redis://127.0.0.1/0") == {}
    tls = Settings.load().tls("rediss://broker/0")
    assert tls == {"ssl_cert_reqs": "required", "ssl_ca_certs": str(authority)}


@pytest.mark.parametrize(
    ("url", "warnings"),
    [
        ("redis://127.0.0.1:6379/0", 0),
        ("redis://[::1]:6379/0", 0),
        ("redis://localhost/0", 0),
        ("redis://broker/0", 2),
        ("redis://10.0.0.1/0", 2),
        ("redis://:password@broker/0", 1),
        ("rediss://broker/0", 1),
        ("rediss://:password@broker/0", 0),
        ("sentinel://127.0.0.1;sentinel://other", 2),
        ("sentinel://127.0.0.1;sentinel://[::1]:2", 0),
    ],
)
def test_doctor_warns_of_an_open_broker(url: str, warnings: int) -> None:
    findings = _exposed("broker", url, Settings.load())
    assert sum(not finding.ok for finding in findings) == warnings
    assert not any("password@" in finding.text for finding in findings)


def test_key_and_certificate_go_together(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "key").touch()
    monkeypatch.setenv("KIOSK_BROKER_KEY", str(tmp_path / "key"))
    with pytest.raises(InvalidSetting, match="KIOSK_BROKER_CERTIFICATE"):
        Settings.load()


@pytest.mark.usefixtures("planted")
def test_texts_are_cleaned() -> None:
    text = f"cannot open {URL}: s3cr3t-word, fl0wer-word and t0ken-word; lab:fl0wer-word"
    assert "word" not in hide(text).replace("***", "")
    assert hide("amqp://me:pw@host and http://u:v@w") == "amqp://me:***@host and http://u:***@w"


def test_every_users_token_is_hidden() -> None:
    redactor = Redactor({"KIOSK_API_TOKENS": "ann:first-token,ben:se:cond"})
    assert redactor.hide("first-token se:cond ann") == "*** *** ann"


def test_a_long_word_takes_no_longer_than_it_should() -> None:
    began = time.perf_counter()
    for text in ("x" * 500_000, "x://" * 100_000, "x://y" * 100_000, "://:" * 100_000):
        assert Redactor({}).hide(text) == text
    assert time.perf_counter() - began < 5
    assert Redactor({}).hide("1http://u:word@h") == "1http://u:***@h"


def test_words_of_every_day_are_not_hidden() -> None:
    redactor = Redactor({"SOME_TOKEN": "no", "PATH": "/usr/bin", "URL": "http://host/path"})
    assert redactor.hide("no host in /usr/bin") == "no host in /usr/bin"


@pytest.mark.usefixtures("planted")
def test_logs_are_cleaned_with_their_traces() -> None:
    stream = io.StringIO()
    logger = logging.Logger("test", logging.DEBUG)
    logger.addHandler(logging.StreamHandler(stream))
    redact_logs(logger)
    redact_logs(logger)
    logger.info("connects to %s", SecretUrl(URL))
    try:
        raise RuntimeError(f"refused by {URL} with t0ken-word")
    except RuntimeError:
        logger.exception("it failed")
    written = stream.getvalue()
    assert "Traceback" in written
    assert "refused by redis://kiosk-worker:***@broker:6379/0 with ***" in written
    assert not any(word in written for word in (*WORDS, "t0ken-word"))

"""The tables of settings, of job types, and of the broker's users."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kiosk_tasks.broker_users import BrokerKeys, broker_users, user_name
from kiosk_tasks.job import JobType
from kiosk_tasks.jobs import job_types
from kiosk_tasks.settings import Settings, default_home

__all__ = ["cell", "job_types_table", "settings_table", "table", "users_table", "values_of"]


def table(*rows: tuple[object, ...]) -> str:
    """Return a Markdown table; the first row is its head."""
    head, *body = (f"| {' | '.join(map(str, row))} |" for row in rows)
    return "\n".join([head, f"|{'---|' * len(rows[0])}", *body])


def cell(text: object) -> str:
    """Return text as it may stand in a table."""
    return str(text).replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def settings_table() -> str:
    """Return every variable with its default and its meaning."""
    rows: list[tuple[object, ...]] = [("variable", "default", "meaning")]
    for field in Settings.model_fields.values():
        ours, *old = dict.fromkeys(field.validation_alias.choices)  # type: ignore[union-attr]
        names = f"`{ours}`" + "".join(f"<br>also `{name}`" for name in old if name != ours)
        if field.default_factory is default_home:
            default = "see above"
        else:
            value = field.get_default(call_default_factory=True, validated_data={})
            default = "" if value in ("", None) else f"`{value}`"
        rows.append((names, default, cell(field.description or "")))
    return table(*rows)


def users_table() -> str:
    """Return the broker's users and the keys that each of them may touch."""
    names = BrokerKeys("kiosk:", "kiosk:v1:", old_queues=["<queue>"])
    heads = ("user", "who logs in", "keys", "the old Kiosk's keys", "takes jobs off queues")
    rows: list[tuple[object, ...]] = [heads]
    for user in broker_users(names):
        keys = [key for grant in (user.grant, *user.more) for key in grant.keys]
        ours = " ".join(f"`{key}`" for key in user.grant.keys)
        old = " ".join(f"`{key}`" for key in keys if "<queue>" in key)
        takes = "yes" if {"brpop", "@all"} & set(user.grant.commands.split()) else ""
        rows.append((f"`{user_name(user.component)}`", user.purpose, ours, old, takes))
    return table(*rows)


def job_types_table() -> str:
    """Return a section for each job type: what it is, and its parameters."""
    return "\n\n".join(_section(job_type) for job_type in job_types().values())


def _section(job_type: JobType[Any]) -> str:
    facts = {
        "queue": f"`{job_type.queue}`",
        "also called": ", ".join(f"`{alias}`" for alias in job_type.aliases),
        "stages": " → ".join(step.name for step in job_type.steps),
        "model": ", ".join(f"`{model.name}`" for model in job_type.models),
        "time limit": f"{job_type.seconds} s per link",
    }
    properties = job_type.params.model_json_schema()["properties"]
    return "\n".join(
        [
            f"## {job_type.name}: {job_type.title}",
            "",
            table(("", ""), *((name, value) for name, value in facts.items() if value)),
            "",
            table(
                ("parameter", "values", "default", "meaning"),
                *(
                    (
                        f"`{name}`",
                        cell(values_of(properties.get(name, {}))),
                        "" if field.default is None else f"`{field.default}`",
                        cell(field.description or ""),
                    )
                    for name, field in job_type.params.model_fields.items()
                ),
            ),
        ]
    )


_KINDS = {
    "integer": "whole number",
    "number": "number",
    "string": "text",
    "boolean": "true or false",
    "array": "list",
    "object": "object",
}


def values_of(schema: Mapping[str, Any]) -> str:
    """Say in words which values a part of a JSON Schema lets pass."""
    kinds = [one for one in schema.get("anyOf", [schema]) if one.get("type") != "null"]
    unit = schema.get("x-unit", "")
    return " or ".join(dict.fromkeys(map(_one_kind, kinds))) + (f", {unit}" if unit else "")


def _one_kind(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    bounds = {
        "minimum": "from {}",
        "exclusiveMinimum": "above {}",
        "maximum": "to {}",
        "exclusiveMaximum": "below {}",
        "maxLength": "at most {} letters",
    }
    told = (text.format(f"{schema[key]:g}") for key, text in bounds.items() if key in schema)
    return " ".join([_KINDS.get(schema.get("type", ""), ""), *told]).strip()

"""Query parameters of the RunPod API: known ones are checked as its document says, unknown ones are ignored.

Source: RunPod OpenAPI v2 document (`components.parameters`) and contract §1.1, read 2026-11.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime

from aiohttp import web

from runner.local.clock import parse_iso
from runner.local.runpod_edge import Problem

Rule = Callable[[str], str]
"""From a value to what is wrong with it; empty when nothing is."""


def boolean(value: str) -> str:
    return "" if value in ("true", "false") else "want boolean"


def text(_value: str) -> str:
    return ""


def whole_number(minimum: int, maximum: int | None = None) -> Rule:
    def check(value: str) -> str:
        if not re.fullmatch(r"-?\d{1,18}", value, re.ASCII):
            return "want integer"
        if maximum is not None and int(value) > maximum:
            return f"maximum: want {maximum}"
        return "" if int(value) >= minimum else f"minimum: want {minimum}"

    return check


def matching(pattern: str) -> Rule:
    compiled = re.compile(pattern, re.ASCII)
    return lambda value: "" if compiled.fullmatch(value) else f"does not match pattern '^{pattern}$'"


def one_of(*choices: str) -> Rule:
    wanted = ", ".join(f"'{choice}'" for choice in choices)
    return lambda value: "" if value in choices else f"value must be one of {wanted}"


def listed(rule: Rule, *, most: int | None = None) -> Rule:
    """A list with commas between its entries."""

    def check(value: str) -> str:
        # Nothing between commas is an entry too, and none that any list knows.
        entries = value.split(",")
        if most is not None and len(entries) > most:
            return f"maxItems: got {len(entries)}, want {most}"
        return next((wrong for entry in entries if (wrong := rule(entry))), "")

    return check


def moment(value: str) -> str:
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+ -]\d\d:\d\d)", value, re.ASCII | re.IGNORECASE):
        return "want date-time"
    try:
        read_moment(value)
    except ValueError:
        return "want date-time"
    return ""


def read_moment(value: str) -> datetime:
    """The time that a checked value names."""
    # A plus sign that nobody encoded arrives as a space.
    return parse_iso(value.replace(" ", "+").upper())


VERSION = r"\d+\.\d+"
CATALOG: Mapping[str, Rule] = {"include": listed(one_of("AVAILABILITY"), most=1)}
GPUS: Mapping[str, Rule] = {
    **CATALOG, "product": listed(one_of("POD", "CLUSTER", "SERVERLESS")), "count": whole_number(1),
    "cloud": one_of("SECURE", "COMMUNITY"), "countryCodes": listed(matching("[A-Z]{2}")),
    "cudaVersions": listed(matching(VERSION)), "minCudaVersion": matching(r"\d+(\.\d+)?"),
}  # fmt: skip
CPUS: Mapping[str, Rule] = {**CATALOG, "product": listed(one_of("POD", "SERVERLESS")), "vcpuCount": whole_number(2)}
COMPLIANCE = (
    "GDPR", "ISO_IEC_27001", "ISO_14001", "PCI_DSS", "HITRUST", "SOC_1_TYPE_2", "SOC_2_TYPE_2", "SOC_3_TYPE_2",
    "ITAR", "FISMA_HIGH", "HIPAA", "RENEWABLE",
)  # fmt: skip
REGIONS = (
    "NORTH_AMERICA", "SOUTH_AMERICA", "EUROPE", "ASIA", "MIDDLE_EAST", "AFRICA", "OCEANIA", "ANTARCTICA", "UNKNOWN",
)  # fmt: skip
DATA_CENTER: Mapping[str, Rule] = {"include": listed(one_of("GPU_AVAILABILITY", "CPU_AVAILABILITY"))}
DATA_CENTERS: Mapping[str, Rule] = {
    **DATA_CENTER, "regions": listed(one_of(*REGIONS)), "globalNetwork": boolean,
    "networkVolumeTypes": listed(one_of("STANDARD", "HIGH_PERFORMANCE")), "compliance": listed(one_of(*COMPLIANCE)),
}  # fmt: skip
PODS: Mapping[str, Rule] = {"includeClusterPods": boolean}
BILLING: Mapping[str, Rule] = {
    "startTime": moment, "endTime": moment, "bucketSize": one_of("hour", "day", "week", "month", "year"),
    "lastN": whole_number(1),
}  # fmt: skip
LOGS: Mapping[str, Rule] = {
    "source": one_of("container", "system"), "tail": whole_number(0, 5000), "since": moment,
}  # fmt: skip
CATALOG_TEMPLATES: Mapping[str, Rule] = {"source": one_of("official", "verified", "community")}


def check_query(request: web.Request, rules: Mapping[str, Rule]) -> None:
    """Refuse the known parameters that are wrong, or given more than once.

    Raises:
        Problem: 422 with every violation.
    """
    errors = []
    for name, rule in rules.items():
        values = request.query.getall(name, [])
        if len(values) > 1:
            errors.append(f"$.{name}: given {len(values)} times")
        elif values and (wrong := rule(values[0])):
            errors.append(f"$.{name}: {wrong}")
    if errors:
        raise Problem(422, "Request validation failed.", errors=errors)

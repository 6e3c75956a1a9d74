"""What the embedded RunPod offers: GPUs, CPUs and the one data center.

Source: RunPod OpenAPI v2 document (`GpuType`, `CpuType`, `DataCenter`, filters of stock), read 2026-11.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from runner.local.gpus import CUDA_VERSION, GPU_TYPES, Cloud, GpuType, allows_cuda
from runner.local.lifecycle import DATA_CENTER
from runner.local.runpod_edge import Problem

COUNTRY = "US"
_ONLY_WITH_STOCK = ("product", "count", "cloud", "countryCodes", "cudaVersions", "minCudaVersion", "vcpuCount")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stock:
    """The pod that a question about availability is about."""

    cloud: Cloud = "SECURE"
    count: int = 1
    countries: frozenset[str] = frozenset()
    cuda_versions: frozenset[str] = frozenset()
    min_cuda_version: str | None = None

    @property
    def is_here(self) -> bool:
        """Whether this machine stands in one of the wanted countries."""
        return not self.countries or COUNTRY in self.countries

    def has(self, gpu: GpuType) -> bool:
        """Whether there is a machine for that pod."""
        return (
            self.is_here
            and self.count <= gpu.max_count(self.cloud)
            and allows_cuda(CUDA_VERSION, exact=self.cuda_versions, floor=self.min_cuda_version)
        )


def stock_wanted(query: Mapping[str, str]) -> Stock | None:
    """What a checked query wants to know about availability; None when it does not ask.

    Raises:
        Problem: 400 for filters that make sense only with it, or not together.
    """
    if "AVAILABILITY" not in query.get("include", "").split(","):
        if given := [name for name in _ONLY_WITH_STOCK if name in query]:
            raise Problem(400, f"{given[0]} is valid only with include=AVAILABILITY")
        return None
    if "product" not in query:
        raise Problem(400, "product is required with include=AVAILABILITY")
    if "cudaVersions" in query and "minCudaVersion" in query:
        raise Problem(400, "cudaVersions and minCudaVersion are mutually exclusive")
    if int(query.get("vcpuCount", 2)).bit_count() != 1:
        raise Problem(400, "vcpuCount must be a power of two")
    return Stock(
        cloud="COMMUNITY" if query.get("cloud") == "COMMUNITY" else "SECURE",
        count=int(query.get("count", 1)),
        countries=frozenset(_words(query, "countryCodes")),
        cuda_versions=frozenset(_words(query, "cudaVersions")),
        min_cuda_version=query.get("minCudaVersion"),
    )


def gpu_item(gpu: GpuType, *, offered: Callable[[str], bool], stock: Stock | None) -> dict[str, Any]:
    """One catalog entry, with its availability when `stock` is wanted.

    A price of 0 beside a false flag is the vendor's placeholder, not a gift.
    """
    secure, community = gpu.secure_usd_h, gpu.community_usd_h
    item: dict[str, Any] = {
        "id": gpu.id,
        "name": gpu.name,
        "pool": None,
        "manufacturer": gpu.manufacturer,
        "memory": gpu.memory_gib,
        "secure": secure is not None,
        "community": community is not None,
        "price": {"secure": secure or 0, "community": community or 0},
        "maxCount": {"secure": gpu.max_count("SECURE"), "community": gpu.max_count("COMMUNITY")},
    }
    if stock is not None:
        is_free = stock.has(gpu)
        level = "HIGH" if is_free and offered(gpu.id) else "NONE"
        item["availability"] = level
        if is_free:
            item["dataCenters"] = [{"id": DATA_CENTER, "name": "This machine", "availability": level}]
            item["cudaVersions"] = [{"version": CUDA_VERSION, "available": level != "NONE"}]
    return item


@dataclass(frozen=True, slots=True)
class CpuType:
    """A CPU flavour; the price is for one vCPU."""

    id: str
    name: str
    group: str
    gib_per_vcpu: int
    usd_h: float
    min_vcpu: int = 2
    max_vcpu: int = 32


CPU_TYPES: Mapping[str, CpuType] = {
    cpu.id: cpu
    for cpu in (
        CpuType("cpu3c", "Compute-Optimized, 3 GHz", "Compute-Optimized", 2, 0.03),
        CpuType("cpu5c", "Compute-Optimized, 5 GHz", "Compute-Optimized", 2, 0.035),
        CpuType("cpu5g", "General Purpose, 5 GHz", "General Purpose", 4, 0.04),
    )
}


def cpu_item(cpu: CpuType, *, with_stock: bool) -> dict[str, Any]:
    """One CPU flavour of the catalog."""
    item: dict[str, Any] = {
        "id": cpu.id,
        "name": cpu.name,
        "group": cpu.group,
        "vcpu": {"min": cpu.min_vcpu, "max": cpu.max_vcpu},
        "ramGbPerVcpu": cpu.gib_per_vcpu,
        "price": {"securePerVcpu": cpu.usd_h, "serverlessPerVcpu": cpu.usd_h},
    }
    if with_stock:
        item["availability"] = "HIGH"
        item["dataCenters"] = [{"id": DATA_CENTER, "name": "This machine", "availability": "HIGH"}]
    return item


def data_center_item(include: Collection[str], *, offered: Callable[[str], bool]) -> dict[str, Any]:
    """The one data center there is: this machine."""
    item: dict[str, Any] = {
        "id": DATA_CENTER,
        "name": "This machine",
        "region": "UNKNOWN",
        "globalNetwork": True,
        "networkVolumeTypes": ["STANDARD"],
        "compliance": [],
    }
    if "GPU_AVAILABILITY" in include:
        item["gpuAvailability"] = [
            {"id": gpu.id, "name": gpu.name, "availability": "HIGH" if offered(gpu.id) else "NONE"} for gpu in GPU_TYPES
        ]
    if "CPU_AVAILABILITY" in include:
        item["cpuAvailability"] = [
            {"id": cpu.id, "name": cpu.name, "availability": "HIGH"} for cpu in CPU_TYPES.values()
        ]
    return item


def is_wanted(data_center: Mapping[str, Any], query: Mapping[str, str]) -> bool:
    """Whether a data center passes the filters of a query."""
    regions, kinds = _words(query, "regions"), _words(query, "networkVolumeTypes")
    return (
        (not regions or data_center["region"] in regions)
        and (not kinds or bool(kinds & set(data_center["networkVolumeTypes"])))
        and _words(query, "compliance") <= set(data_center["compliance"])
        and query.get("globalNetwork") != "false"
    )


def _words(query: Mapping[str, str], name: str) -> set[str]:
    return set(filter(None, query.get(name, "").split(",")))

"""GPU types a RunPod account can ask for, with memory and price readings.

The figures were read in public places between February and October 2026; prices move, so they serve planning and the
embedded cloud only. A real run trusts the catalog and then the pod's own `cost`.

Source: RunPod GPU type documentation and public price readings, collected 2026-11.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

Cloud = Literal["SECURE", "COMMUNITY"]
CUDA_VERSION = "12.8"
"""What the driver of every machine here can do."""


@dataclass(frozen=True, slots=True)
class GpuType:
    """One GPU type. A price of None means: no reading found, so this cloud is not offered here."""

    id: str
    name: str
    memory_gib: int
    secure_usd_h: float | None
    community_usd_h: float | None

    @property
    def manufacturer(self) -> str:
        return "AMD" if self.id.startswith("AMD") else "NVIDIA"

    def price_usd_h(self, cloud: Cloud) -> float | None:
        """Price of one such GPU for an hour in `cloud`; None where it is not offered."""
        return self.secure_usd_h if cloud == "SECURE" else self.community_usd_h

    def max_count(self, cloud: Cloud) -> int:
        """How many of them the largest machine in `cloud` has."""
        if not self.price_usd_h(cloud):
            return 0
        return 8 if cloud == "SECURE" else 4


GPU_TYPES: tuple[GpuType, ...] = (
    GpuType("AMD Instinct MI300X OAM", "MI300X", 192, 2.19, 0.5),
    GpuType("NVIDIA A100 80GB PCIe", "A100 PCIe", 80, 1.39, 1.19),
    GpuType("NVIDIA A100-SXM4-80GB", "A100 SXM", 80, 1.49, 1.39),
    GpuType("NVIDIA A30", "A30", 24, None, 0.22),
    GpuType("NVIDIA A40", "A40", 48, 0.49, 0.35),
    GpuType("NVIDIA B200", "B200", 180, 5.89, 5.98),
    GpuType("NVIDIA B300 SXM6 AC", "B300", 288, 7.39, 6.94),
    GpuType("NVIDIA GeForce RTX 3070", "RTX 3070", 8, None, 0.13),
    GpuType("NVIDIA GeForce RTX 3080", "RTX 3080", 10, None, None),
    GpuType("NVIDIA GeForce RTX 3080 Ti", "RTX 3080 Ti", 12, None, 0.18),
    GpuType("NVIDIA GeForce RTX 3090", "RTX 3090", 24, 0.46, 0.22),
    GpuType("NVIDIA GeForce RTX 3090 Ti", "RTX 3090 Ti", 24, 0.46, 0.27),
    GpuType("NVIDIA GeForce RTX 4070 Ti", "RTX 4070 Ti", 12, None, 0.19),
    GpuType("NVIDIA GeForce RTX 4080", "RTX 4080", 16, None, 0.27),
    GpuType("NVIDIA GeForce RTX 4080 SUPER", "RTX 4080 SUPER", 16, None, 0.28),
    GpuType("NVIDIA GeForce RTX 4090", "RTX 4090", 24, 0.74, 0.34),
    GpuType("NVIDIA GeForce RTX 5080", "RTX 5080", 16, None, 0.39),
    GpuType("NVIDIA GeForce RTX 5090", "RTX 5090", 32, 0.99, 0.69),
    GpuType("NVIDIA H100 80GB HBM3", "H100 SXM", 80, 2.99, 2.69),
    GpuType("NVIDIA H100 NVL", "H100 NVL", 94, 3.19, 2.59),
    GpuType("NVIDIA H100 PCIe", "H100 PCIe", 80, 2.89, 1.99),
    GpuType("NVIDIA H200", "H200 SXM", 141, 4.39, 3.59),
    GpuType("NVIDIA H200 NVL", "NVIDIA H200 NVL", 143, None, None),
    GpuType("NVIDIA L4", "L4", 24, 0.49, 0.44),
    GpuType("NVIDIA L40", "L40", 48, 0.82, 0.69),
    GpuType("NVIDIA L40S", "L40S", 48, 1.09, 0.79),
    GpuType("NVIDIA RTX 2000 Ada Generation", "RTX 2000 Ada", 16, 0.24, None),
    GpuType("NVIDIA RTX 4000 Ada Generation", "RTX 4000 Ada", 20, 0.28, 0.2),
    GpuType("NVIDIA RTX 4000 SFF Ada Generation", "RTX 4000 Ada SFF", 20, 0.26, 0.18),
    GpuType("NVIDIA RTX 5000 Ada Generation", "RTX 5000 Ada", 32, 0.83, None),
    GpuType("NVIDIA RTX 6000 Ada Generation", "RTX 6000 Ada", 48, 0.84, None),
    GpuType("NVIDIA RTX A2000", "RTX A2000", 6, None, None),
    GpuType("NVIDIA RTX A4000", "RTX A4000", 16, 0.25, 0.17),
    GpuType("NVIDIA RTX A4500", "RTX A4500", 20, 0.25, 0.19),
    GpuType("NVIDIA RTX A5000", "RTX A5000", 24, 0.27, 0.16),
    GpuType("NVIDIA RTX A6000", "RTX A6000", 48, 0.49, 0.33),
    GpuType("NVIDIA RTX PRO 4500 Blackwell", "RTX PRO 4500", 32, 0.72, 0.34),
    GpuType("NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", "RTX PRO 6000 MaxQ", 96, None, None),
    GpuType("NVIDIA RTX PRO 6000 Blackwell Server Edition MIG 1g.24gb", "PRO 6000 MIG 24GB", 24, 0.69, None),
    GpuType("NVIDIA RTX PRO 6000 Blackwell Server Edition MIG 2g.48gb", "PRO 6000 MIG 48GB", 48, None, None),
    GpuType("NVIDIA RTX PRO 6000 Blackwell Server Edition", "RTX PRO 6000", 96, 1.99, 1.69),
    GpuType("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", "RTX PRO 6000 WK", 96, None, None),
    GpuType("Tesla V100-PCIE-16GB", "Tesla V100", 16, None, 0.19),
    GpuType("Tesla V100-SXM2-16GB", "V100 SXM2", 16, None, None),
    GpuType("Tesla V100-SXM2-32GB", "V100 SXM2 32GB", 32, None, None),
    GpuType("NVIDIA A100-SXM4-40GB", "A100 SXM 40GB", 40, 1.29, 1.0),
    GpuType("NVIDIA B300 SXM6 AC MIG 1g.34gb", "B300 MIG 34GB", 34, None, None),
    GpuType("NVIDIA RTX PRO 4000 Blackwell", "RTX PRO 4000", 24, None, None),
    GpuType("NVIDIA RTX PRO 5000 Blackwell", "RTX PRO 5000", 48, None, None),
    GpuType("Tesla V100-FHHL-16GB", "V100 FHHL", 16, None, None),
    GpuType("Tesla V100-PCIE-32GB", "V100 PCIe 32GB", 32, None, None),
    GpuType("Tesla T4", "T4", 16, None, None),
)


def allows_cuda(version: str, *, exact: Collection[str], floor: str | None) -> bool:
    """Whether a driver of this version is acceptable: one of `exact`, if there are any, and not below `floor`."""
    return (not exact or version in exact) and (floor is None or _numbers(version) >= _numbers(floor))


def _numbers(version: str) -> tuple[int, ...]:
    # Compared as numbers, not as a decimal: 12.11 is above 12.2.
    return tuple(int(part) for part in version.split("."))


GPU_BY_ID: dict[str, GpuType] = {gpu.id: gpu for gpu in GPU_TYPES}

"""Every metric that is documented is recorded by a service, and nothing else is."""

import re
from typing import get_args

from services.shared.metrics import Metric
from services.shared.wiring import SCHEMAS


def test_each_metric_is_recorded_somewhere() -> None:
    sources = "\n".join(path.read_text() for path in (SCHEMAS.parent / "services").rglob("*.py"))
    recorded = set(re.findall(r'telemetry\.count\(\s*"(\w+)"', sources))
    assert recorded == set(get_args(Metric))

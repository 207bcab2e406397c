"""What the fuzzer asks for is kept small: it is to find what is wrong with the API, not to fill a machine."""

from typing import Any

import schemathesis


@schemathesis.hook
def map_body(context: schemathesis.HookContext, body: Any) -> Any:
    """A job without a limit would classify all that other tests have put into the catalogue."""
    asks = context.operation is not None and context.operation.label == "POST /v1/jobs"
    return {"limit": 1, **body} if asks and isinstance(body, dict) and "prepared_by" not in body else body

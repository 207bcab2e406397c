"""What the fuzzer asks for is kept small: it is to find what is wrong with the API, not to fill a machine."""

from typing import Any

import schemathesis


@schemathesis.hook.apply_to(operation_id="create_job")
def map_body(context: schemathesis.HookContext, body: Any) -> Any:
    """A job without a limit would classify all that other tests have put into the catalogue."""
    return {"limit": 1, **body} if isinstance(body, dict) and "prepared_by" not in body else body

"""A Cloud Run service's traffic, through Google's client."""

from collections.abc import Callable, Sequence

import google.auth
from google.auth import impersonated_credentials
from google.auth.transport.requests import Request
from google.cloud import run_v2

from services.release.rollout import State, Target

LATEST = run_v2.TrafficTargetAllocationType.TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST
REVISION = run_v2.TrafficTargetAllocationType.TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION
ROUTE_SECONDS = 300.0


class CloudRunService:
    """`services.release.rollout.Service`.

    Args:
        name: projects/<project>/locations/<region>/services/<service>.
        client: Google's.

    """

    def __init__(self, name: str, client: run_v2.ServicesClient) -> None:
        self._name, self._client = name, client

    def state(self) -> State:  # noqa: D102
        service = self._client.get_service(name=self._name)
        return State(
            created=_last(service.latest_created_revision),
            ready=_last(service.latest_ready_revision),
            traffic=tuple(
                Target(None if each.type_ == LATEST else _last(each.revision), each.percent, each.tag or None)
                for each in service.traffic
            )
            or (Target(None, 100),),
        )

    def route(self, traffic: Sequence[Target]) -> None:  # noqa: D102
        service = run_v2.Service(
            name=self._name,
            traffic=[
                run_v2.TrafficTarget(
                    type_=REVISION if each.revision else LATEST,
                    revision=each.revision or "",
                    percent=each.percent,
                    tag=each.tag or "",
                )
                for each in traffic
            ],
        )
        # Only this: Terraform may be about to change the rest.
        request = run_v2.UpdateServiceRequest(service=service, update_mask={"paths": ["traffic"]})
        self._client.update_service(request=request).result(timeout=ROUTE_SECONDS)

    def url(self, tag: str) -> str:  # noqa: D102
        service = self._client.get_service(name=self._name)
        return str(next(each.uri for each in service.traffic_statuses if each.tag == tag))


def tokens(invoker: str, audience: str) -> Callable[[], str]:
    """Makes OIDC tokens of an identity that the caller may act as.

    Args:
        invoker: its e-mail address.
        audience: the service's own URL, whatever revision is called.

    """
    caller, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
    acting = impersonated_credentials.Credentials(
        caller, invoker, ["https://www.googleapis.com/auth/cloud-platform"]
    )
    signed = impersonated_credentials.IDTokenCredentials(acting, target_audience=audience, include_email=True)

    def token() -> str:
        signed.refresh(Request())
        return str(signed.token)

    return token


def _last(name: str) -> str:
    return name.rpartition("/")[2]

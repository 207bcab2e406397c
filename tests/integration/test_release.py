"""The release's adapters: Google's client against a Cloud Run made here, and a photo sent to a real stage."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import grpc
import pytest
from google.cloud import run_v2
from google.cloud.run_v2.services.services.transports import ServicesGrpcTransport
from google.longrunning import operations_pb2

from services.client.client import Vitrine
from services.client.errors import ClientError
from services.client.target import Names, resolve
from services.local.cloud import LocalCloud
from services.model.manifest import DEFAULT_DIRECTORY, load_manifest
from services.release.cloud_run import LATEST, REVISION, CloudRunService
from services.release.rollout import TAG, State, Target, roll_out
from services.release.smoke import SmokeError, classify_photo
from tests.conftest import free_ports

NAME = "projects/acme-dev/locations/europe-west4/services/inference"


class CloudRun:
    """Two methods of Cloud Run's API, in its own messages, over gRPC."""

    def __init__(self) -> None:
        self.service = run_v2.Service(
            name=NAME,
            latest_created_revision=f"{NAME}/revisions/inference-2",
            latest_ready_revision=f"{NAME}/revisions/inference-2",
            traffic=[run_v2.TrafficTarget(type_=REVISION, revision="inference-1", percent=100)],
        )
        self.masks: list[list[str]] = []

    def get(self, request: run_v2.GetServiceRequest, _: grpc.ServicerContext) -> run_v2.Service:
        assert request.name == NAME
        return self.service

    def update(
        self, request: run_v2.UpdateServiceRequest, _: grpc.ServicerContext
    ) -> operations_pb2.Operation:
        self.masks.append(list(request.update_mask.paths))
        self.service.traffic = request.service.traffic
        self.service.traffic_statuses = [
            run_v2.TrafficTargetStatus(
                revision=each.revision, tag=each.tag, uri=f"https://{each.tag}---inference.run.app"
            )
            for each in request.service.traffic
        ]
        done = operations_pb2.Operation(name=f"{NAME}/operations/1", done=True)
        done.response.Pack(run_v2.Service.pb(self.service))
        return done

    def handlers(self) -> grpc.GenericRpcHandler:
        return grpc.method_handlers_generic_handler(
            "google.cloud.run.v2.Services",
            {
                "GetService": grpc.unary_unary_rpc_method_handler(
                    self.get, run_v2.GetServiceRequest.deserialize, run_v2.Service.serialize
                ),
                "UpdateService": grpc.unary_unary_rpc_method_handler(
                    self.update,
                    run_v2.UpdateServiceRequest.deserialize,
                    operations_pb2.Operation.SerializeToString,
                ),
            },
        )


@pytest.fixture
def cloud_run() -> CloudRun:
    return CloudRun()


@pytest.fixture
def service(cloud_run: CloudRun) -> Iterator[CloudRunService]:
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((cloud_run.handlers(),))
    address = f"127.0.0.1:{free_ports(1)}"
    server.add_insecure_port(address)
    server.start()
    with grpc.insecure_channel(address) as channel:
        transport = ServicesGrpcTransport(channel=channel)
        yield CloudRunService(NAME, run_v2.ServicesClient(transport=transport))
    server.stop(0)


def test_traffic_is_read_and_nothing_but_traffic_is_written(
    cloud_run: CloudRun, service: CloudRunService
) -> None:
    assert service.state() == State("inference-2", "inference-2", (Target("inference-1", 100),))
    service.route([Target("inference-1", 100), Target("inference-2", 0, TAG)])
    assert cloud_run.masks == [["traffic"]]
    assert service.state().traffic == (Target("inference-1", 100), Target("inference-2", 0, TAG))
    assert service.url(TAG) == f"https://{TAG}---inference.run.app"


def test_a_service_that_was_just_made_serves_its_newest_revision(
    cloud_run: CloudRun, service: CloudRunService
) -> None:
    cloud_run.service.traffic = []
    assert service.state().traffic == (Target(None, 100),)
    service.route([Target(None, 100)])
    assert [each.type_ for each in cloud_run.service.traffic] == [LATEST]
    assert service.state().traffic == (Target(None, 100),)


def test_a_revision_is_rolled_out_by_googles_client(cloud_run: CloudRun, service: CloudRunService) -> None:
    asked: list[str] = []
    roll_out(service, asked.append, lambda line: None)
    assert asked == [f"https://{TAG}---inference.run.app"] * 2
    assert service.state().traffic == (Target("inference-2", 100),)


@pytest.fixture
def vitrine(cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> Vitrine:
    told = cloud.environment
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    return Vitrine.connect(resolve(Names(), told, lambda: told))


def test_a_stage_that_works_is_known_by_the_row_it_leads_to(cloud: LocalCloud, vitrine: Vitrine) -> None:
    project = cloud.environment["GOOGLE_CLOUD_PROJECT"]
    said = classify_photo(f"http://127.0.0.1:{cloud.port('inference')}", vitrine, project, lambda: "a token")
    model = load_manifest(DEFAULT_DIRECTORY)
    assert "article_type " in said
    assert said.endswith(f"says {model.name} {model.version}")


def test_a_stage_that_answers_and_does_not_classify_is_found_out(cloud: LocalCloud, vitrine: Vitrine) -> None:
    # It rejects what it is not pushed, which to Pub/Sub is an acknowledgement like any other.
    other = f"http://127.0.0.1:{cloud.port('staging')}"
    with pytest.raises(ClientError, match="has no prediction"):
        classify_photo(other, vitrine, "vitrine-local", lambda: "a token", patience=3)


def test_a_stage_that_fails_is_known_by_its_answer(vitrine: Vitrine) -> None:
    sent: list[tuple[str | None, bytes]] = []

    class Failing(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent.append((self.headers["Authorization"], self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(503)
            self.end_headers()

    with HTTPServer(("127.0.0.1", 0), Failing) as server:
        Thread(target=server.handle_request).start()
        with pytest.raises(SmokeError, match="answered 503"):
            classify_photo(f"http://127.0.0.1:{server.server_port}", vitrine, "acme-dev", lambda: "a token")
    ((authorization, push),) = sent
    assert authorization == "Bearer a token"
    assert json.loads(push)["subscription"] == "projects/acme-dev/subscriptions/image-uploaded-to-inference"

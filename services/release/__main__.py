"""`python -m services.release`: rolls out the revision of inference that Terraform has made.

It is told of the environment by the variables of `terraform output -json environment`, in a file.
"""

import argparse
import json
import signal
import sys
from functools import partial
from pathlib import Path

from google.cloud import run_v2

from services.client.client import Vitrine
from services.client.target import Target
from services.release.cloud_run import CloudRunService, tokens
from services.release.rollout import RolloutError, roll_out
from services.release.smoke import classify_photo

SERVICE = "inference"


def main() -> None:
    """Exits with 1 where the revision was taken back."""
    parser = argparse.ArgumentParser(prog="python -m services.release", description=__doc__)
    parser.add_argument("environment", type=Path, help="what `terraform output -json environment` printed")
    told = json.loads(parser.parse_args().environment.read_text())
    # A build that is cancelled is asked to stop: then, too, traffic goes back to where it was.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    project, region = told["GOOGLE_CLOUD_PROJECT"], told["VITRINE_REGION"]
    target = Target(project, told["VITRINE_BUCKET"], told["VITRINE_UPLOAD_BUCKET"], told["VITRINE_DATASET"])
    target.activate()
    say = partial(print, flush=True)
    token = tokens(told["VITRINE_INVOKER"], told["VITRINE_INFERENCE_URL"])
    vitrine = Vitrine.connect(target)
    try:
        roll_out(
            CloudRunService(
                f"projects/{project}/locations/{region}/services/{SERVICE}", run_v2.ServicesClient()
            ),
            lambda url: say(classify_photo(url, vitrine, project, token)),
            say,
        )
    except RolloutError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()

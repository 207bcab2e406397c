"""`python -m services.release`: rolls out the revision of inference that Terraform has made.

It is told of the environment by what `terraform output -json rollout` prints, in a file.
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
    parser.add_argument("told", type=Path, help="what `terraform output -json rollout` printed")
    told = json.loads(parser.parse_args().told.read_text())
    project, region = told["project"], told["region"]
    # A build that is cancelled is asked to stop: then, too, traffic goes back to where it was.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    target = Target(project, told["bucket"], told["upload_bucket"], told["dataset"])
    say = partial(print, flush=True)
    token = tokens(told["invoker"], told["url"])
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

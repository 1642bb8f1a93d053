"""The demonstration: the sample source collected into this folder's stores, as a user would do it by hand."""

import re
import signal
import subprocess
import sys

COLLECT = [sys.executable, "-m", "deployments.cli"]


def main() -> int:
    """Start the sample source on a free port, collect it, end it; answers the exit code of `collect run`."""
    # Ctrl-C is for the run, which stops at a checkpoint: this process waits for it, and the sample does not hear it.
    signal.signal(signal.SIGINT, lambda *_: None)
    command = [*COLLECT, "sample", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as sample:
        try:
            print(ready := sample.stdout.readline(), end="", flush=True)
            address = re.search(r"http://\S+", ready)
            if not address:
                return 1
            return subprocess.run([*COLLECT, "run", "demo", "--set", f"source.base_url={address[0]}"]).returncode
        finally:
            sample.terminate()


if __name__ == "__main__":
    sys.exit(main())

"""The demonstration: the sample source collected into this folder's stores, as a user would do it by hand."""

import re
import subprocess
import sys

COLLECT = [sys.executable, "-m", "deployments.cli"]


def main() -> int:
    """Start the sample source on a free port, collect it, end it; answers the exit code of `collect run`."""
    with subprocess.Popen([*COLLECT, "sample", "--port", "0"], stdout=subprocess.PIPE, text=True) as sample:
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

"""A disk that fills up in the middle of a run: it ends with the reason, and goes on when there is space."""

import resource

LIMIT = 450_000


def test_a_run_whose_disk_fills_up_says_so_and_is_completed_by_resume(collect, source):
    def small_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, resource.RLIM_INFINITY))

    file = source.collection(extra="strategy:\n  concurrency: 2\n  shard_size: 200\n")
    process = collect.start("run", file, preexec_fn=small_files)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 1, out + err
    assert "COL-0603" in out + err
    assert "collect resume" in out + err
    assert "Traceback" not in out + err

    (run,) = collect.json("status")
    assert 0 < run["progress"]["current"] < run["progress"]["total"]
    result = collect.json("resume", run["run_id"])
    assert (result["state"], result["records"]["new"]) == ("COMPLETED", 640)
    exported = {key: (line["path"], line["content_hash"]) for key, line in collect.export("cases").items()}
    assert exported == source.expected()

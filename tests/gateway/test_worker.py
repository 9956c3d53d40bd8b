"""What a worker makes of the limits of its process."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tollhouse.gateway.supervisor import with_kept_memory

_SCRIPT = """
import logging, resource, sys
from tollhouse.gateway import worker
logging.basicConfig(format="%(message)s")
hard, most = int(sys.argv[1]), int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
worker._raise_descriptors(most)
print(resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def _limits(hard: int, max_connections: int) -> tuple[str, str]:
    command = [sys.executable, "-c", _SCRIPT, str(hard), str(max_connections)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.strip(), done.stderr.strip()


def test_open_files_are_raised_to_what_is_allowed():
    assert _limits(1000, 200) == ("(1000, 1000)", "")


@pytest.mark.parametrize("max_connections", [500, 8192])
def test_more_connections_than_open_files_are_told(max_connections):
    limits, said = _limits(1000, max_connections)
    assert limits == "(1000, 1000)"
    assert said.startswith(f"1000 open files are allowed, and {max_connections} connections")


def test_workers_keep_memory_of_large_bodies_unless_the_operator_says_otherwise():
    made = with_kept_memory({"PATH": "/bin", "MALLOC_TRIM_THRESHOLD_": "1"})
    assert made == {"PATH": "/bin", "MALLOC_MMAP_THRESHOLD_": "16777216", "MALLOC_TRIM_THRESHOLD_": "1"}

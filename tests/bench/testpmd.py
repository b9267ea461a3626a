# SPDX-License-Identifier: MIT
"""dpdk-testpmd: the generator of tests/bench's net area, and one of its peers."""
import os
import pathlib
import re
import select
import subprocess
import time

from bench import Failed, stop

START_TIMEOUT_S = 60
PAGES = pathlib.Path("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages")


def has_huge_pages(megabytes):
    return PAGES.exists() and 2 * int(PAGES.read_text()) >= megabytes


class Testpmd:
    """dpdk-testpmd at its prompt."""

    PROMPT = b"testpmd> "

    def __init__(self, core, prefix, vdevs, options=(), eal=(), huge=False):
        # Both of its threads, the prompt's and the forwarding one, on one core.
        # stdbuf: its answers would stay in its buffer, and only the prompt come out.
        argv = ["stdbuf", "-o0", "dpdk-testpmd", "--lcores", f"(0,1)@{core}", "--in-memory" if huge else "--no-huge",
                "-m", "512", "--no-pci", f"--file-prefix={prefix}-{os.getpid()}", *eal]
        for vdev in vdevs:
            argv += ["--vdev", vdev]
        argv += ["--", "-i", "--no-numa", "--nb-cores=1", "--total-num-mbufs=65536", *options]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT)
        os.set_blocking(self.process.stdout.fileno(), False)
        try:
            self._read_until(self.PROMPT)
        except Failed:
            self.close()
            raise

    def _read_until(self, pattern):
        """Output up to a prompt behind `pattern`.  Events print prompts of their own in between."""
        out, deadline = b"", time.monotonic() + START_TIMEOUT_S
        while not (out.endswith(self.PROMPT) and re.search(pattern, out, re.S)):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                raise Failed(f"testpmd does not answer: …{out[-400:].decode(errors='replace')}")
            chunk = self.process.stdout.read()
            if chunk == b"":
                raise Failed(f"testpmd ended: …{out[-400:].decode(errors='replace')}")
            out += chunk or b""
        return out.decode(errors="replace")

    def command(self, text, answer=b""):
        self.process.stdin.write(text.encode() + b"\n")
        self.process.stdin.flush()
        return self._read_until(answer)

    def received(self):
        """Frames received on all ports so far, and bytes in them."""
        text = self.command("show port stats all", rb"port 0 .*Tx-bps.*port 1 .*Tx-bps")
        return [sum(map(int, re.findall(rf"RX-{what}:\s*(\d+)", text))) for what in ("packets", "bytes")]

    def close(self):
        stop(self.process)

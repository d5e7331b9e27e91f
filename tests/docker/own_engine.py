"""A Docker engine of a test's own, to be stopped and started at will; nobody else's containers notice.

It lives in a network namespace of its own: beside another engine it would otherwise take that one's bridge away.
Nothing of ours minds: containers reach the services through sockets in a folder, not over the network.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import psutil

START_SECONDS = 60
STOP_SECONDS = 40


class OwnEngine:
    """dockerd with its own data, socket and network. Needs root."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="runyard-engine-"))
        self.folder.chmod(0o755)
        self.host = f"unix://{self.folder}/docker.sock"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it and waits until it answers."""
        # An engine that was killed leaves its own containerd, which the next one would wait for.
        self._end_what_it_left()
        places = {"data-root": "data", "exec-root": "exec", "pidfile": "dockerd.pid"}
        options = [f"--{name}={self.folder / place}" for name, place in places.items()]
        shell = 'ip link set lo up && exec dockerd "$@"'
        argv = ["unshare", "--net", "sh", "-c", shell, "dockerd", *options, f"--host={self.host}"]
        with (self.folder / "dockerd.log").open("ab") as log:
            self._process = subprocess.Popen(argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + START_SECONDS
        while self.docker("info", check=False).returncode:
            assert self._process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.1)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Ends it, asked to (its containers end too) or killed (they do not)."""
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(STOP_SECONDS)

    def load(self, *images: str) -> None:
        """Takes images over from the engine that everybody uses."""
        with subprocess.Popen(["docker", "save", *images], stdout=subprocess.PIPE) as saving:
            argv = ["docker", "--host", self.host, "load", "--quiet"]
            subprocess.run(argv, stdin=saving.stdout, check=True, capture_output=True, timeout=180)
        assert saving.returncode == 0

    def docker(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """The engine's command, asked of this one."""
        argv = ["docker", "--host", self.host, *arguments]
        return subprocess.run(argv, capture_output=True, text=True, timeout=30, check=check)

    def log(self) -> str:
        """The end of what it printed."""
        return (self.folder / "dockerd.log").read_text()[-4000:]

    def remove(self) -> None:
        """Ends it and all that it runs, and takes its data off the disk."""
        if self._process is not None and self._process.poll() is None:
            found = self.docker("ps", "--all", "--quiet", check=False).stdout.split()
            if found:
                self.docker("rm", "--force", *found, check=False)
            self.stop()
        self._end_what_it_left()
        for mounted in reversed([line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]):
            if mounted.startswith(f"{self.folder}/"):
                subprocess.run(["umount", "--lazy", mounted], check=False, capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _end_what_it_left(self) -> None:
        for one in psutil.process_iter(["cmdline"]):
            if any(str(self.folder) in word for word in one.info["cmdline"] or ()) and one.pid != os.getpid():
                one.kill()
                one.wait(10)
        (self.folder / "dockerd.pid").unlink(missing_ok=True)

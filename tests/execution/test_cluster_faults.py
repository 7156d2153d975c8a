"""What happens to machines in the night: each ends with the records of one process."""

import itertools
import os
import shutil
import signal
import socket
import subprocess
import threading
from contextlib import ExitStack, contextmanager

import pytest
from cluster_machines import ROOT, Machines, free_port
from sweeps import check_same, command_of, some_runs

pytest.importorskip("distributed", reason="the extra cluster is not installed")

from dclib.execution import cluster  # noqa: E402
from dclib.execution.runner import Swept, sweep  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.fixture
def machines(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "SITTING", 2.0)  # so that runs have several
    with Machines(tmp_path / "machines") as started:
        started.start_scheduler()
        yield started


def disturb(monkeypatch, when, act):
    """Call `act` once, when the client hears of a run that is under way and `when(pool)` is true."""
    real, done = cluster.Cluster._hear, []

    def hear(pool, *news):
        if not done and when(pool):
            done.append(True)
            act(pool)
        real(pool, *news)

    monkeypatch.setattr(cluster.Cluster, "_hear", hear)
    return done


def made(count):
    """Whether so many runs have their records."""
    return lambda pool: pool.queue.done >= count


def make(machines, store, calm, address=None):
    """The sweep by the cluster, which is as the calm one's in the end; what waits in vain for a worker is over in a while."""
    said = []
    assert sweep(
        some_runs(), store, scheduler=address or machines.address, progress=False, say=said.append, time_budget=600
    ) == Swept(5, 0, False)
    check_same(store, calm)
    return said


def test_a_killed_worker_process_comes_back(machines, calm, store, monkeypatch):
    """The nanny starts another; the scheduler gives it the sitting."""
    machines.start_worker()
    done = disturb(monkeypatch, made(1), _kill_a_worker)
    make(machines, store, calm)
    assert done


def _kill_a_worker(pool):
    (pid,) = pool.client.run(os.getpid, workers=[next(iter(pool.workers))]).values()
    os.kill(pid, signal.SIGKILL)


def test_a_machine_that_is_switched_off(machines, calm, store, monkeypatch):
    workers = [machines.start_worker() for _ in range(2)]
    done = disturb(monkeypatch, lambda pool: made(1)(pool) and len(pool.workers) == 2, lambda _: machines.kill(workers[0]))
    make(machines, store, calm)
    assert done


def test_a_machine_that_is_not_heard_of_any_more(machines, calm, store, monkeypatch):
    """Its connections stay open; the scheduler misses its heartbeats."""
    workers = [machines.start_worker() for _ in range(2)]
    done = disturb(monkeypatch, lambda pool: made(1)(pool) and len(pool.workers) == 2, lambda _: machines.freeze(workers[0]))
    make(machines, store, calm)
    assert done


def test_a_scheduler_that_dies_and_comes_back(machines, calm, store, monkeypatch):
    """Its worker ends with it, and whatever keeps that machine's worker starts another."""
    machines.start_worker(kept=True)

    def restart(_):
        machines.kill(machines.scheduler)
        machines.start_scheduler()

    done = disturb(monkeypatch, made(1), restart)
    said = make(machines, store, calm)
    assert done and any("connection to the scheduler was lost" in line for line in said)


class Wire:
    """A TCP connection to `port` by way of another port, which can be cut: what was open breaks, what is new is refused."""

    def __init__(self, port):
        self.port, self.target, self.open, self.whole = free_port(), port, [], threading.Event()
        self.whole.set()
        self.server = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                ours, _ = self.server.accept()
            except OSError:  # closed: the test is over
                return
            try:
                if not self.whole.is_set():
                    raise ConnectionError("cut")
                theirs = socket.create_connection(("127.0.0.1", self.target))
            except OSError:  # who is called may still be starting
                ours.close()
                continue
            self.open += [ours, theirs]
            for one, other in ((ours, theirs), (theirs, ours)):
                threading.Thread(target=self._pass_on, args=(one, other), daemon=True).start()

    def _pass_on(self, one, other):
        try:
            while content := one.recv(65536):
                other.sendall(content)
        except OSError:
            pass
        for end in (one, other):
            end.close()

    def cut(self, seconds):
        self.whole.clear()
        for end in self.open:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        threading.Timer(seconds, self.whole.set).start()


@contextmanager
def wire_to(port):
    wire = Wire(port)
    try:
        yield wire
    finally:
        wire.server.close()
        wire.cut(0)


def test_a_client_cut_off_for_ten_seconds(machines, calm, store, monkeypatch):
    machines.start_worker()
    with wire_to(machines.port) as wire:
        done = disturb(monkeypatch, made(1), lambda _: wire.cut(10.0))
        make(machines, store, calm, f"tcp://127.0.0.1:{wire.port}")
    assert done


def test_a_worker_cut_off_for_ten_seconds(machines, calm, store, monkeypatch):
    with wire_to(machines.port) as wire:
        machines.start_worker(address=f"tcp://127.0.0.1:{wire.port}", kept=True)
        done = disturb(monkeypatch, made(1), lambda _: wire.cut(10.0))
        make(machines, store, calm)
    assert done


def command(machines, store, *words):
    return command_of(store, *(words or ("table1", "table3")), "--scheduler", machines.address)


def variables():
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return os.environ | {"PYTHONPATH": paths, "PYTHONUNBUFFERED": "1"}


def test_two_clients_share_a_folder_and_not_its_runs(machines, store):
    for _ in range(2):
        machines.start_worker()
    clients = [
        subprocess.Popen(
            command(machines, store, "table3", "--methods", *(f"Finetune-{k}" for k in (1, 3, 6, 9))),
            env=variables(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    said = [client.communicate(timeout=900) for client in clients]
    assert [client.returncode for client in clients] == [0, 0], said
    lines = [line for out, _ in said for line in out.splitlines() if ", record " in line]
    assert len(lines) == len(set(lines)) == len(store.records())


def test_interrupted_from_the_keyboard(machines, store):
    """Ctrl-C brings the checkpoints home and leaves the workers to others."""
    machines.start_worker()
    process = subprocess.Popen(
        command(machines, store),
        env=variables(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while "accuracy" not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130 and "Traceback" not in err and "the same command goes on" in err
    assert store.records() and not list(store.folder.rglob("*.partial"))


def test_another_version_on_the_worker(machines, store, tmp_path):
    """A worker with other sources of dclib makes nothing, and the command says so in one sentence."""
    shutil.copytree(ROOT / "dclib", tmp_path / "other" / "dclib", ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "other" / "dclib" / "errors.py").open("a") as file:
        file.write("# changed\n")
    machines.paths = str(tmp_path / "other")
    machines.start_worker(variables={"PYTHONPATH": os.pathsep.join((str(tmp_path / "other"), variables()["PYTHONPATH"]))})
    done = subprocess.run(command(machines, store), env=variables(), capture_output=True, text=True, timeout=600)
    assert done.returncode == 2 and not store.records()
    sentence = done.stderr.splitlines()[-1]
    assert sentence.startswith("dclib: worker: expected sources") and sentence.endswith("install the same on both.")


# ---------------------------------------------------------------- network namespaces as hosts


def ip(*arguments):
    subprocess.run(["ip", *arguments], capture_output=True, text=True, check=True)


#: What is taken down goes a while later: no two tests share a name or an address.
_numbers = itertools.count(os.getpid())


@pytest.fixture
def hosts(tmp_path, monkeypatch):
    """Two network namespaces on one bridge: names of hosts, and `Machines` whose scheduler has an address on it."""
    monkeypatch.setattr(cluster, "SITTING", 2.0)
    number = next(_numbers) % 200
    bridge, names = f"dcl{number}", [f"dclib{number}-{host}" for host in "ab"]
    with ExitStack() as taken_down:
        try:
            ip("link", "add", bridge, "type", "bridge")
            taken_down.callback(ip, "link", "del", bridge)
            for name in names:
                ip("netns", "add", name)
                taken_down.callback(ip, "netns", "del", name)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("network namespaces cannot be had here")
        ip("addr", "add", f"10.213.{number}.1/24", "dev", bridge), ip("link", "set", bridge, "up")
        for host, name in enumerate(names, start=2):
            ip("link", "add", f"{bridge}h{host}", "type", "veth", "peer", "name", "eth0", "netns", name)
            ip("link", "set", f"{bridge}h{host}", "master", bridge, "up")
            ip("-n", name, "addr", "add", f"10.213.{number}.{host}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up"), ip("-n", name, "link", "set", "lo", "up")
        with Machines(tmp_path / "machines") as machines:
            machines.host = f"10.213.{number}.1"
            machines.start_scheduler()
            yield machines, names, [f"{bridge}h{host}" for host in (2, 3)]


@pytest.mark.parametrize("seconds", [10, None], ids=["ten seconds", "for good"])
def test_a_cable_pulled_out(hosts, calm, store, monkeypatch, seconds):
    """Nobody is told: packets to and from one host are lost, for ten seconds or for good."""
    machines, names, cables = hosts
    for name in names:
        machines.start_worker(prefix=("ip", "netns", "exec", name))

    def pull(_):
        ip("link", "set", cables[0], "down")
        if seconds:
            threading.Timer(seconds, ip, ("link", "set", cables[0], "up")).start()

    done = disturb(monkeypatch, lambda pool: made(1)(pool) and len(pool.workers) == 2, pull)
    make(machines, store, calm)
    assert done


def test_the_whole_of_a_cluster_gone_is_waited_for(machines, calm, store, monkeypatch):
    worker = machines.start_worker()

    def replace(_):
        machines.kill(worker)
        threading.Timer(5.0, machines.start_worker).start()

    done = disturb(monkeypatch, made(1), replace)
    make(machines, store, calm)
    assert done

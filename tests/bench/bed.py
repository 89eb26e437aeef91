"""Shared code of the benchmarks: a real control plane, proofs, request counts, and the table of figures."""

import base64
import concurrent.futures
import contextlib
import http.client
import hashlib
import json
import os
import pathlib
import re
import socket
import ssl
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
CLUSTER = ROOT / "tests/cluster"
NAMESPACES = 10
ES = "/apis/external-secrets.io/v1"


def build():
    subprocess.run(["cargo", "build", "--release", "--locked", "--bin", "eso-sync"], cwd=ROOT, check=True)
    return pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release/eso-sync"


class Figures:
    """The table of results. A goal is a maximum, with `least` also a minimum."""

    def __init__(self):
        self.rows = []

    def add(self, what, shown, goal=None, unit="", least=None):
        number = float(re.match(r"[\d.]+", shown)[0])
        met = "" if goal is None else "met" if (least or 0) <= number <= goal else "MISSED"
        limit = f"≤ {goal}" if least is None else f"{least} – {goal}"
        self.rows.append((what, shown, "" if goal is None else f"{limit}{unit and ' ' + unit}", met))

    def exit_code(self):
        """1 if a goal is missed, otherwise 0."""
        return int(any(met == "MISSED" for *_, met in self.rows))

    def show(self, options, policy):
        print(f"\nPolicy:\n\n    {policy.strip().replace(chr(10), chr(10) + '    ')}\n")
        print(f"{os.cpu_count()} cores, shared with the control plane and the operator; medians of {options.rounds} rounds.\n")
        table = [("figure", "measured", "goal", "")] + self.rows
        widths = [max(len(row[column]) for row in table) for column in range(4)]
        for row in table:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


# --- the cluster


@contextlib.contextmanager
def cluster(folder, arguments):
    subprocess.run([CLUSTER / "up", folder, *arguments], check=True, stdout=subprocess.DEVNULL)
    try:
        yield Api(folder)
    finally:
        subprocess.run([CLUSTER / "down", folder], check=True)


class Api:
    """A client of the API server with administrator rights. It keeps one open connection for each thread."""

    def __init__(self, folder):
        self.folder = folder
        self.env = dict(re.findall(r"^export (\w+)=(.*)$", (folder / "env").read_text(), re.M))
        text = (folder / "kubeconfig").read_text()
        self.host, port = re.search(r"https://([\d.]+):(\d+)", text).groups()
        self.port = int(port)
        self.token = re.search(r"user: \{token: (\w+)\}", text)[1]
        self.tls = ssl.create_default_context(cafile=folder / "ca.crt")
        self.local = threading.local()

    def connect(self):
        connection = http.client.HTTPSConnection(self.host, self.port, context=self.tls)
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def ask(self, method, path, body=None, content="application/json"):
        # The server closes idle connections.
        if time.monotonic() - getattr(self.local, "used", 0) > 10:
            self.local.connection = self.connect()
        self.local.used = time.monotonic()
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": content}
        self.local.connection.request(method, path, body=None if body is None else json.dumps(body), headers=headers)
        response = self.local.connection.getresponse()
        data = response.read()
        if response.status >= 300:
            raise RuntimeError(f"{method} {path}: {response.status} {data[:300]}")
        return json.loads(data)

    def merge(self, path, body):
        return self.ask("PATCH", path, body, "application/merge-patch+json")

    def watch(self, path):
        connection = self.connect()
        connection.request("GET", path, headers={"Authorization": f"Bearer {self.token}"})
        response = connection.getresponse()
        if response.status != 200:
            raise RuntimeError(f"watch {path}: {response.status}")
        return connection, response

    def kubectl(self, *arguments, **options):
        command = [self.env["KUBECTL"], "--kubeconfig", self.folder / "kubeconfig", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, **options).stdout


def in_parallel(work, items):
    """Calls `work` for all items over eight connections. Stops at the first error."""
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for _ in pool.map(work, items):
            pass


# --- content of the cluster


def make_namespaces(api, more=()):
    for name in [*more, *(f"bench-{i}" for i in range(NAMESPACES))]:
        api.ask("POST", "/api/v1/namespaces", {"metadata": {"name": name}})


def wait_until_idle(api):
    """Waits until the operator is idle. Its own writes make it reconcile each ExternalSecret again, and these fill its queue."""
    stat = pathlib.Path(f"/proc/{api.env['ESO_PID']}/stat")
    used, before = None, None
    while used is None or used - before > 3:
        before = used if used is not None else float("-inf")
        time.sleep(5)
        # User and system time, in hundredths of a second.
        used = sum(int(field) for field in stat.read_text().rpartition(")")[2].split()[11:13])


# --- proof


def proof(metadata):
    """The value of `status.syncedResourceVersion` that the operator writes for an object with this metadata."""

    def go_map(values):
        return "map[" + " ".join(f"{key}:{values[key]}" for key in sorted(values or {})) + "]"

    text = f"{{annotations:{go_map(metadata.get('annotations'))} labels:{go_map(metadata.get('labels'))}}}"
    return f"{metadata['generation']}-{hashlib.sha3_224(text.encode()).hexdigest()}"


class Proofs:
    """Watches until N ExternalSecrets that `counts` accepts are proven."""

    def __init__(self, api, n, counts):
        version = api.ask("GET", f"{ES}/externalsecrets?limit=1")["metadata"]["resourceVersion"]
        self.path = f"{ES}/externalsecrets?watch=true&resourceVersion="
        self.api, self.n, self.counts, self.error = api, n, counts, None
        self.connection, self.stream = api.watch(self.path + version)
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        proven = set()
        try:
            while len(proven) < self.n:
                line = self.stream.readline()
                if not line:
                    raise RuntimeError("the watch ended")
                item = json.loads(line)["object"]
                metadata = item["metadata"]
                if self.counts(metadata) and item.get("status", {}).get("syncedResourceVersion") == proof(metadata):
                    proven.add(metadata["uid"])
        except Exception as error:  # raised again in wait()
            self.error = error
        self.connection.close()

    def wait(self):
        self.thread.join(timeout=1800)
        if self.error or self.thread.is_alive():
            raise self.error or RuntimeError("not all were proven within half an hour")


def service_account(api):
    """Returns a kubeconfig with the rights of manifests/, like the CronJob. The audit log records its requests."""
    for file in ("namespace.yaml", "rbac.yaml"):
        api.kubectl("apply", "-f", ROOT / "manifests" / file)
    token = api.kubectl("-n", "eso-sync", "create", "token", "eso-sync", "--duration=12h").strip()
    return kubeconfig(api, api.folder / "account", f"https://{api.host}:{api.port}", token)


def kubeconfig(api, path, server, token):
    ca = base64.b64encode((api.folder / "ca.crt").read_bytes()).decode()
    path.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "bench", "cluster": {"server": server, "certificate-authority-data": ca}}],
                "users": [{"name": "bench", "user": {"token": token}}],
                "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench", "namespace": "eso-sync"}}],
                "current-context": "bench",
            }
        )
    )
    return path


def audited(log, start):
    """Counts the requests of the service account after this offset of the log, once the log no longer grows."""
    size = -1
    while log.stat().st_size != size:
        size = log.stat().st_size
        time.sleep(1)
    with log.open("rb") as file:
        file.seek(start)
        return sum(b'"username":"system:serviceaccount:eso-sync:eso-sync"' in line for line in file)


# --- memory

# Runs a command and prints its peak memory in KiB. A separate small process, because the peak of a child starts with the memory
# of its parent, and this script is large.
PEAK = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""


def measured(command, environment):
    """Runs a command. Returns the seconds and the peak memory in MiB."""
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-S", "-c", PEAK, *command], stdout=subprocess.PIPE, text=True, env=environment, check=True)
    return time.monotonic() - start, int(done.stdout) / 1024


def clean_environment():
    """The environment without settings of eso-sync and kubectl."""
    return {name: value for name, value in os.environ.items() if not name.startswith("ESO_SYNC_") and name != "KUBECONFIG"}


def say(text):
    print(text, file=sys.stderr, flush=True)

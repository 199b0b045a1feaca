"""The nodes of the test cluster: they run pods for real, without a container runtime.

Each pod has its own network namespace, and each container has its own mount and process namespaces on an unpacked image, with the pod's user,
groups, dropped capabilities, read-only root, volumes, environment, probes, hooks and grace period. Services, cluster DNS, network
policies (by iptables), volume claims, logs and `kubectl exec` work. Not supported: resource limits, seccomp, UDP services, image registries.
"""

import base64
import contextlib
import ctypes
import hashlib
import http.server
import ipaddress
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import socketserver
import ssl
import struct
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

NODES = {"node-1": "zone-a", "node-2": "zone-b", "node-3": "zone-c"}
GATEWAY = "169.254.1.1"
NAME_SERVER = "10.96.0.10"


def log(text):
    print(time.strftime("%H:%M:%S"), text, file=sys.stderr, flush=True)


def now():
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


class Api:
    def __init__(self, server, token):
        self.base, self.token = f"https://{server}", token
        self.context = ssl._create_unverified_context()

    def text(self, method, path, body=None, kind="application/json"):
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": kind}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, headers, method=method)
        with urllib.request.urlopen(request, context=self.context, timeout=30) as answer:
            return answer.read().decode()

    def get(self, path):
        return json.loads(self.text("GET", path))

    def items(self, path):
        return self.get(path)["items"]

    def find(self, path):
        """Returns an object, or None if there is none."""
        try:
            return self.get(path)
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
            return None

    def post(self, path, body):
        try:
            self.text("POST", path, body)
        except urllib.error.HTTPError as error:
            if error.code != 409:
                raise RuntimeError(error.read().decode()) from error

    def patch(self, path, body):
        try:
            self.text("PATCH", path, body, "application/merge-patch+json")
        except urllib.error.HTTPError as error:
            if error.code not in (404, 409):
                raise RuntimeError(error.read().decode()) from error

    def delete(self, path, body):
        with contextlib.suppress(urllib.error.HTTPError):
            self.text("DELETE", path, body)


def command(*parts, **options):
    done = subprocess.run([str(part) for part in parts], capture_output=True, text=True, **options)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, parts))}: {done.stderr.strip()}")
    return done.stdout


class Unready(Exception):
    """Raised if a pod cannot start yet, with the reason and message for its event and its waiting container."""


class Agent:
    def __init__(self, api, work, images, names):
        self.api, self.work, self.images, self.names = api, work, {}, names
        for name, folder in images.items():
            self.images[name] = pathlib.Path(folder)
        self.pods, self.addresses, self.records, self.rules = {}, 1, {}, {}
        self.stopped = threading.Event()

    def start(self):
        for number, (name, zone) in enumerate(NODES.items(), 2):
            address = f"10.245.0.{number}"
            labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64", "topology.kubernetes.io/zone": zone}
            self.api.post("/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}})
            room = {"cpu": "8", "memory": "16Gi", "pods": "50"}
            self.api.patch(f"/api/v1/nodes/{name}/status", {"status": {
                "capacity": room, "allocatable": room,
                "addresses": [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}],
                "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
                "conditions": [{"type": "Ready", "status": "True", "reason": "AgentReady", "lastHeartbeatTime": now(), "lastTransitionTime": now()}],
            }})
        self.api.post("/apis/storage.k8s.io/v1/storageclasses", {
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "provisioner": "test/folder", "volumeBindingMode": "Immediate",
            "metadata": {"name": "folder", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        })
        for target in [self.serve, self.resolve, self.watch]:
            threading.Thread(target=target, daemon=True).start()

    def stop(self):
        self.stopped.set()

    def watch(self):
        while not self.stopped.is_set():
            try:
                self.look()
            except Exception as error:  # Try again at the next interval.
                log(f"node: {type(error).__name__}: {error}")
            time.sleep(0.3)

    def look(self):
        pods = self.api.items("/api/v1/pods")
        known = set()
        for pod in pods:
            uid = pod["metadata"]["uid"]
            known.add(uid)
            if pod["spec"].get("nodeName") not in NODES:
                continue
            if uid not in self.pods:
                if pod["status"].get("phase") in ("Succeeded", "Failed") and not pod["metadata"].get("deletionTimestamp"):
                    continue
                self.addresses += 1
                self.pods[uid] = Pod(self, pod, f"10.244.{self.addresses >> 8}.{self.addresses & 255}")
                threading.Thread(target=self.pods[uid].live, daemon=True).start()
            elif pod["metadata"].get("deletionTimestamp") and not self.pods[uid].ending.is_set():
                self.pods[uid].grace = pod["metadata"].get("deletionGracePeriodSeconds", 30)
                self.pods[uid].ending.set()
                if self.pods[uid].gone:
                    self.pods[uid].leave()
        for uid in set(self.pods) - known:
            self.pods[uid].ending.set()
        self.claims()
        self.route(pods)

    def claims(self):
        for claim in self.api.items("/api/v1/persistentvolumeclaims"):
            if claim["status"].get("phase") != "Pending" or claim["spec"].get("volumeName"):
                continue
            meta = claim["metadata"]
            self.api.post("/api/v1/persistentvolumes", {
                "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": f"folder-{meta['uid']}"},
                "spec": {
                    "capacity": claim["spec"]["resources"]["requests"], "accessModes": claim["spec"]["accessModes"],
                    "storageClassName": claim["spec"].get("storageClassName", ""), "persistentVolumeReclaimPolicy": "Delete",
                    "hostPath": {"path": str(self.work / "volumes" / meta["uid"]), "type": "DirectoryOrCreate"},
                    "claimRef": {"kind": "PersistentVolumeClaim", "namespace": meta["namespace"], "name": meta["name"], "uid": meta["uid"]},
                },
            })

    # Services, names and policies

    def route(self, pods):
        services = self.api.items("/api/v1/services")
        slices = self.api.items("/apis/discovery.k8s.io/v1/endpointslices")
        records = {name: [address] for name, address in self.names.items()}
        nat = ["*nat", ":SERVICES - [0:0]", "-F PREROUTING", "-F OUTPUT", "-F POSTROUTING",
               "-A PREROUTING -j SERVICES", "-A OUTPUT -j SERVICES"]
        for service in services:
            name, space = service["metadata"]["name"], service["metadata"]["namespace"]
            own = [entry for entry in slices if entry["metadata"]["namespace"] == space
                   and entry["metadata"].get("labels", {}).get("kubernetes.io/service-name") == name]
            unready = service["spec"].get("publishNotReadyAddresses", False)
            ready = lambda end: unready or end.get("conditions", {}).get("ready", True)
            full = f"{name}.{space}.svc.cluster.local"
            if service["spec"].get("clusterIP") == "None":
                ends = [end for entry in own for end in entry.get("endpoints") or [] if ready(end)]
                records[full] = [end["addresses"][0] for end in ends]
                for end in ends:
                    if end.get("hostname"):
                        records[f"{end['hostname']}.{full}"] = end["addresses"]
                continue
            records[full] = [service["spec"]["clusterIP"]]
            for port in service["spec"]["ports"]:
                targets = [f"{end['addresses'][0]}:{target['port']}" for entry in own for target in entry.get("ports") or []
                           if target.get("name", "") == port.get("name", "") for end in entry.get("endpoints") or [] if ready(end)]
                match = f"-A SERVICES -d {service['spec']['clusterIP']} -p tcp --dport {port['port']}"
                for left, target in zip(range(len(targets), 0, -1), targets):
                    chance = f" -m statistic --mode random --probability {1 / left:.5f}" if left > 1 else ""
                    nat.append(f"{match}{chance} -j DNAT --to-destination {target}")
        self.records = records
        # A pod that reaches itself through a service.
        nat += [f"-A POSTROUTING -s {pod.address} -d {pod.address} -j MASQUERADE" for pod in self.pods.values() if not pod.gone]
        self.apply(nat + ["COMMIT"], "nat")
        self.apply(self.policies(pods), "filter")

    def apply(self, lines, table):
        if self.rules.get(table) == lines:
            return
        command("iptables-restore", "--noflush", input="\n".join([*lines, ""]))
        self.rules[table] = lines

    def policies(self, pods):
        namespaces = {item["metadata"]["name"]: item["metadata"].get("labels", {}) for item in self.api.items("/api/v1/namespaces")}
        running = [(pod, self.pods[pod["metadata"]["uid"]].address) for pod in pods
                   if pod["metadata"]["uid"] in self.pods and not self.pods[pod["metadata"]["uid"]].gone]
        established = "-m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT"
        lines = ["*filter", "-F INPUT", "-F FORWARD", f"-A INPUT {established}", f"-A FORWARD {established}"]
        chains, rules = [], []

        def peers(policy, entries):
            for entry in entries:
                if "ipBlock" in entry:
                    yield entry["ipBlock"]["cidr"], entry["ipBlock"].get("except", [])
                    continue
                for pod, address in running:
                    space = pod["metadata"]["namespace"]
                    wanted = entry.get("namespaceSelector")
                    right = matches(wanted, namespaces.get(space, {})) if wanted is not None else space == policy["metadata"]["namespace"]
                    if right and matches(entry.get("podSelector", {}), pod["metadata"].get("labels", {})):
                        yield address, []

        def ports(entries, pod):
            if not entries:
                return [""]
            found = []
            for entry in entries:
                protocol, port = entry.get("protocol", "TCP").lower(), entry.get("port")
                if isinstance(port, str):
                    declared = [each for container in pod["spec"]["containers"] for each in container.get("ports", []) if each.get("name") == port]
                    found += [f"-p {protocol} --dport {each['containerPort']}" for each in declared]
                elif port is None:
                    found.append(f"-p {protocol}")
                else:
                    found.append(f"-p {protocol} --dport {port}:{entry.get('endPort', port)}")
            return found

        policies = self.api.items("/apis/networking.k8s.io/v1/networkpolicies")
        for pod, address in running:
            own = [policy for policy in policies if policy["metadata"]["namespace"] == pod["metadata"]["namespace"]
                   and matches(policy["spec"].get("podSelector", {}), pod["metadata"].get("labels", {}))]
            for direction, key, mine, other in [("Ingress", "from", "-d", "-s"), ("Egress", "to", "-s", "-d")]:
                isolating = [policy for policy in own if direction in policy["spec"].get("policyTypes", ["Ingress"])]
                if not isolating:
                    continue
                chain = f"{direction[0]}-{address}"
                chains.append(chain)
                # Traffic of the node itself, such as probes, always passes; a pod reaches the machine's services only through INPUT.
                lines += [f"-A {hook} {mine} {address} -j {chain}" for hook in (["FORWARD"] if direction == "Ingress" else ["FORWARD", "INPUT"])]
                for policy in isolating:
                    for rule in policy["spec"].get(direction.lower()) or []:
                        for port in ports(rule.get("ports"), pod):
                            for peer, without in peers(policy, rule[key]) if rule.get(key) else [("0.0.0.0/0", [])]:
                                excepted = [f"-A {chain} {other} {block} {port} -j REJECT" for block in without]
                                rules += [*excepted, f"-A {chain} {other} {peer} {port} -j RETURN"]
                rules.append(f"-A {chain} -j REJECT")
        declared = [line for chain in chains for line in (f":{chain} - [0:0]", f"-F {chain}")]
        return [lines[0], *declared, *lines[1:], *rules, "COMMIT"]

    def resolve(self):
        """A name server for the records; a name without an address does not exist."""
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.bind((NAME_SERVER, 53))
        while True:
            question, sender = server.recvfrom(512)
            with contextlib.suppress(Exception):
                labels, at = [], 12
                while question[at]:
                    labels.append(question[at + 1:at + 1 + question[at]].decode().lower())
                    at += question[at] + 1
                kind = struct.unpack("!H", question[at + 1:at + 3])[0]
                addresses = self.records.get(".".join(labels))
                answers = addresses if addresses and kind == 1 else []
                code = 0 if addresses else 3
                head = question[:2] + struct.pack("!HHHHH", 0x8580 | code, 1, len(answers), 0, 0)
                body = b"".join(b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 1, 4) + socket.inet_aton(address) for address in answers)
                server.sendto(head + question[12:at + 5] + body, sender)

    # The API of a kubelet, as far as the API server uses it

    def serve(self):
        key, certificate = self.work / "node.key", self.work / "node.crt"
        command("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=node", "-days", "1", "-keyout", key, "-out", certificate)
        handler = type("Kubelet", (Kubelet,), {"agent": self})
        server = http.server.ThreadingHTTPServer(("0.0.0.0", 10250), handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        server.serve_forever()

    def named(self, namespace, name):
        for pod in self.pods.values():
            if (pod.namespace, pod.name) == (namespace, name):
                return pod
        return None


def matches(selector, labels):
    def holds(rule):
        value, values = labels.get(rule["key"]), rule.get("values", [])
        return {"In": value in values, "NotIn": value not in values, "Exists": value is not None, "DoesNotExist": value is None}[rule["operator"]]

    return all(labels.get(key) == value for key, value in (selector.get("matchLabels") or {}).items()) and all(
        map(holds, selector.get("matchExpressions") or []))


class Pod:
    def __init__(self, agent, pod, address):
        self.agent, self.api, self.pod, self.address = agent, agent.api, pod, address
        meta = pod["metadata"]
        self.namespace, self.name, self.uid, self.spec = meta["namespace"], meta["name"], meta["uid"], pod["spec"]
        self.path = f"/api/v1/namespaces/{self.namespace}/pods/{self.name}"
        self.folder = agent.work / "pods" / self.uid
        self.net = f"p{address.replace('.', '-')}"
        self.ending, self.grace, self.gone = threading.Event(), self.spec.get("terminationGracePeriodSeconds", 30), False
        if meta.get("deletionTimestamp"):
            self.ending.set()
        self.status, self.told = {}, None
        self.lock = threading.Lock()
        self.started = now()

    def live(self):
        try:
            self.run()
        except Exception as error:
            log(f"node: pod {self.namespace}/{self.name}: {type(error).__name__}: {error}")
            self.event("AgentFailed", str(error))
        finally:
            self.gone = True

    def event(self, reason, message):
        self.api.post(f"/api/v1/namespaces/{self.namespace}/events", {
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": f"{self.name}.{time.time_ns():x}"}, "type": "Warning", "reason": reason,
            "message": message, "source": {"component": "kubelet"}, "firstTimestamp": now(), "lastTimestamp": now(), "count": 1,
            "involvedObject": {"apiVersion": "v1", "kind": "Pod", "namespace": self.namespace, "name": self.name, "uid": self.uid},
        })

    def run(self):
        said = None
        while not self.ending.is_set():
            try:
                images = {container["name"]: self.image(container) for container in self.every()}
                volumes = {volume["name"]: self.volume(volume) for volume in self.spec.get("volumes", [])}
                for container in self.every():
                    self.environment(container, images[container["name"]][1])
                break
            except Unready as error:
                reason, message = error.args
                waiting = reason if reason.startswith("Err") or "Config" in reason else "ContainerCreating"
                for container in self.spec["containers"]:
                    self.status[container["name"]] = {"state": {"waiting": {"reason": waiting, "message": message}}}
                self.tell("Pending")
                if message != said:
                    self.event(reason, message)
                    said = message
                self.ending.wait(0.5)
        if self.ending.is_set():
            return self.leave()
        self.connect()
        try:
            phase = self.work(images, volumes)
            if self.ending.is_set():
                self.leave()
            else:
                self.tell(phase)
        finally:
            with contextlib.suppress(RuntimeError):
                command("ip", "netns", "delete", self.net)

    def every(self):
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]

    def connect(self):
        outside = f"v{self.net[1:]}"[:15]
        for line in [
            f"ip netns add {self.net}",
            f"ip link add {outside} type veth peer name eth0 netns {self.net}",
            f"ip addr add {GATEWAY}/32 dev {outside}",
            f"ip link set {outside} up",
            f"ip route add {self.address} dev {outside}",
            f"ip -n {self.net} addr add {self.address}/32 dev eth0",
            f"ip -n {self.net} link set eth0 up",
            f"ip -n {self.net} link set lo up",
            f"ip -n {self.net} route add {GATEWAY} dev eth0",
            f"ip -n {self.net} route add default via {GATEWAY}",
        ]:
            command(*line.split())

    def image(self, container):
        folder = self.agent.images.get(container["image"])
        if folder is None:
            raise Unready("ErrImagePull", f"image {container['image']} is not known to the test cluster")
        if not container.get("securityContext", {}).get("readOnlyRootFilesystem"):
            raise Unready("CreateContainerConfigError", "the test cluster shares the files of an image: set readOnlyRootFilesystem")
        config = json.loads((folder / "image.json").read_text()) if (folder / "image.json").is_file() else {}
        user = {**self.spec.get("securityContext", {}), **container.get("securityContext", {})}
        number = user.get("runAsUser", int(str(config.get("User") or "0").split(":")[0]))
        if user.get("runAsNonRoot") and number == 0:
            raise Unready("CreateContainerConfigError", "container has runAsNonRoot and image will run as root")
        return folder, config, number, user.get("runAsGroup", number)

    def object(self, kind, name, volume=None, optional=False):
        found = self.api.find(f"/api/v1/namespaces/{self.namespace}/{kind}s/{name}")
        if found is None and not optional:
            what = f'{kind} "{name}" not found'
            if volume:
                raise Unready("FailedMount", f'MountVolume.SetUp failed for volume "{volume}" : {what}')
            raise Unready("CreateContainerConfigError", what)
        found = found or {}
        if kind == "secret":
            return {key: base64.b64decode(value) for key, value in (found.get("data") or {}).items()}
        return {key: value.encode() for key, value in (found.get("data") or {}).items()}

    def volume(self, volume):
        """Creates a volume and returns its folder."""
        name, folder = volume["name"], self.folder / "volumes" / volume["name"]
        group = self.spec.get("securityContext", {}).get("fsGroup")
        if "persistentVolumeClaim" in volume:
            claim = volume["persistentVolumeClaim"]["claimName"]
            found = self.api.find(f"/api/v1/namespaces/{self.namespace}/persistentvolumeclaims/{claim}")
            if not found or found["status"].get("phase") != "Bound":
                raise Unready("FailedMount", f'persistentvolumeclaim "{claim}" is not bound')
            folder = pathlib.Path(self.api.get(f"/api/v1/persistentvolumes/{found['spec']['volumeName']}")["spec"]["hostPath"]["path"])
            mode = 0o775
        elif "emptyDir" in volume:
            mode = 0o777
        elif "hostPath" in volume:
            raise Unready("FailedMount", "hostPath volumes are not supported")
        else:
            mode = 0o755
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(mode)
        files, modes = {}, {}
        for source in volume.get("projected", {}).get("sources", []) or [volume]:
            for kind, field in [("secret", "secretName"), ("configMap", "name")]:
                if kind not in source:
                    continue
                wanted = source[kind]
                data = self.object(kind.lower(), wanted.get(field) or wanted.get("name"), name, wanted.get("optional", False))
                for item in wanted.get("items") or [{"key": key, "path": key} for key in data]:
                    if item["key"] not in data:
                        raise Unready("FailedMount", f'references non-existent {kind} key: {item["key"]}')
                    files[item["path"]] = data[item["key"]]
                    default = wanted.get("defaultMode", volume.get("projected", {}).get("defaultMode", 0o644))
                    modes[item["path"]] = item.get("mode", default)
        for path, data in files.items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
            file.chmod(modes[path] | (0o040 if group is not None else 0))
            if group is not None:
                os.chown(file, 0, group)
        if group is not None:
            os.chown(folder, 0, group)
            folder.chmod(folder.stat().st_mode | 0o2070)
        return folder

    def environment(self, container, config):
        fields = {
            "metadata.name": self.name, "metadata.namespace": self.namespace, "metadata.uid": self.uid, "status.podIP": self.address,
            "spec.nodeName": self.spec["nodeName"], "status.hostIP": "10.245.0.1",
        }
        found = dict(pair.split("=", 1) for pair in config.get("Env") or [])
        found["HOSTNAME"] = self.spec.get("hostname", self.name)
        for entry in container.get("env", []):
            source = entry.get("valueFrom") or {}
            value = entry.get("value", "")
            if "fieldRef" in source:
                value = fields[source["fieldRef"]["fieldPath"]]
            for kind in ("secret", "configMap"):
                wanted = source.get(f"{kind}KeyRef")
                if not wanted:
                    continue
                data = self.object(kind.lower(), wanted["name"], optional=wanted.get("optional", False))
                if wanted["key"] not in data:
                    if wanted.get("optional"):
                        break
                    raise Unready("CreateContainerConfigError", f"couldn't find key {wanted['key']} in {kind} {self.namespace}/{wanted['name']}")
                value = data[wanted["key"]].decode()
            found[entry["name"]] = expand(value, found)
        found.setdefault("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        return found

    def work(self, images, volumes):
        """Runs the containers and returns the final phase of the pod."""
        restart = self.spec.get("restartPolicy", "Always")
        for container in self.spec.get("initContainers", []):
            if not self.once(Container(self, container, images[container["name"]], volumes), restart):
                return "Failed"
            if self.ending.is_set():
                return "Failed"
        self.initialized = True
        running = [Container(self, container, images[container["name"]], volumes) for container in self.spec["containers"]]
        self.containers = {container.name: container for container in running}
        threads = [threading.Thread(target=self.keep, args=(container, restart), daemon=True) for container in running]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return "Succeeded" if all(container.code == 0 for container in running) else "Failed"

    def once(self, container, restart):
        while not self.ending.is_set():
            container.begin()
            self.tell("Pending")
            if container.follow() == 0:
                self.tell("Pending")
                return True
            self.tell("Pending")
            if restart == "Never":
                return False
            container.pause()
        return False

    def keep(self, container, restart):
        while True:
            container.begin()
            self.tell("Running")
            code = container.follow()
            if self.ending.is_set() or restart == "Never" or (restart == "OnFailure" and code == 0):
                self.tell("Running")
                return
            self.tell("Running")
            container.pause()
            if self.ending.is_set():
                return

    initialized, containers = False, {}

    def tell(self, phase):
        """Reports the status if it has changed."""
        with self.lock:
            first = [item["name"] for item in self.spec.get("initContainers", [])]
            statuses = []
            for container in self.every():
                own = {"ready": False, "state": {"waiting": {"reason": "PodInitializing"}}, "restartCount": 0, **self.status.get(container["name"], {})}
                statuses.append({"name": container["name"], "image": container["image"], "imageID": container["image"], **own})
            ready = phase == "Running" and all(item["ready"] for item in statuses if item["name"] not in first)
            condition = lambda kind, holds: {"type": kind, "status": str(holds), "lastTransitionTime": self.started, "lastProbeTime": None}
            status = {
                "phase": phase, "podIP": self.address, "podIPs": [{"ip": self.address}], "hostIP": "10.245.0.1", "startTime": self.started,
                "conditions": [condition("PodScheduled", True), condition("Initialized", self.initialized), condition("ContainersReady", ready),
                               condition("Ready", ready)],
                "containerStatuses": [item for item in statuses if item["name"] not in first],
                "initContainerStatuses": [item for item in statuses if item["name"] in first],
            }
            if status != self.told:
                self.told = status
                self.api.patch(self.path + "/status", {"status": status})

    def leave(self):
        self.api.delete(self.path, {"gracePeriodSeconds": 0, "preconditions": {"uid": self.uid}})
        shutil.rmtree(self.folder, ignore_errors=True)


def expand(text, variables):
    return re.sub(r"\$\(([A-Za-z_][A-Za-z0-9_]*)\)", lambda match: variables.get(match[1], match[0]), text)


class Container:
    def __init__(self, pod, spec, image, volumes):
        self.pod, self.spec, self.name, self.volumes = pod, spec, spec["name"], volumes
        self.root, self.config, self.user, self.group = image
        self.log = pod.agent.work / "logs" / f"{pod.namespace}_{pod.name}_{self.name}.log"
        self.log.parent.mkdir(exist_ok=True)
        self.log.unlink(missing_ok=True)
        self.restarts, self.code, self.process, self.killed, self.delay = -1, None, None, False, 1
        self.ready = False

    def begin(self):
        self.restarts += 1
        self.killed = False
        environment = self.pod.environment(self.spec, self.config)
        arguments = self.spec.get("args") or ([] if self.spec.get("command") else self.config.get("Cmd") or [])
        arguments = [expand(part, environment) for part in [*(self.spec.get("command") or self.config.get("Entrypoint") or []), *arguments]]
        resolv = self.pod.folder / "resolv.conf"
        resolv.parent.mkdir(parents=True, exist_ok=True)
        space = self.pod.namespace
        resolv.write_text(f"nameserver {NAME_SERVER}\nsearch {space}.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n")
        hosts = self.pod.folder / "hosts"
        hosts.write_text(f"127.0.0.1 localhost\n{self.pod.address} {environment['HOSTNAME']}\n")
        mounts = [(str(resolv), "/etc/resolv.conf", True), (str(hosts), "/etc/hosts", True)]
        for mount in self.spec.get("volumeMounts", []):
            source = self.volumes[mount["name"]] / mount.get("subPath", "")
            if mount.get("subPath") and not source.exists():
                source.mkdir(parents=True)
            mounts.append((str(source), mount["mountPath"], mount.get("readOnly", False)))
        plan = {
            "root": str(self.root), "work": str(self.pod.folder / f"root-{self.name}"), "mounts": mounts, "environment": environment,
            "command": arguments, "hostname": environment["HOSTNAME"], **self.identity(),
        }
        enter = ["nsenter", f"--net=/run/netns/{self.pod.net}", "unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child"]
        with open(self.log, "ab") as output:
            self.process = subprocess.Popen([*enter, sys.executable, __file__, json.dumps(plan)], stdin=subprocess.DEVNULL, stdout=output,
                                            stderr=output, start_new_session=True)
        self.begun, self.ready = now(), False
        self.report()

    def report(self):
        state = {"running": {"startedAt": self.begun}} if self.code is None or self.process.poll() is None else {
            "terminated": {"exitCode": self.code, "startedAt": self.begun, "finishedAt": now(), "reason": "Completed" if self.code == 0 else "Error"}}
        self.pod.status[self.name] = {"ready": self.ready, "started": "running" in state, "restartCount": self.restarts, "state": state}

    def main(self):
        """Returns the process id of the container's first process on this machine."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            return int(pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()[0])
        return None

    def signal(self, number):
        first = self.main()
        with contextlib.suppress(ProcessLookupError):
            os.kill(first or self.process.pid, number)

    def follow(self):
        """Probes the container until it ends, and returns its exit code."""
        probes = {kind: self.spec.get(f"{kind}Probe") for kind in ("startup", "liveness", "readiness")}
        begun = time.monotonic()
        due = {kind: begun + (probe or {}).get("initialDelaySeconds", 0) for kind, probe in probes.items()}
        failures, started, deadline = dict.fromkeys(probes, 0), probes["startup"] is None, None
        self.ready = started and probes["readiness"] is None
        if self.ready:
            self.report()
            self.pod.tell("Running" if self.pod.initialized else "Pending")
        while self.process.poll() is None:
            if self.pod.ending.is_set():
                if deadline is None:
                    deadline = time.monotonic() + self.pod.grace
                    self.stop_hook(deadline)
                    self.signal(getattr(signal, self.config.get("StopSignal") or "SIGTERM"))
                elif time.monotonic() > deadline and not self.killed:
                    self.killed = True
                    self.pod.event("Killing", f"container {self.name} did not end within {self.pod.grace} s")
                    self.signal(signal.SIGKILL)
            for kind, probe in probes.items():
                wanted = not started if kind == "startup" else started
                if not probe or not wanted or self.pod.ending.is_set() or time.monotonic() < due[kind]:
                    continue
                due[kind] = time.monotonic() + probe.get("periodSeconds", 10)
                right = self.probe(probe)
                failures[kind] = 0 if right else failures[kind] + 1
                if kind == "startup" and right:
                    started, self.ready = True, probes["readiness"] is None
                elif kind == "readiness" and (right or failures[kind] >= probe.get("failureThreshold", 3)):
                    self.ready = right
                elif kind != "readiness" and failures[kind] >= probe.get("failureThreshold", 3):
                    self.pod.event("Unhealthy", f"{kind} probe of {self.name} failed; the container is restarted")
                    self.signal(signal.SIGTERM)
                    failures[kind] = 0
                self.report()
                self.pod.tell("Running" if self.pod.initialized else "Pending")
            time.sleep(0.1)
        self.ready = False
        code = self.process.returncode
        self.code = code if code >= 0 else 128 - code
        self.report()
        return self.code

    def pause(self):
        state = self.pod.status[self.name]
        self.pod.status[self.name] = {**state, "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": state["state"]}
        self.pod.tell("Running" if self.pod.initialized else "Pending")
        self.pod.ending.wait(self.delay)
        self.delay = min(self.delay * 2, 10)
        self.code = None

    def stop_hook(self, deadline):
        hook = self.spec.get("lifecycle", {}).get("preStop", {})
        if "sleep" in hook:
            time.sleep(min(hook["sleep"]["seconds"], max(0, deadline - time.monotonic())))
        if "exec" in hook:
            subprocess.run(self.inside(hook["exec"]["command"]), capture_output=True, timeout=max(1, deadline - time.monotonic()))

    def inside(self, arguments):
        """Returns the command line that runs a command in the container."""
        plan = {"target": self.main(), "environment": self.pod.environment(self.spec, self.config), "command": arguments, **self.identity()}
        return [sys.executable, __file__, json.dumps(plan)]

    def identity(self):
        context = self.spec.get("securityContext", {})
        group = self.pod.spec.get("securityContext", {}).get("fsGroup")
        return {
            "user": self.user, "group": self.group, "groups": [] if group is None else [group],
            "dropped": "ALL" in context.get("capabilities", {}).get("drop", []), "privileges": context.get("allowPrivilegeEscalation", True),
            "folder": self.spec.get("workingDir") or self.config.get("WorkingDir") or "/",
        }

    def probe(self, probe):
        limit = probe.get("timeoutSeconds", 1)
        try:
            if "exec" in probe:
                return subprocess.run(self.inside(probe["exec"]["command"]), capture_output=True, timeout=max(limit, 10)).returncode == 0
            (kind, wanted), = [(kind, probe[kind]) for kind in ("httpGet", "tcpSocket", "grpc") if kind in probe]
            # A busy machine is not a failure, so a late response counts as alive.
            limit = max(limit, 10)
            port = wanted["port"]
            if isinstance(port, str):
                port = next(each["containerPort"] for each in self.spec["ports"] if each["name"] == port)
            if kind == "tcpSocket":
                socket.create_connection((self.pod.address, port), limit).close()
                return True
            if kind == "grpc":
                return serving(self.pod.address, port, wanted.get("service", ""), limit)
            scheme = wanted.get("scheme", "HTTP").lower()
            url = f"{scheme}://{self.pod.address}:{port}{wanted.get('path', '/')}"
            with urllib.request.urlopen(url, timeout=limit, context=ssl._create_unverified_context() if scheme == "https" else None):
                return True
        except (OSError, subprocess.TimeoutExpired):
            return False


def serving(host, port, service, limit):
    """Performs a gRPC health check with a minimal HTTP/2 client."""
    def frame(kind, flags, stream, payload):
        return struct.pack("!I", len(payload))[1:] + bytes([kind, flags]) + struct.pack("!I", stream) + payload

    def text(value):
        return bytes([len(value)]) + value.encode()

    headers = b"\x83\x86" + b"".join(b"\x00" + text(name) + text(value) for name, value in [
        (":path", "/grpc.health.v1.Health/Check"), (":authority", "probe"), ("content-type", "application/grpc"), ("te", "trailers")])
    message = (b"\x0a" + text(service)) if service else b""
    message = b"\x00" + struct.pack("!I", len(message)) + message
    with socket.create_connection((host, port), limit) as connection:
        connection.settimeout(limit)
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"") + frame(1, 4, 1, headers) + frame(0, 1, 1, message))
        reader = connection.makefile("rb")
        while head := reader.read(9):
            if len(head) < 9:
                return False
            length, kind, flags = struct.unpack("!I", b"\x00" + head[:3])[0], head[3], head[4]
            payload = reader.read(length)
            if kind == 0:
                return payload[5:] == b"\x08\x01"
            if kind in (3, 7) or (kind == 1 and flags & 1):
                return False
    return False


class Kubelet(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def setup(self):
        self.request.do_handshake()
        super().setup()

    def do_GET(self):
        path, _, query = self.path.partition("?")
        query = urllib.parse.parse_qs(query)
        kind, _, rest = path.strip("/").partition("/")
        parts = rest.split("/")
        if kind == "containerLogs":
            return self.logs(parts, query)
        if kind == "exec" and self.headers.get("Upgrade", "").lower() == "websocket":
            return self.execute(parts, query)
        self.send_error(404)

    do_POST = do_GET

    def logs(self, parts, query):
        file = self.agent.work / "logs" / "{}_{}_{}.log".format(*parts)
        if not file.exists():
            return self.send_error(404)
        data = file.read_bytes()
        if "tailLines" in query:
            data = b"\n".join(data.splitlines()[-int(query["tailLines"][0]):]) + b"\n"
        pod = self.agent.named(parts[0], parts[1])
        follow = query.get("follow") == ["true"] and pod and not pod.gone
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        if not follow:
            self.send_header("Content-Length", str(len(data)))
        else:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(data)
        position = file.stat().st_size
        while follow:
            ended = pod.gone
            with open(file, "rb") as source:
                source.seek(position)
                more = source.read()
            position += len(more)
            self.wfile.write(more)
            if ended:
                self.close_connection = True
                return
            time.sleep(0.2)

    def execute(self, parts, query):
        pod = self.agent.named(parts[0], parts[1])
        container = pod and pod.containers.get(parts[2])
        if not container or not container.main():
            return self.send_error(404)
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        self.send_header("Sec-WebSocket-Protocol", self.headers.get("Sec-WebSocket-Protocol", "").split(",")[0].strip())
        self.end_headers()
        self.close_connection = True
        lock = threading.Lock()

        def send(data, opcode=2):
            size = len(data)
            head = bytes([0x80 | opcode]) + (bytes([size]) if size < 126 else b"\x7e" + struct.pack("!H", size) if size < 65536
                                             else b"\x7f" + struct.pack("!Q", size))
            with lock:
                self.wfile.write(head + data)
                self.wfile.flush()

        process = subprocess.Popen(container.inside(query.get("command", [])), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

        def pump(stream, channel):
            while data := stream.read1(32768):
                send(bytes([channel]) + data)

        def receive():
            with contextlib.suppress(Exception):
                while True:
                    head = self.rfile.read(2)
                    size = head[1] & 127
                    size = struct.unpack("!H", self.rfile.read(2))[0] if size == 126 else struct.unpack("!Q", self.rfile.read(8))[0] if size == 127 else size
                    mask = self.rfile.read(4) if head[1] & 128 else bytes(4)
                    data = bytes(byte ^ mask[at % 4] for at, byte in enumerate(self.rfile.read(size)))
                    if head[0] & 15 == 9:
                        send(data, 10)
                    elif head[0] & 15 == 8:
                        return process.kill()
                    elif data[:1] == b"\x00":
                        process.stdin.write(data[1:])
                        process.stdin.flush()
                    elif data[:2] == b"\xff\x00":
                        process.stdin.close()

        pumps = [threading.Thread(target=pump, args=(process.stdout, 1)), threading.Thread(target=pump, args=(process.stderr, 2))]
        for thread in pumps:
            thread.start()
        if "input" not in query:
            process.stdin.close()
        threading.Thread(target=receive, daemon=True).start()
        for thread in pumps:
            thread.join()
        code = process.wait()
        status = {"metadata": {}, "status": "Success"} if code == 0 else {
            "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode", "message": f"command terminated with exit code {code}",
            "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]}}
        send(b"\x03" + json.dumps(status).encode())
        send(struct.pack("!H", 1000), 8)


def drop(plan):
    """Drops the groups, user and capabilities that a container does not have."""
    libc = ctypes.CDLL(None, use_errno=True)
    if plan["dropped"]:
        for capability in range(64):
            libc.prctl(24, capability, 0, 0, 0)
    os.setgroups(plan["groups"])
    os.setgid(plan["group"])
    os.setuid(plan["user"])
    if not plan["privileges"]:
        libc.prctl(38, 1, 0, 0, 0)
    os.chdir(plan["folder"])
    try:
        os.execvpe(plan["command"][0], plan["command"], plan["environment"])
    except OSError as error:
        sys.exit(f"{plan['command'][0]}: {error.strerror}")


def container(plan):
    """The first process of a container, which sets up the file system and executes the program."""
    if "target" in plan:
        for kind in ("ipc", "uts", "net", "pid", "mnt"):
            descriptor = os.open(f"/proc/{plan['target']}/ns/{kind}", os.O_RDONLY)
            plan.setdefault("namespaces", []).append(descriptor)
        root = os.open(f"/proc/{plan['target']}/root", os.O_RDONLY)
        libc = ctypes.CDLL(None, use_errno=True)
        for descriptor in plan["namespaces"]:
            if libc.setns(descriptor, 0):
                sys.exit(f"setns: {os.strerror(ctypes.get_errno())}")
        # Only a child process enters a PID namespace.
        child = os.fork()
        if child:
            _, status = os.waitpid(child, 0)
            sys.exit(os.waitstatus_to_exitcode(status) % 256)
        os.fchdir(root)
        os.chroot(".")
        drop(plan)
    mount = lambda *parts: command("mount", *parts)
    work = pathlib.Path(plan["work"])
    work.mkdir(exist_ok=True)
    mount("--make-rprivate", "/")
    mount("--bind", plan["root"], work)
    for source, target, _ in plan["mounts"]:
        place = work / target.lstrip("/")
        # Empty mount points remain in a shared image, as with other container runtimes.
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            place.touch() if os.path.isfile(source) else place.mkdir()
    for name in ("proc", "dev"):
        (work / name).mkdir(exist_ok=True)
    mount("-o", "remount,bind,ro", work)
    for source, target, read_only in sorted(plan["mounts"], key=lambda entry: entry[1]):
        place = work / target.lstrip("/")
        mount("--bind", source, place)
        if read_only:
            mount("-o", "remount,bind,ro", place)
    mount("-t", "proc", "proc", work / "proc")
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", work / "dev")
    for device in ("null", "zero", "full", "random", "urandom"):
        (work / "dev" / device).touch()
        mount("--bind", f"/dev/{device}", work / "dev" / device)
    (work / "dev/shm").mkdir()
    mount("-t", "tmpfs", "-o", "mode=1777", "tmpfs", work / "dev/shm")
    socket.sethostname(plan["hostname"])
    os.chroot(work)
    drop(plan)


if __name__ == "__main__":
    container(json.loads(sys.argv[1]))

"""What the chart's objects say of each other: every name, label, port and key leads somewhere."""

import base64
import re
import unittest

from chart import NAMESPACE, Rendered, matrix, render, values_of
from repository import ROOT

# Labels that a NetworkPolicy may select in vain: these pods are not always there.
SOMETIMES = {"migrate", "test", "webhooks"}


# What says how much there is to do.
TASKS = ("flowmill_ready_tasks", "flowmill_tasks_in_flight")


def fits(selector: dict, labels: dict) -> bool:
    """Whether a label selector selects these labels."""
    for name, value in selector.get("matchLabels", {}).items():
        if labels.get(name) != value:
            return False
    for rule in selector.get("matchExpressions", []):
        if (labels.get(rule["key"]) in rule["values"]) != (rule["operator"] == "In"):
            return False
    return True


def labels(pod: dict) -> dict:
    return pod["metadata"]["labels"]


def ports(pod: dict) -> dict:
    """The ports of a pod's containers by their names."""
    return {
        port["name"]: port["containerPort"]
        for container in pod["spec"]["containers"]
        for port in container.get("ports", [])
    }


def component(pod: dict) -> str:
    return labels(pod)["app.kubernetes.io/component"]


def is_hook(item: dict) -> bool:
    return "helm.sh/hook" in item["metadata"].get("annotations", {})


class Selectors(unittest.TestCase):
    def each(self, kind: str):
        found = [(name, rendered, item) for name, rendered in matrix().items() for item in rendered.of_kind(kind)]
        self.assertTrue(found, f"no values give a {kind}")
        for name, rendered, item in found:
            with self.subTest(values=name, item=item["metadata"]["name"]):
                yield rendered, item

    def test_a_service_leads_to_a_port_of_its_pods(self):
        for rendered, service in self.each("Service"):
            chosen = [pod for _, pod in rendered.pods() if fits({"matchLabels": service["spec"]["selector"]}, labels(pod))]
            self.assertEqual(len(chosen), 1)
            for port in service["spec"]["ports"]:
                self.assertIn(port["targetPort"], ports(chosen[0]))

    def test_a_deployment_selects_its_own_pods_only(self):
        for rendered, deployment in self.each("Deployment"):
            chosen = [name for name, pod in rendered.pods() if fits(deployment["spec"]["selector"], labels(pod))]
            self.assertEqual(chosen, [f"Deployment/{deployment['metadata']['name']}"])

    def test_a_budget_holds_one_deployment(self):
        for rendered, budget in self.each("PodDisruptionBudget"):
            chosen = [name for name, pod in rendered.pods() if fits(budget["spec"]["selector"], labels(pod))]
            self.assertEqual(chosen, [f"Deployment/{budget['metadata']['name']}"])

    def test_pods_are_spread_among_their_like(self):
        for _, deployment in self.each("Deployment"):
            pod = deployment["spec"]["template"]
            for spread in pod["spec"].get("topologySpreadConstraints", []):
                self.assertTrue(fits(spread["labelSelector"], labels(pod)))

    def test_a_service_monitor_finds_a_service_and_its_port(self):
        for rendered, monitor in self.each("ServiceMonitor"):
            chosen = [item for item in rendered.of_kind("Service") if fits(monitor["spec"]["selector"], item["metadata"]["labels"])]
            self.assertEqual(len(chosen), 1)
            names = [port["name"] for port in chosen[0]["spec"]["ports"]]
            self.assertIn(monitor["spec"]["endpoints"][0]["port"], names)

    def test_a_pod_monitor_finds_what_no_service_monitor_does(self):
        for rendered, monitor in self.each("PodMonitor"):
            chosen = [pod for _, pod in rendered.pods() if fits(monitor["spec"]["selector"], labels(pod))]
            wanted = {"worker", "webhooks"} & {component(pod) for _, pod in rendered.pods()}
            self.assertEqual({component(pod) for pod in chosen}, wanted)
            for pod in chosen:
                self.assertIn(monitor["spec"]["podMetricsEndpoints"][0]["port"], ports(pod))

    def test_what_scales_leads_to_a_deployment_that_says_no_number(self):
        for kind in ("HorizontalPodAutoscaler", "ScaledObject"):
            for rendered, scaler in self.each(kind):
                target = rendered.one("Deployment", scaler["spec"]["scaleTargetRef"]["name"])
                self.assertNotIn("replicas", target["spec"])

    def test_queues_are_called_as_the_broker_calls_them(self):
        names = (ROOT / "common/infra/src/rabbitmq/names.rs").read_text(encoding="utf-8")
        self.assertIn('"{}.tasks.v1.{class}.{}"', names)
        for rendered, scaler in self.each("ScaledObject"):
            for trigger in scaler["spec"]["triggers"]:
                if trigger["type"] != "rabbitmq":
                    for metric in TASKS:
                        self.assertIn(f'{metric}{{namespace="{NAMESPACE}",class="', trigger["metadata"]["query"])
                    continue
                queue = trigger["metadata"]["queueName"]
                self.assertRegex(queue, r"^mill-1\.tasks\.v1\.(light|code|http|llm)\.(interactive|batch)$")
                lane = queue.rsplit(".", 1)[-1]
                self.assertIn(f'"{lane}"', names)
                rendered.one("TriggerAuthentication", trigger["authenticationRef"]["name"])

    def test_ways_in_lead_to_the_service(self):
        for rendered, ingress in self.each("Ingress"):
            backend = ingress["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
            service = rendered.one("Service", backend["name"])
            self.assertIn(backend["port"]["name"], [port["name"] for port in service["spec"]["ports"]])
        for rendered, route in self.each("HTTPRoute"):
            backend = route["spec"]["rules"][0]["backendRefs"][0]
            service = rendered.one("Service", backend["name"])
            self.assertIn(backend["port"], [port["port"] for port in service["spec"]["ports"]])
            # what is not of the API is for the cluster's own eyes
            self.assertEqual(route["spec"]["rules"][0]["matches"][0]["path"]["value"], "/api")

    def test_the_test_asks_the_service(self):
        for rendered, pod in self.each("Pod"):
            server = {item["name"]: item for item in pod["spec"]["containers"][0]["env"]}["FLOWMILL_SERVER"]["value"]
            host, port = re.fullmatch(r"http://([^:]+):(\d+)", server).groups()
            service = rendered.one("Service", host)
            self.assertEqual(service["spec"]["ports"][0]["port"], int(port))


class Keys(unittest.TestCase):
    """Where secrets and files lie."""

    def references(self, pod: dict):
        for container in pod["spec"]["containers"]:
            for variable in container.get("env", []):
                secret = variable.get("valueFrom", {}).get("secretKeyRef")
                if secret:
                    yield secret["name"], secret["key"]

    def test_secrets_are_there_with_their_keys(self):
        for name, rendered in matrix().items():
            there = {
                (secret["metadata"]["name"], key): secret
                for secret in rendered.of_kind("Secret")
                for key in secret["data"]
            }
            outside = given(values_of(name))
            for place, pod in rendered.pods():
                for reference in self.references(pod):
                    with self.subTest(values=name, pod=place, secret=reference):
                        self.assertIn(reference, set(there) | outside)

    def test_secrets_that_are_there_are_all_used(self):
        for name, rendered in matrix().items():
            used = {reference for _, pod in rendered.pods() for reference in self.references(pod)}
            for auth in rendered.of_kind("TriggerAuthentication"):
                used |= {(item["name"], item["key"]) for item in auth["spec"]["secretTargetRef"]}
            for secret in rendered.of_kind("Secret"):
                for key in secret["data"]:
                    with self.subTest(values=name, key=key):
                        self.assertIn((secret["metadata"]["name"], key), used)

    def test_files_are_there(self):
        outside = {"services", "database-authority"}
        for name, rendered in matrix().items():
            there = {item["metadata"]["name"] for item in rendered.of_kind("ConfigMap")}
            for place, pod in rendered.pods():
                mounts = {mount["name"] for container in pod["spec"]["containers"] for mount in container.get("volumeMounts", [])}
                volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes", [])}
                with self.subTest(values=name, pod=place):
                    self.assertEqual(mounts, set(volumes))
                    for volume in volumes.values():
                        source = volume.get("configMap", {}).get("name") or volume.get("secret", {}).get("secretName")
                        if source:
                            self.assertIn(source, there | outside)

    def test_a_hook_needs_nothing_that_comes_later(self):
        for name, rendered in matrix().items():
            for job in rendered.of_kind("Job"):
                if not is_hook(job):
                    continue
                early = {item["metadata"]["name"] for item in rendered.of_kind("Secret") if is_hook(item)}
                late = {item["metadata"]["name"] for item in rendered.of_kind("Secret")} - early
                with self.subTest(values=name):
                    for secret, _ in self.references(job["spec"]["template"]):
                        self.assertNotIn(secret, late)
                    self.assertNotIn("serviceAccountName", job["spec"]["template"]["spec"])

    def test_a_planted_secret_is_in_secrets_only(self):
        for name, rendered in matrix().items():
            for item in rendered.objects:
                text = str(item)
                if item["kind"] == "Secret":
                    text = str({key: value for key, value in item.items() if key != "data"})
                with self.subTest(values=name, item=item["metadata"]["name"]):
                    self.assertNotIn("planted", text)
                    self.assertNotIn("flowmill-in-development", text)
            self.assertNotIn("planted", rendered.notes)

    def test_a_secret_holds_what_was_given(self):
        data = matrix()["production"].one("Secret", "mill-flow")["data"]
        read = {key: base64.b64decode(value).decode() for key, value in data.items()}
        self.assertEqual(read["redis-url"], "redis://:planted-redis@cache/0")
        # the owner's address is for the migration alone
        self.assertNotIn("postgres-migrate-url", read)
        own = matrix()["production"].one("Secret", "mill-flow-migrate")["data"]
        self.assertEqual(list(own), ["postgres-migrate-url"])

    def test_another_secret_restarts_what_reads_it(self):
        def marks(rendered: Rendered) -> dict:
            return {
                name: pod["metadata"]["annotations"]
                for name, pod in rendered.pods()
                if name.startswith("Deployment")
            }

        values = values_of("minimal")
        before = marks(render(values))
        after = marks(render(values | {"api": {"key": "another-key-0123456789"}}))
        self.assertEqual(before.keys(), after.keys())
        for name in before:
            self.assertNotEqual(before[name], after[name])


def given(values: object) -> set[tuple[str, str]]:
    """The keys of Secrets that values name as being there."""
    if isinstance(values, list):
        return {item for value in values for item in given(value)}
    if not isinstance(values, dict):
        return set()
    found = {item for value in values.values() for item in given(value)}
    if set(values) == {"name", "key"}:
        found.add((values["name"], values["key"]))
    return found


class Security(unittest.TestCase):
    def test_pods_are_restricted(self):
        for name, rendered in matrix().items():
            for place, pod in rendered.pods():
                with self.subTest(values=name, pod=place):
                    self.restricted(pod["spec"], "-dev-" in place)

    def restricted(self, spec: dict, is_server: bool) -> None:
        self.assertFalse(spec["automountServiceAccountToken"])
        # its variables would look like settings
        self.assertFalse(spec["enableServiceLinks"])
        self.assertTrue(spec["securityContext"]["runAsNonRoot"])
        self.assertEqual(spec["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"})
        for forbidden in ("hostNetwork", "hostPID", "hostIPC"):
            self.assertNotIn(forbidden, spec)
        for container in spec["containers"]:
            own = container["securityContext"]
            self.assertFalse(own["allowPrivilegeEscalation"])
            self.assertEqual(own["capabilities"], {"drop": ["ALL"]})
            self.assertEqual(own["readOnlyRootFilesystem"], not is_server)
            self.assertIn("memory", container["resources"]["limits"])
            self.assertIn("cpu", container["resources"]["requests"])
        for volume in spec.get("volumes", []):
            self.assertTrue({"emptyDir", "configMap", "secret"} & set(volume))

    def test_nothing_asks_for_rights_in_the_cluster(self):
        for rendered in matrix().values():
            kinds = {item["kind"] for item in rendered.objects}
            self.assertFalse(kinds & {"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"})

    def test_a_pod_is_given_the_time_that_it_drains(self):
        for name, rendered in matrix().items():
            for place, pod in rendered.pods():
                variables = {item["name"]: item.get("value") for item in pod["spec"]["containers"][0].get("env", [])}
                drain = variables.get("FLOWMILL_DRAIN")
                if drain:
                    with self.subTest(values=name, pod=place):
                        grace = pod["spec"]["terminationGracePeriodSeconds"]
                        self.assertEqual(grace, int(drain.removesuffix("s")) + 30)


class Policies(unittest.TestCase):
    def policies(self, rendered: Rendered, pod: dict, way: str) -> list:
        """The rules of one direction that hold for a pod."""
        return [
            rule
            for policy in rendered.of_kind("NetworkPolicy")
            if fits(policy["spec"]["podSelector"], labels(pod)) and way in policy["spec"]["policyTypes"]
            for rule in policy["spec"].get(way.lower(), [])
        ]

    def open_ports(self, rendered: Rendered, pod: dict) -> set:
        return {port["port"] for rule in self.policies(rendered, pod, "Egress") for port in rule["ports"]}

    def policed(self):
        for name, rendered in matrix().items():
            if rendered.of_kind("NetworkPolicy"):
                yield name, rendered

    def test_every_pod_is_closed_first(self):
        for name, rendered in self.policed():
            for place, pod in rendered.pods():
                with self.subTest(values=name, pod=place):
                    closed = [
                        policy
                        for policy in rendered.of_kind("NetworkPolicy")
                        if fits(policy["spec"]["podSelector"], labels(pod))
                        and not policy["spec"].get("ingress")
                        and not policy["spec"].get("egress")
                        and policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
                    ]
                    self.assertEqual(len(closed), 1)

    def test_a_policy_selects_pods(self):
        for name, rendered in self.policed():
            for policy in rendered.of_kind("NetworkPolicy"):
                selector = policy["spec"]["podSelector"]
                with self.subTest(values=name, policy=policy["metadata"]["name"]):
                    chosen = any(fits(selector, labels(pod)) for _, pod in rendered.pods())
                    wanted = selector["matchLabels"].get("app.kubernetes.io/component")
                    self.assertTrue(chosen or wanted in SOMETIMES)

    def test_named_ports_are_ports_of_the_pods(self):
        for name, rendered in self.policed():
            for place, pod in rendered.pods():
                for rule in self.policies(rendered, pod, "Ingress"):
                    for port in rule["ports"]:
                        with self.subTest(values=name, pod=place):
                            self.assertIn(port["port"], set(ports(pod)) | set(ports(pod).values()))

    def test_programs_reach_what_they_need_and_no_more(self):
        for name, rendered in self.policed():
            redis = any("REDIS" in str(pod) and "worker" in place for place, pod in rendered.pods())
            web = set() if name == "job" else {80, 443}
            separate = any(component(pod) == "webhooks" for _, pod in rendered.pods())
            traces = {4318} if name == "production" else set()
            servers = {53, 5432, 5672} | ({6379} if redis else set()) | traces
            wanted = {
                "scheduler": servers | (set() if separate else web),
                "webhooks": servers | web,
                "worker": servers | web | ({8000} if name == "production" else set()),
                "migrate": {53, 5432},
                "test": {53, "http"},
            }
            for place, pod in rendered.pods():
                with self.subTest(values=name, pod=place):
                    reached = self.open_ports(rendered, pod)
                    self.assertEqual(reached, wanted.get(component(pod), {53}))

    def test_private_networks_are_left_out(self):
        rendered = matrix()["minimal"]
        pod = rendered.one("Deployment", "mill-flowmill-worker-default")["spec"]["template"]
        blocks = [peer["ipBlock"] for rule in self.policies(rendered, pod, "Egress") for peer in rule.get("to", []) if "ipBlock" in peer]
        self.assertEqual([block["cidr"] for block in blocks], ["0.0.0.0/0"])
        self.assertLessEqual({"10.0.0.0/8", "169.254.0.0/16"}, set(blocks[0]["except"]))

    def test_servers_of_the_dev_set_are_reached_by_the_release_only(self):
        rendered = matrix()["dev"]
        for place, pod in rendered.pods():
            if "-dev-" not in place:
                continue
            rules = self.policies(rendered, pod, "Ingress")
            self.assertEqual(len(rules), 1, place)
            self.assertEqual([port["port"] for port in rules[0]["ports"]], list(ports(pod).values()))


if __name__ == "__main__":
    unittest.main()

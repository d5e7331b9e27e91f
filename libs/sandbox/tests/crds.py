"""What a Sandbox of the agent-sandbox project (v1beta1) and the core resources that we make have to look like.

Written from the published types (`api/v1beta1` of kubernetes-sigs/agent-sandbox) and Kubernetes' own, as far as a
sandbox of ours uses them. An API server drops fields that it does not know; here they
are refused, for a field that is dropped is a limit that does not hold.
"""

from typing import Any

from jsonschema import Draft202012Validator, FormatChecker

Schema = dict[str, Any]

_NAME = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
_LABEL = r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$"
STRING: Schema = {"type": "string"}
BOOLEAN: Schema = {"type": "boolean"}
TIME: Schema = {"type": "string", "format": "date-time", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"}
QUANTITY: Schema = {"type": "string", "pattern": r"^\d+(\.\d+)?(n|u|m|k|M|G|Ki|Mi|Gi)?$"}
PORT: Schema = {"type": "integer", "minimum": 1, "maximum": 65535}


def integer(least: int) -> Schema:
    return {"type": "integer", "minimum": least}


def obj(required: str = "", **properties: Schema) -> Schema:
    """An object of these fields and no others; the names of the required ones by blanks."""
    return {
        "type": "object",
        "properties": properties,
        "required": required.split(),
        "additionalProperties": False,
    }


def array(items: Schema, least: int = 0) -> Schema:
    return {"type": "array", "items": items, "minItems": least}


def enum(*values: str) -> Schema:
    return {"type": "string", "enum": list(values)}


LABELS: Schema = {"type": "object", "additionalProperties": {"type": "string", "pattern": _LABEL, "maxLength": 63}}
ANNOTATIONS: Schema = {"type": "object", "additionalProperties": STRING}
OWNER = obj("apiVersion kind name uid", apiVersion=STRING, kind=STRING, name=STRING, uid=STRING)
METADATA = obj(
    "name",
    name={"type": "string", "pattern": _NAME, "maxLength": 63},
    namespace=STRING,
    labels=LABELS,
    annotations=ANNOTATIONS,
    ownerReferences=array(OWNER),
)
RESOURCES = obj(
    "limits requests",
    limits=obj("cpu memory", cpu=QUANTITY, memory=QUANTITY),
    requests=obj(cpu=QUANTITY, memory=QUANTITY),
)
CONTAINER = obj(
    "name image resources securityContext",
    name={"type": "string", "pattern": _NAME},
    image={"type": "string", "minLength": 1},
    args=array(STRING),
    workingDir=STRING,
    env=array(obj("name value", name=STRING, value=STRING)),
    envFrom=array(obj("secretRef", secretRef=obj("name", name=STRING))),
    resources=RESOURCES,
    securityContext=obj(
        "",
        allowPrivilegeEscalation=BOOLEAN,
        privileged=BOOLEAN,
        readOnlyRootFilesystem=BOOLEAN,
        capabilities=obj(drop=array(STRING), add=array(STRING)),
    ),
    ports=array(obj("containerPort", containerPort=PORT, protocol=enum("TCP", "UDP", "SCTP"))),
    readinessProbe=obj(
        "",
        exec=obj("command", command=array(STRING, 1)),
        periodSeconds=integer(1),
        timeoutSeconds=integer(1),
        failureThreshold=integer(1),
    ),
    volumeMounts=array(
        obj(
            "name mountPath",
            name=STRING,
            mountPath={"type": "string", "pattern": "^/[^:]*$"},
            subPath={"type": "string", "not": {"pattern": r"(^/)|(^|/)\.\.(/|$)"}},
            readOnly=BOOLEAN,
        )
    ),
)
VOLUME: Schema = {
    "oneOf": [
        obj("name emptyDir", name=STRING, emptyDir=obj(medium=enum("", "Memory"), sizeLimit=QUANTITY)),
        obj(
            "name persistentVolumeClaim",
            name=STRING,
            persistentVolumeClaim=obj("claimName", claimName=STRING, readOnly=BOOLEAN),
        ),
    ]
}
POD_SPEC = obj(
    "containers",
    containers=array(CONTAINER, 1),
    volumes=array(VOLUME),
    restartPolicy=enum("Always", "OnFailure", "Never"),
    runtimeClassName=STRING,
    automountServiceAccountToken=BOOLEAN,
    enableServiceLinks=BOOLEAN,
    terminationGracePeriodSeconds=integer(0),
    hostAliases=array(obj("ip hostnames", ip=STRING, hostnames=array(STRING, 1))),
    dnsPolicy=enum("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"),
    dnsConfig=obj("", nameservers=array(STRING, 1), options=array(obj("name", name=STRING, value=STRING))),
    securityContext=obj(
        "",
        runAsNonRoot=BOOLEAN,
        runAsUser=integer(0),
        runAsGroup=integer(0),
        fsGroup=integer(0),
        fsGroupChangePolicy=enum("OnRootMismatch", "Always"),
        seccompProfile=obj("type", type=enum("RuntimeDefault", "Unconfined", "Localhost")),
    ),
)
POD_TEMPLATE = obj("spec", spec=POD_SPEC, metadata=obj(labels=LABELS, annotations=ANNOTATIONS))
BLUEPRINT: dict[str, Schema] = {
    "podTemplate": POD_TEMPLATE,
    "volumeClaimTemplates": {"type": "array"},
    "service": BOOLEAN,
}
SELECTOR = obj(matchLabels=LABELS)
PEER = obj(podSelector=SELECTOR, namespaceSelector=SELECTOR)
POLICY_PORT = obj("", protocol=enum("TCP", "UDP", "SCTP"), port=PORT)


def resource(api_version: str, kind: str, **rest: Schema) -> Schema:
    return obj(
        " ".join(["apiVersion", "kind", "metadata", *(name for name in rest if name == "spec")]),
        apiVersion={"const": api_version},
        kind={"const": kind},
        metadata=METADATA,
        **rest,
    )


_AGENTS = "agents.x-k8s.io/v1beta1"
SCHEMAS: dict[str, Schema] = {
    "Sandbox": resource(
        _AGENTS,
        "Sandbox",
        spec=obj(
            "podTemplate",
            **BLUEPRINT,
            operatingMode=enum("Running", "Suspended"),
            shutdownTime=TIME,
            shutdownPolicy=enum("Delete", "Retain"),
        ),
    ),
    "Secret": resource(
        "v1",
        "Secret",
        type=STRING,
        immutable=BOOLEAN,
        data={
            "type": "object",
            "propertyNames": {"pattern": r"^[-._a-zA-Z0-9]+$"},
            "additionalProperties": {"type": "string", "pattern": r"^[A-Za-z0-9+/]*={0,2}$"},
        },
    ),
    "NetworkPolicy": resource(
        "networking.k8s.io/v1",
        "NetworkPolicy",
        spec=obj(
            "podSelector",
            podSelector=SELECTOR,
            policyTypes=array(enum("Ingress", "Egress")),
            ingress=array(obj("", **{"from": array(PEER), "ports": array(POLICY_PORT)})),
            egress=array(obj(to=array(PEER), ports=array(POLICY_PORT))),
        ),
    ),
    "SelfSubjectAccessReview": obj(
        "apiVersion kind spec",
        apiVersion={"const": "authorization.k8s.io/v1"},
        kind={"const": "SelfSubjectAccessReview"},
        spec=obj(
            "resourceAttributes",
            resourceAttributes=obj("verb resource", namespace=STRING, verb=STRING, group=STRING, resource=STRING),
        ),
    ),
}


def faults(manifest: dict[str, Any]) -> list[str]:
    """Why a server would not take a manifest as it is meant; empty: it would."""
    schema = SCHEMAS.get(manifest.get("kind", ""))
    if schema is None:
        return [f"unknown kind {manifest.get('kind')}"]
    found = Draft202012Validator(schema, format_checker=FormatChecker()).iter_errors(manifest)
    return [f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in found]

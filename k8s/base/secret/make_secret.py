"""Creates a Secret with random values in the pod's own namespace; one that exists stays as it is.

    python3 make_secret.py NAME KEY…

Needs only Python's own library and a service account that may create secrets. Exit code 0 once the Secret is there.
"""

import json
import os
import secrets
import ssl
import sys
import urllib.error
import urllib.request
from pathlib import Path

ACCOUNT = Path(os.environ.get("SERVICE_ACCOUNT_FOLDER", "/var/run/secrets/kubernetes.io/serviceaccount"))
CREATED, EXISTS = 201, 409


def main(name: str, keys: list[str]) -> int:
    namespace = (ACCOUNT / "namespace").read_text().strip()
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    body = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/part-of": "zelda-hud"}},
        "type": "Opaque",
        # Letters and digits only: they stand in URLs and in Redis' ACL file.
        "stringData": {key: secrets.token_hex(24) for key in keys},
    }
    request = urllib.request.Request(
        f"https://{f'[{host}]' if ':' in host else host}:{port}/api/v1/namespaces/{namespace}/secrets",
        json.dumps(body).encode(),
        {"Content-Type": "application/json", "Authorization": f"Bearer {(ACCOUNT / 'token').read_text().strip()}"},
    )
    context = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    try:
        with urllib.request.urlopen(request, timeout=10, context=context) as response:
            status = response.status
    except urllib.error.HTTPError as error:
        status = error.code
        if status != EXISTS:
            print(f"the cluster answered {status}: {error.read().decode(errors='replace')[:500]}", file=sys.stderr)
            print(f"make it by hand: oc create secret generic {name} --from-literal=KEY=…", file=sys.stderr)
    print({CREATED: "created", EXISTS: "exists already"}.get(status, "failed"), f"secret {name}")
    return 0 if status in (CREATED, EXISTS) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))

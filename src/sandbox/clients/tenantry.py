"""What a step's script asks of tenantry, in Python 3.6 or later without other packages.

    import sys; sys.path.insert(0, "/opt/tenantry/lib")
    import tenantry

    key = tenantry.secret("stripe_api_key")         # text; masked in the logs from now on
    raw = tenantry.secret_bytes("signing_key")      # the same as bytes
    for version, state, value in tenantry.accepted("webhook_key"): ...
    tenantry.mask(derived)                          # a value made out of a secret
    tenantry.output("rows", 17)                     # `${{ steps.ID.outputs.rows }}` of later steps

Values are asked for when they are needed and kept nowhere. A refusal is `tenantry.Refused`, with `status` and `code`.
"""

import base64
import http.client
import json
import os
import re
import socket

__all__ = ["Refused", "accepted", "inputs", "mask", "output", "secret", "secret_bytes", "secrets"]

_TIMEOUT_S = 30


class Refused(Exception):
    """The broker said no. `code` is a word such as `not_declared` or `revoked`; the text says what to do."""

    def __init__(self, status, code, detail):
        super().__init__("%s (%s %s)" % (detail, status, code))
        self.status = status
        self.code = code


class _Connection(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_TIMEOUT_S)
        self.sock.connect(_variable("TENANTRY_SOCKET"))


def _variable(name):
    try:
        return os.environ[name]
    except KeyError:
        raise RuntimeError(name + " is not set: this works in a step only") from None


def _ask(method, path, body=None):
    connection = _Connection("broker")
    try:
        headers = {"Authorization": "Bearer " + _variable("TENANTRY_TOKEN")}
        connection.request(method, path, body=body, headers=headers)
        answer = connection.getresponse()
        content = answer.read()
    finally:
        connection.close()
    if 200 <= answer.status < 300:
        return content
    try:
        problem = json.loads(content.decode())
    except ValueError:
        problem = {}
    raise Refused(answer.status, problem.get("code", "error"), problem.get("detail", "refused"))


def _path(name, version):
    for word in (name, version):
        if word is not None and not re.match(r"[A-Za-z0-9_-]+\Z", word):
            raise ValueError("%r can be no name of a secret or version" % (word,))
    return "/v1/secrets/" + name + ("" if version is None else "?version=" + version)


def secret_bytes(name, version=None):
    """The value of a secret that this step declares: the current one, or that of a version by its id."""
    return _ask("GET", _path(name, version))


def secret(name, version=None):
    """The same as text, which it has to be: UTF-8."""
    return secret_bytes(name, version).decode()


def accepted(name):
    """Every version that is accepted now, as (version, state, value in bytes), the current one first."""
    versions = json.loads(_ask("GET", _path(name, "all")).decode())["versions"]
    return [(one["version"], one["state"], base64.b64decode(one["value_base64"])) for one in versions]


def secrets():
    """The names of the secrets that this step may ask for now."""
    return [one["name"] for one in json.loads(_ask("GET", "/v1/secrets").decode())["secrets"]]


def mask(value):
    """Masks a value, text or bytes, in this step's output from now on: one that was made out of a secret."""
    _ask("POST", "/v1/mask", value.encode() if isinstance(value, str) else bytes(value))


def inputs():
    """The inputs of this step, by name."""
    with open(_variable("TENANTRY_INPUT"), encoding="utf-8") as file:
        return json.load(file)


def output(name, value):
    """Sets one output of this step; a value is anything that JSON can hold."""
    path = _variable("TENANTRY_OUTPUT")
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except FileNotFoundError:
        text = ""
    outputs = json.loads(text) if text.strip() else {}
    outputs[name] = value
    text = json.dumps(outputs)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)

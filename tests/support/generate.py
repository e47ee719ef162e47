"""Requests made from openapi.yaml: some that its schemas allow, and some that they do not.

The same seed gives the same requests. A schema's own examples of text are few, so a pattern is met by
trying; what is made here is often refused for what a schema cannot say, which is as good.
"""
import json
import re
from urllib.parse import quote, urlencode

DEPTH = 5
WORDS = ["a", "web-1", "demo", "x9", "aa:bb:cc:dd:ee:ff", "52:54:00:00:00:01", "10.0.0.1", "10.0.0.0/24", "tty", "1",
         "2030-01-01T00:00:00Z", "http://127.0.0.1:9/none", "https://images.invalid/x", "6f9c6f2e-5c1b-4e55-9d2a-3f0c6c1a1b2c",
         "sha256:" + "0" * 64, "0" * 64, "/tmp/file", "a=b", "course-{n}", "%d", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJsNvZ0Rkw8oTVFjQWtqgB9kO0nQpUZ7c9k6sXb0Yt3h me",
         "q35", "10m", '"1"', "*", "raw"]
# What breaks programs: sizes, signs, encodings, quotes of every language on the way down.
HOSTILE = ["", " ", "\0", "a\nb", "\r\n\r\n", "../../etc/passwd", "'; DROP TABLE vms; --", "<script>", "]]>", "%n%s%x", "$(id)",
           "-rf", "--", "\u202e\u0000", "\ud7ff", "é" * 40, "x" * 300, "x" * 5000, "\x1b]0;t\x07", "null", "NaN", "{}",
           0, -1, 1, 2**31 - 1, 2**31, 2**32, 2**53, 2**63 - 1, 2**63, -2**63, 1e308, 0.1, True, False, None, [], {}, [[]],
           [None], {"": None}, {"x": {"x": {"x": {}}}}, ["a"] * 200]


# Headers that are wrong by themselves, whatever is asked for; None: the header is not sent at all. The last ones leave
# it unclear where the request ends: the daemon must not go on with the connection.
HEADERS = [("Content-Type", "text/plain"), ("Content-Type", "application/json; charset=latin1"), ("Content-Type", "x"), ("Content-Type", ""),
           ("Accept", "image/webp;q=0"), ("Accept", "x" * 4000), ("Accept-Encoding", "br, *;q=0"), ("Host", "evil.example"),
           ("Host", ""), ("Host", None), ("Host", "a, b"), ("Origin", "https://evil.example"), ("Origin", "null"),
           ("Authorization", "Basic eDp5"), ("Authorization", "Bearer"), ("Authorization", "Bearer " + "x" * 3000),
           ("Authorization", None), ("Cookie", "drover_session=" + "x" * 200), ("Cookie", ";=;=" * 50), ("Expect", "x"),
           ("Expect", "100-continue"), ("Upgrade", "websocket"), ("Connection", "Upgrade, keep-alive"), ("Range", "bytes=0-1"),
           ("X-Request-Id", "x" * 300), ("X-Request-Id", "a b"), ("X-HTTP-Method-Override", "DELETE"), ("Idempotency-Key", ""),
           ("Idempotency-Key", "x" * 300), ("If-Match", "nonsense"), ("If-Match", '"0", "1"'), ("If-None-Match", "*"),
           ("X-Forwarded-For", "127.0.0.1, ::1"), ("X-Long", "x" * 7000), ("X-Very-Long", "x" * 40000), ("X-\xe9", "\xe9\x01"),
           ("Content-Encoding", "gzip"), ("Last-Event-ID", "-1"), ("Sec-WebSocket-Protocol", "x" * 200),
           ("Transfer-Encoding", "xchunked"), ("Transfer-Encoding", "chunked, chunked"), ("Content-Length", "-1"), ("Content-Length", "+3"),
           ("Content-Length", "1e3"), ("Content-Length", "99999999999999999999"), ("Content-Length", "0, 3")]


class Generator:
    def __init__(self, contract, rng):
        self.contract, self.rng = contract, rng
        self.density = 0.35 # of what an object may have and need not
        self.texts, self.patterns = {}, {} # by a schema's identity: a document lives as long as the contract

    # ---- what a schema allows ----

    def value(self, schema, depth=0):
        rng, schema = self.rng, self.contract.resolve(schema)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return rng.choice(schema["enum"])
        for several in ("anyOf", "oneOf"):
            if several in schema and "properties" not in schema:
                return self.value(rng.choice(schema[several]), depth)
        if {"allOf", "anyOf", "oneOf"} & schema.keys():
            parts = [schema, *schema.get("allOf", ()), *(rng.choice(schema[k]) for k in ("anyOf", "oneOf") if k in schema)]
            return self._object(self._merged([self.contract.resolve(p) for p in parts]), depth)
        kind = schema.get("type", "object" if "properties" in schema else "string")
        kind = rng.choice(kind) if isinstance(kind, list) else kind
        return getattr(self, "_" + kind)(schema, depth)

    def _merged(self, parts):
        """One schema of several that say something of the same object."""
        whole = {"properties": {}, "required": []}
        for part in parts:
            if "allOf" in part and part is not parts[0]:
                part = self._merged([part, *map(self.contract.resolve, part["allOf"])])
            whole["properties"].update(part.get("properties", {}))
            whole["required"] += part.get("required", [])
        return whole

    def _null(self, schema, depth):
        return None

    def _boolean(self, schema, depth):
        return self.rng.random() < 0.5

    def _integer(self, schema, depth):
        low = schema.get("minimum", 0)
        high = schema.get("maximum", low + 1000)
        return self.rng.choice([low, high, self.rng.randint(low, high)])

    def _number(self, schema, depth):
        return self.rng.uniform(schema.get("minimum", 0), schema.get("maximum", 100))

    def _string(self, schema, depth):
        if id(schema) not in self.texts:
            pattern = re.compile(schema.get("pattern", ""))
            self.patterns[id(schema)] = pattern
            self.texts[id(schema)] = [w for w in [*schema.get("examples", []), *WORDS] if isinstance(w, str) and pattern.search(w)
                                      and schema.get("minLength", 0) <= len(w) <= schema.get("maxLength", 1 << 20)] or ["a"]
        fresh = f"n-{self.rng.getrandbits(24):x}" # a name that nobody has
        if self.rng.random() < 0.3 and self.patterns[id(schema)].search(fresh) and schema.get("maxLength", 9) > 8:
            return fresh
        return self.rng.choice(self.texts[id(schema)])

    def _array(self, schema, depth):
        low = schema.get("minItems", 0)
        count = low if depth > DEPTH else self.rng.randint(low, min(schema.get("maxItems", low + 3), low + 3))
        return [self.value(schema.get("items", {}), depth + 1) for _ in range(count)]

    def _object(self, schema, depth):
        members = schema.get("properties", {})
        names = [n for n in members if n in schema.get("required", ()) or (depth < DEPTH and self.rng.random() < self.density)]
        made = {n: self.value(members[n], depth + 1) for n in names}
        if isinstance(schema.get("additionalProperties"), dict) and self.rng.random() < 0.5:
            made[self.rng.choice(WORDS)] = self.value(schema["additionalProperties"], depth + 1)
        return made

    # ---- what it does not ----

    def places(self, value, path=()):
        yield path
        children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, child in children:
            yield from self.places(child, (*path, key))

    def spoil(self, value):
        """The value with one place in it replaced, added or taken away."""
        value = json.loads(json.dumps(value))
        path = self.rng.choice(list(self.places(value)))
        if not path:
            if isinstance(value, dict) and self.rng.random() < 0.7:
                return {**value, self.rng.choice(["x", "", "__proto__", "id", "a\0b"]): self.rng.choice(HOSTILE)}
            return self.rng.choice(HOSTILE)
        parent = value
        for key in path[:-1]:
            parent = parent[key]
        if self.rng.random() < 0.2:
            del parent[path[-1]]
        else:
            parent[path[-1]] = self.rng.choice(HOSTILE)
        return value

    def spoilt_text(self, value):
        """Bytes that are no JSON, or JSON that readers disagree about."""
        text = json.dumps(value).encode()
        cut = self.rng.randrange(len(text) + 1)
        return self.rng.choice([text[:cut], text + text, text[:cut] + b"\xff" + text[cut:], b"\xef\xbb\xbf" + text,
                                text.replace(b"}", b",}", 1), b"[" * 500 + text, text.replace(b'"', b"'"),
                                b'{"name": "a", "name": "b"}', b"{\"a\": 1e400}", b"", text + b" " * 70000])

    # ---- whole requests ----

    def parameters(self, operation, where):
        item = self.contract.document["paths"][operation.path]
        for node in [*item.get("parameters", ()), *operation.node.get("parameters", ())]:
            node = self.contract.resolve(node)
            if node["in"] == where:
                yield node

    def path(self, operation, known, hostile):
        """known: a thing that exists, by the parameter's name."""
        def segment(found):
            name = found[1]
            if hostile and self.rng.random() < 0.6:
                word = str(self.rng.choice(HOSTILE)) or "-"
            elif name in known and self.rng.random() < 0.8:
                word = known[name]
            else:
                word = self.rng.choice(WORDS)
            return quote(word.encode("utf-8", "surrogatepass"), safe="")
        return re.sub(r"\{([^}]+)\}", segment, operation.path)

    def query(self, operation, waits, hostile):
        """waits: parameters that make an answer wait: seldom there, and then as short as the contract lets them be."""
        made = {}
        for node in self.parameters(operation, "query"):
            if not node.get("required") and self.rng.random() < (0.97 if node["name"] in waits else 0.6):
                continue
            schema = self.contract.resolve(node["schema"])
            if node["name"] in waits and "minimum" in schema:
                made[node["name"]] = str(schema["minimum"])
            elif hostile and self.rng.random() < 0.5:
                made[node["name"]] = str(self.rng.choice(HOSTILE))
            else:
                value = self.value(node["schema"])
                made[node["name"]] = str(value).lower() if isinstance(value, bool) else str(value)
        if hostile and self.rng.random() < 0.2:
            made["unheard-of"] = "1"
        return made

    def body(self, operation, hostile):
        """(bytes, content type) or (None, None)."""
        content = self.contract.resolve(operation.node.get("requestBody", {})).get("content", {})
        if not content:
            return (b"{}", "application/json") if hostile and self.rng.random() < 0.1 else (None, None)
        kind = self.rng.choice(list(content))
        if "json" not in kind:
            return self.rng.randbytes(self.rng.choice([0, 1, 100, 5000])), kind
        self.density = self.rng.choice([0, 0.1, 0.35])
        value = self.value(content[kind]["schema"])
        if not hostile:
            return json.dumps(value).encode(), kind
        dice = self.rng.random()
        if dice < 0.15:
            return self.spoilt_text(value), kind
        if dice < 0.2:
            return json.dumps(value).encode(), self.rng.choice(["text/plain", "application/xml", "x", "application/json; charset=latin1"])
        return json.dumps(self.spoil(value), ensure_ascii=self.rng.random() < 0.5).encode("utf-8", "surrogatepass"), kind

    def headers(self, operation, kind, hostile):
        """A list of (name, value); what was said is replaced where a wrong one has the same name."""
        made = [("Content-Type", kind)] if kind else []
        for node in self.parameters(operation, "header"):
            if self.rng.random() < 0.15:
                made.append((node["name"], str(self.value(node["schema"]))))
        if hostile and self.rng.random() < 0.25:
            name, value = self.rng.choice(HEADERS)
            made = [(n, v) for n, v in made if n != name] + [(name, value)]
        return made

    def request(self, operation, known, hostile, fixed, waits=()):
        """(id, bytes, operation). fixed: headers of every request; known, waits: see above. The id is the request's own."""
        body, kind = self.body(operation, hostile)
        query = self.query(operation, waits, hostile)
        target = self.path(operation, known, hostile) + ("?" + urlencode(query, errors="surrogatepass") if query else "")
        ident = f"g-{self.rng.getrandbits(48):012x}"
        headers = {**fixed, "X-Request-Id": ident}
        if body is not None:
            headers["Content-Length"] = str(len(body))
        headers.update(self.headers(operation, kind, hostile))
        lines = [f"{operation.method} {target} HTTP/1.1", *(f"{n}: {v}" for n, v in headers.items() if v is not None)]
        text = "\r\n".join(re.sub(r"[\r\n]", "", line) for line in lines)
        return ident, (text + "\r\n\r\n").encode("latin-1", "replace") + (body or b""), operation

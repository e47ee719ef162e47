"""Requests made from openapi.yaml: some that its schemas allow, and some that they do not.

The same seed gives the same requests. A schema's own examples of text are few, so a pattern is met by
trying; what is made here is often refused for what a schema cannot say, which is as good.
"""
import json
import re
from urllib.parse import quote

DEPTH = 5
WORDS = ["a", "web-1", "demo", "x9", "aa:bb:cc:dd:ee:ff", "52:54:00:00:00:01", "10.0.0.1", "10.0.0.0/24", "tty", "1",
         "2030-01-01T00:00:00Z", "http://127.0.0.1:9/none", "https://images.invalid/x", "6f9c6f2e-5c1b-4e55-9d2a-3f0c6c1a1b2c",
         "sha256:" + "0" * 64, "0" * 64, "/tmp/file", "a=b", "course-{n}", "%d", "ssh-ed25519 AAAA", "q35", "10m"]
# What breaks programs: sizes, signs, encodings, quotes of every language on the way down.
HOSTILE = ["", " ", "\0", "a\nb", "\r\n\r\n", "../../etc/passwd", "'; DROP TABLE vms; --", "<script>", "]]>", "%n%s%x", "$(id)",
           "-rf", "--", "\u202e\u0000", "\ud7ff", "é" * 40, "x" * 300, "x" * 5000, "\x1b]0;t\x07", "null", "NaN", "{}",
           0, -1, 1, 2**31 - 1, 2**31, 2**32, 2**53, 2**63 - 1, 2**63, -2**63, 1e308, 0.1, True, False, None, [], {}, [[]],
           [None], {"": None}, {"x": {"x": {"x": {}}}}, ["a"] * 200]


class Generator:
    def __init__(self, contract, rng):
        self.contract, self.rng = contract, rng

    # ---- what a schema allows ----

    def value(self, schema, depth=0):
        rng, schema = self.rng, self.contract.resolve(schema)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return rng.choice(schema["enum"])
        for several in ("anyOf", "oneOf"):
            if several in schema:
                return self.value(rng.choice(schema[several]), depth)
        if "allOf" in schema:
            made = [self.value(part, depth) for part in schema["allOf"]]
            whole = {k: v for part in made if isinstance(part, dict) for k, v in part.items()}
            return whole or made[0]
        kind = schema.get("type", "object" if "properties" in schema else "string")
        kind = rng.choice(kind) if isinstance(kind, list) else kind
        return getattr(self, "_" + kind)(schema, depth)

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
        pattern = re.compile(schema.get("pattern", ""))
        fitting = [w for w in [*schema.get("examples", []), *WORDS] if isinstance(w, str) and pattern.search(w)
                   and schema.get("minLength", 0) <= len(w) <= schema.get("maxLength", 1 << 20)]
        return self.rng.choice(fitting or ["a"])

    def _array(self, schema, depth):
        low = schema.get("minItems", 0)
        count = low if depth > DEPTH else self.rng.randint(low, min(schema.get("maxItems", low + 3), low + 3))
        return [self.value(schema.get("items", {}), depth + 1) for _ in range(count)]

    def _object(self, schema, depth):
        members = schema.get("properties", {})
        names = [n for n in members if n in schema.get("required", ()) or (depth < DEPTH and self.rng.random() < 0.35)]
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
                                b'{"name": "a", "name": "b"}', b"{\"a\": 1e400}", b""])

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

    def query(self, operation, fixed, hostile):
        """fixed: parameters that only ever get this value, because others make an answer wait."""
        made = {}
        for node in self.parameters(operation, "query"):
            if not node.get("required") and self.rng.random() < 0.6:
                continue
            if node["name"] in fixed:
                made[node["name"]] = fixed[node["name"]]
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
        value = self.value(content[kind]["schema"])
        if not hostile:
            return json.dumps(value).encode(), kind
        dice = self.rng.random()
        if dice < 0.15:
            return self.spoilt_text(value), kind
        if dice < 0.2:
            return json.dumps(value).encode(), self.rng.choice(["text/plain", "application/xml", "x", "application/json; charset=latin1"])
        return json.dumps(self.spoil(value), ensure_ascii=self.rng.random() < 0.5).encode("utf-8", "surrogatepass"), kind

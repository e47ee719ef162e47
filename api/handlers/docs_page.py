#!/usr/bin/env python3
"""openapi.yaml as one static page: no script, no request to anywhere but its style sheet."""
import html
import json
import re

METHODS = ("get", "post", "put", "patch", "delete")


def esc(text):
    return html.escape(str(text), quote=True)


def inline(text):
    """Code, bold and line breaks of the little Markdown the contract uses."""
    parts = re.split(r"(`[^`]+`)", text)
    out = []
    for part in parts:
        if len(part) > 1 and part.startswith("`"):
            out.append(f"<code>{esc(part[1:-1])}</code>")
        else:
            out.append(re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", esc(part)))
    return "".join(out)


def prose(text):
    blocks = []
    for block in re.split(r"\n\s*\n", (text or "").strip()):
        if block.lstrip().startswith("- "):
            items = re.split(r"^\s*- ", block, flags=re.M)[1:]
            blocks.append("<ul>" + "".join(f"<li>{inline(' '.join(i.split()))}</li>" for i in items) + "</ul>")
        elif block:
            blocks.append(f"<p>{inline(' '.join(block.split()))}</p>")
    return "\n".join(blocks)


class Page:
    def __init__(self, contract):
        self.contract = contract

    def resolve(self, node):
        while isinstance(node, dict) and "$ref" in node:
            target = self.contract
            for part in node["$ref"][2:].split("/"):
                target = target[part.replace("~1", "/").replace("~0", "~")]
            node = target
        return node

    def type_of(self, schema):
        if "$ref" in schema and "/schemas/" in schema["$ref"]:
            name = schema["$ref"].rsplit("/", 1)[1]
            return f'<a href="#schema-{esc(name)}">{esc(name)}</a>'
        schema = self.resolve(schema)
        if "const" in schema:
            return f"<code>{esc(json.dumps(schema['const']))}</code>"
        if "enum" in schema:
            return " | ".join(f"<code>{esc(json.dumps(v) if v is None else v)}</code>" for v in schema["enum"])
        if "anyOf" in schema:
            return " | ".join(self.type_of(s) for s in schema["anyOf"])
        kind = schema.get("type", "any")
        if isinstance(kind, list):
            kind = " | ".join(kind)
        if kind == "array" and "items" in schema:
            return f"array of {self.type_of(schema['items'])}"
        limits = [f"{word} {schema[key]}" for key, word in
                  (("minimum", "from"), ("maximum", "to"), ("minLength", "at least"), ("maxLength", "at most"))
                  if key in schema]
        if "default" in schema:
            limits.append(f"default {json.dumps(schema['default'])}")
        return esc(kind) + (f" <small>({esc(', '.join(limits))})</small>" if limits else "")

    def members(self, schema, required=()):
        rows = []
        for name, sub in schema.get("properties", {}).items():
            resolved = self.resolve(sub)
            mark = " <small>required</small>" if name in required else ""
            note = inline(" ".join((sub.get("description") or resolved.get("description") or "").split()))
            rows.append(f"<tr><td><code>{esc(name)}</code>{mark}</td><td>{self.type_of(sub)}</td><td>{note}</td></tr>")
            inner = resolved.get("items", resolved) if "$ref" not in sub else {}
            if isinstance(inner, dict) and "$ref" not in inner and inner.get("properties"):
                rows.append(f'<tr class="nested"><td></td><td colspan="2">{self.members(inner, inner.get("required", ()))}</td></tr>')
        if not rows:
            return ""
        return ('<div class="wide"><table><thead><tr><th scope="col">Member</th><th scope="col">Type</th>'
                f'<th scope="col">Meaning</th></tr></thead><tbody>{"".join(rows)}</tbody></table></div>')

    def schema(self, name, schema):
        required = set(schema.get("required", ()))
        body = [f'<section id="schema-{esc(name)}"><h3>{esc(name)}</h3>', prose(schema.get("description", ""))]
        for part in schema.get("allOf", ()):
            body.append(f"<p>All members of {self.type_of(part)}" + (", and:" if schema.get("properties") else ".") + "</p>")
        table = self.members(schema, required)
        body.append(table if table else "" if schema.get("allOf") else f"<p>{self.type_of(schema)}</p>")
        body.append("</section>")
        return "\n".join(body)

    def examples(self, media):
        if "example" in media:
            yield "", media["example"]
        for name, example in media.get("examples", {}).items():
            example = self.resolve(example)
            yield example.get("summary", name), example["value"]

    def content(self, content):
        out = []
        for kind, media in content.items():
            if kind == "application/problem+json":
                continue
            out.append(f"<p><code>{esc(kind)}</code>: {self.type_of(media.get('schema', {}))}</p>")
            for title, value in self.examples(media):
                text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
                out.append(f"<details><summary>Example{': ' + esc(title) if title else ''}</summary><pre>{esc(text)}</pre></details>")
        return "\n".join(out)

    def parameters(self, parameters):
        if not parameters:
            return ""
        rows = []
        for parameter in map(self.resolve, parameters):
            mark = " <small>required</small>" if parameter.get("required") else ""
            rows.append(f"<tr><td><code>{esc(parameter['name'])}</code>{mark}</td><td>{esc(parameter['in'])}</td>"
                        f"<td>{self.type_of(parameter['schema'])}</td>"
                        f"<td>{inline(' '.join(parameter['description'].split()))}</td></tr>")
        return ('<div class="wide"><table><thead><tr><th scope="col">Parameter</th><th scope="col">In</th>'
                f'<th scope="col">Type</th><th scope="col">Meaning</th></tr></thead><tbody>{"".join(rows)}</tbody></table></div>')

    def responses(self, responses):
        out, problems = [], []
        for status, response in responses.items():
            response = self.resolve(response)
            problems += response.get("x-problems", [])
            if "x-problems" in response and list(response.get("content", {})) == ["application/problem+json"]:
                continue
            out.append(f"<h5>{esc(status)}</h5>{prose(response['description'])}")
            out.append(self.content(response.get("content", {})))
        links = " ".join(f'<a href="#problem-{esc(p)}"><code>{esc(p)}</code></a>' for p in problems)
        return "\n".join(out) + f'<p class="problems">Problems: {links}</p>'

    def operation(self, path, shared, method, operation):
        scope = operation["x-scope"]
        need = {"none": "no credential", "any": "any credential"}.get(scope, f"scope <code>{esc(scope)}</code>")
        out = [f'<article id="{esc(operation["operationId"])}">',
               f'<h4><span class="method {method}">{method.upper()}</span> <code>{esc(path)}</code></h4>',
               f"<p><strong>{esc(operation['summary'])}.</strong> <small>Needs {need}.</small></p>",
               prose(operation["description"]),
               self.parameters(shared + operation.get("parameters", []))]
        if "requestBody" in operation:
            out.append("<h5>Body</h5>" + self.content(operation["requestBody"]["content"]))
        out.append(self.responses(operation["responses"]))
        out.append("</article>")
        return "\n".join(out)

    def operations(self, tag):
        for path, item in self.contract["paths"].items():
            for method in METHODS:
                if method in item and tag in item[method]["tags"]:
                    yield path, item.get("parameters", []), method, item[method]


def table(head, rows):
    cells = "".join(f'<th scope="col">{esc(h)}</th>' for h in head)
    body = "".join("<tr>" + "".join(f"<td>{c}</td>" for c in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>'


def render(contract):
    page = Page(contract)
    info = contract["info"]
    nav, body = [], []
    for tag in contract["tags"]:
        rows = list(page.operations(tag["name"]))
        nav.append(f'<li><a href="#tag-{esc(tag["name"])}">{esc(tag["name"])}</a><ul>' + "".join(
            f'<li><a href="#{esc(o["operationId"])}">{esc(o["summary"])}</a></li>' for _, _, _, o in rows) + "</ul></li>")
        body.append(f'<section id="tag-{esc(tag["name"])}"><h2>{esc(tag["name"])}</h2>{prose(tag["description"])}')
        body += [page.operation(*row) for row in rows]
        body.append("</section>")
    body.append('<section id="schemas"><h2>Schemas</h2>')
    body += [page.schema(n, s) for n, s in contract["components"]["schemas"].items()]
    body.append('</section><section id="problems"><h2>Problems</h2>')
    for p in contract["x-problems"]:
        retry = " The same request may succeed later." if p["retry"] else ""
        body.append(f'<section id="problem-{esc(p["code"])}"><h3><code>{esc(p["code"])}</code> <small>{p["status"]}</small></h3>'
                    f"<p><strong>{esc(p['title'])}.</strong>{retry}</p>{prose(p['description'])}</section>")
    body.append('</section><section id="settings"><h2>Settings</h2>')
    body.append(table(("Setting", "Default", "Range", "Reloadable", "Meaning"), (
        (f"<code>{esc(s['name'])}</code>", f"<code>{esc(json.dumps(s['default']))}</code>",
         f"{s['minimum']} to {s['maximum']}" if "minimum" in s else esc(s["type"]),
         "yes" if s["reloadable"] else "no", inline(s["description"])) for s in contract["x-settings"])))
    body.append('</section><section id="metrics"><h2>Metrics</h2>')
    body.append(table(("Metric", "Type", "Labels", "Meaning"), (
        (f"<code>{esc(m['name'])}</code>", esc(m["type"]),
         " ".join(f"<code>{esc(label)}</code>" for label in m["labels"]), inline(m["help"])) for m in contract["x-metrics"])))
    body.append("</section>")
    nav += [f'<li><a href="#{i}">{i}</a></li>' for i in ("schemas", "problems", "settings", "metrics")]
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{esc(info['title'])} {esc(info['version'])} API</title>
<link rel="stylesheet" href="/assets/docs.css">
</head>
<body>
<a class="skip" href="#main">Skip to the contents</a>
<header><h1>{esc(info['title'])} <small>{esc(info['version'])}</small></h1><p>{esc(info['summary'])}
<a href="/openapi.yaml">openapi.yaml</a> · <a href="/openapi.json">openapi.json</a> · <a href="/">dashboard</a></p></header>
<nav aria-label="Contents"><ul>{"".join(nav)}</ul></nav>
<main id="main">
{prose(info['description'])}
{chr(10).join(body)}
</main>
</body>
</html>
"""

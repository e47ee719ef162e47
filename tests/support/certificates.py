"""Certificates for tests, made by the openssl command: an authority, what it signs, and contexts to trust it."""
import ssl
import subprocess
from pathlib import Path

EC = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]


def openssl(*words):
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True, timeout=60)


class Authority:
    """Authority(folder, "name").issue("localhost") -> (certificate, key), both paths."""

    def __init__(self, folder, name="authority"):
        self.folder, self.name = Path(folder), name
        self.certificate, self.key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        openssl("req", "-x509", *EC, "-keyout", self.key, "-out", self.certificate, "-subj", f"/CN={name}")

    def issue(self, common_name, names="DNS:localhost,IP:127.0.0.1", file=None, usage="serverAuth"):
        base = self.folder / (file or f"{self.name}-{common_name}")
        certificate, key = base.with_suffix(".crt"), base.with_suffix(".key")
        openssl("req", *EC, "-x509", "-CA", self.certificate, "-CAkey", self.key, "-keyout", key, "-out", certificate,
                "-subj", f"/CN={common_name}", "-addext", f"subjectAltName={names}",
                "-addext", f"extendedKeyUsage={usage}", "-addext", "basicConstraints=critical,CA:FALSE")
        return certificate, key

    def context(self, client=None):
        """What trusts it, and shows the client's (certificate, key)."""
        context = ssl.create_default_context(cafile=str(self.certificate))
        if client:
            context.load_cert_chain(*map(str, client))
        return context

"""An authority of a scenario's own, a certificate for localhost, and one for a client. Needs openssl's program."""

import subprocess

FILES = ("ca", "ca_key", "server", "server_key", "client", "client_key")


def make(folder):
    def openssl(*words, **how):
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True, **how)

    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    openssl("req", "-x509", *key, "-keyout", "ca_key.pem", "-out", "ca.pem", "-days", "2", "-subj", "/CN=conformance")
    for name, use in (("server", "serverAuth"), ("client", "clientAuth")):
        openssl("req", *key, "-keyout", f"{name}_key.pem", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        (folder / f"{name}.ext").write_text(
            f"subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage={use}\nbasicConstraints=CA:FALSE\n"
        )
        authority = ["-CA", "ca.pem", "-CAkey", "ca_key.pem", "-CAcreateserial"]
        openssl(
            *["x509", "-req", "-in", f"{name}.csr", *authority],
            *["-out", f"{name}.pem", "-days", "2", "-extfile", f"{name}.ext"],
        )

"""What Python's requests and httpx do by default: one is called as the other."""

import sys
from importlib import import_module

url, usuario, token, key, library = sys.argv[1:]
client = import_module(library)
asked = {"usuarioId": int(usuario), "tokenId": int(token)}
bought = client.post(f"{url}/compras", json=asked, headers={"Idempotency-Key": key, "Prefer": "wait=30"}, timeout=60)
print(bought.status_code, bought.text)
for path in ("", "/eventos"):
    read = client.get(url + bought.headers["Location"] + path, timeout=60)
    print(read.status_code, read.text)

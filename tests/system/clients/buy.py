"""What Python's requests does by default."""

import sys

import requests

url, usuario, token, key = sys.argv[1:]
asked = {"usuarioId": int(usuario), "tokenId": int(token)}
bought = requests.post(f"{url}/compras", json=asked, headers={"Idempotency-Key": key, "Prefer": "wait=30"}, timeout=60)
print(bought.status_code, bought.text)
for path in ("", "/eventos"):
    read = requests.get(url + bought.headers["Location"] + path, timeout=60)
    print(read.status_code, read.text)

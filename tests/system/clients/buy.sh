#!/bin/sh
# What curl does; the words behind the first four are its options.
url=$1 usuario=$2 token=$3 key=$4
shift 4
bought=$(curl -sS -i "$@" "$url/compras" -H "Content-Type: application/json" -H "Idempotency-Key: $key" -H "Prefer: wait=30" \
  -d "{\"usuarioId\": $usuario, \"tokenId\": $token}" | tr -d '\r')
echo "$bought" | sed -n '1s/^[^ ]* //p'
echo "$bought" | tail -1
place=$(echo "$bought" | sed -n 's/^[Ll]ocation: //p')
for path in "" /eventos; do
  curl -sS -w '%{http_code}\n' "$@" "$url$place$path"
done

// What Node's fetch does by default.
const [url, usuarioId, tokenId, key] = process.argv.slice(2);
const headers = { "Content-Type": "application/json", "Idempotency-Key": key, Prefer: "wait=30" };
const body = JSON.stringify({ usuarioId: Number(usuarioId), tokenId: Number(tokenId) });
const bought = await fetch(`${url}/compras`, { method: "POST", headers, body });
console.log(bought.status, await bought.text());
for (const path of ["", "/eventos"]) {
  const read = await fetch(url + bought.headers.get("Location") + path);
  console.log(read.status, await read.text());
}

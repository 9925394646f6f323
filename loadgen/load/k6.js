// Reads and purchases at fixed rates, by k6 (https://k6.io). With `make up` in another terminal:
//   k6 run loadgen/k6.js
//   k6 run -e FRONT=http://127.0.0.1:8000 -e TOKENS=http://127.0.0.1:8002 -e RATE=50 -e FOR=30s loadgen/k6.js
import http from "k6/http";
import { check } from "k6";

const FRONT = __ENV.FRONT || "http://127.0.0.1:8000";
const TOKENS = __ENV.TOKENS || "http://127.0.0.1:8002";
const RATE = Number(__ENV.RATE || 50);
const FOR = __ENV.FOR || "30s";

// An open model: what is due is sent, whatever the answers do.
function arrivals(exec, rate) {
  return { executor: "constant-arrival-rate", exec, rate, duration: FOR, preAllocatedVUs: 2 * rate, maxVUs: 20 * rate };
}

export const options = {
  scenarios: { reads: arrivals("read", RATE), purchases: arrivals("buy", RATE) },
  // It ends with an error when a purchase was not accepted, or a read not answered.
  thresholds: { checks: ["rate==1"] },
};

export function read() {
  check(http.get(`${TOKENS}/tokens`, { tags: { name: "GET /tokens" } }), { "200": (answer) => answer.status === 200 });
}

// One buyer and one token for all: the first purchase is sold, the others are refused. 202 says accepted, not decided.
export function buy() {
  const answer = http.post(`${FRONT}/compras`, JSON.stringify({ usuarioId: 1, tokenId: 101 }), {
    headers: { "Content-Type": "application/json", "Idempotency-Key": `k6-${Date.now()}-${__VU}-${__ITER}` },
    tags: { name: "POST /compras" },
  });
  check(answer, { "202": (got) => got.status === 202 });
}

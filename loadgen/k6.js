// Purchases at a fixed rate, each followed to its end:
//   k6 run loadgen/k6.js                                    50 a second for 30 s
//   k6 run -e RATE=200 -e SECONDS=60 -e URL=http://... loadgen/k6.js
import http from 'k6/http';
import { check } from 'k6';
import { Trend } from 'k6/metrics';

const url = __ENV.URL || 'http://127.0.0.1:8000';
const rate = Number(__ENV.RATE || 50);
// Milliseconds from the POST to the purchase's end.
const toTheEnd = new Trend('purchase_to_end', true);

export const options = {
  scenarios: {
    // Arrivals do not wait for answers: an outage cannot hide behind requests that were not sent.
    purchases: {
      executor: 'constant-arrival-rate',
      rate,
      timeUnit: '1s',
      duration: `${Number(__ENV.SECONDS || 30)}s`,
      preAllocatedVUs: rate,
      maxVUs: 10 * rate,
    },
  },
  thresholds: { checks: ['rate==1'] },
};

// One key for each purchase, and the same when it is asked again: k6 ends before a purchase is bought twice.
export default function () {
  const key = `k6-${__ENV.RUN || Date.now()}-${__VU}-${__ITER}`;
  const body = JSON.stringify({ usuarioId: 1 + Math.floor(Math.random() * 3), tokenId: 101 + Math.floor(Math.random() * 2) });
  const headers = { 'Content-Type': 'application/json', 'Idempotency-Key': key, Prefer: 'wait=20' };
  const asked = Date.now();
  const answer = http.post(`${url}/compras`, body, { headers, timeout: '30s' });
  check(answer, {
    'accepted (202), or at its end already (200)': (it) => it.status === 202 || it.status === 200,
    'the same key is the same purchase': (it) => it.status !== 200 || it.json('id') === http.post(`${url}/compras`, body, { headers }).json('id'),
  });
  if (answer.status === 200) toTheEnd.add(Date.now() - asked);
}

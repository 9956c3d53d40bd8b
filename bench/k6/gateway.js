// Scenarios against a gateway at BASE_URL: docs/performance-tests.md says what each asks for and which variables there are.
// Nothing is imported from elsewhere, so it runs without the internet.
import { check, sleep } from 'k6';
import http from 'k6/http';
import { Counter, Trend } from 'k6/metrics';

import { summary } from './summary.js';

const BASE = (__ENV.BASE_URL || '').replace(/\/+$/, '');
const KEY = __ENV.API_KEY || __ENV.LLM_GATEWAY_MASTER_KEY || '';
const MODEL = __ENV.MODEL || 'gpt-4o-mini';
const LENGTH = Number(__ENV.LENGTH || 20); // seconds of a scenario
const SOAK = Number(__ENV.SOAK || 3 * LENGTH);
const CAPACITY = Number(__ENV.CAPACITY || 0); // requests a second; measured by the scenario `peak`
const DELAY_MS = Number(__ENV.OVERLOAD_DELAY_MS || 400); // what the mock upstream takes for an answer
const CHUNKS = 20;
const OVERLOAD = 3;
const PAUSE = 1; // seconds between scenarios

const chosen = (__ENV.SCENARIOS || 'chat,safety,stream,spike,soak,overload').split(',');

const admitted = new Counter('admitted');
const refused = new Counter('refused');
const admittedMs = new Trend('admitted_ms', true);
const refusedMs = new Trend('refused_ms', true);
const overheadMs = new Trend('gateway_overhead_ms', true);

const arrival = (rate) => ({
  executor: 'constant-arrival-rate',
  rate: Math.max(1, Math.round(rate)),
  timeUnit: '1s',
  duration: `${LENGTH}s`,
  preAllocatedVUs: Math.max(10, Math.round(rate * 0.4)),
  maxVUs: Math.max(20, Math.round(rate * 1.5)),
  exec: 'slow',
});

// What runs, in this order; `also` starts together with the one before it.
const table = [
  { name: 'chat', seconds: LENGTH, run: { executor: 'constant-vus', vus: 5, duration: `${LENGTH}s`, exec: 'chat' } },
  { name: 'safety', seconds: LENGTH, run: { executor: 'constant-vus', vus: 5, duration: `${LENGTH}s`, exec: 'safety' } },
  { name: 'stream', seconds: LENGTH, run: { executor: 'constant-vus', vus: 10, duration: `${LENGTH}s`, exec: 'stream' } },
  {
    name: 'spike',
    seconds: LENGTH,
    run: {
      executor: 'ramping-vus',
      startVUs: 10,
      stages: [
        { target: 10, duration: `${LENGTH * 0.3}s` },
        { target: 100, duration: `${LENGTH * 0.1}s` },
        { target: 100, duration: `${LENGTH * 0.2}s` },
        { target: 10, duration: `${LENGTH * 0.1}s` },
        { target: 10, duration: `${LENGTH * 0.3}s` },
      ],
      exec: 'paced',
    },
  },
  { name: 'soak', seconds: SOAK, run: { executor: 'constant-vus', vus: 10, duration: `${SOAK}s`, exec: 'paced' } },
  { name: 'peak', seconds: LENGTH, run: { executor: 'constant-vus', vus: 64, duration: `${LENGTH}s`, exec: 'slow' } },
  { name: 'capacity', seconds: LENGTH, of: 'overload', run: arrival(CAPACITY) },
  { name: 'overload', seconds: LENGTH, run: arrival(OVERLOAD * CAPACITY) },
  {
    name: 'live',
    seconds: LENGTH,
    of: 'overload',
    also: true,
    run: { executor: 'constant-vus', vus: 1, duration: `${LENGTH}s`, exec: 'live' },
  },
];

const limits = {
  chat: { 'http_req_duration{scenario:chat}': ['p(95)<=50'], 'http_req_failed{scenario:chat}': ['rate<0.001'] },
  safety: {
    'http_req_duration{scenario:safety}': ['p(95)<=80'],
    'http_req_failed{scenario:safety}': ['rate<0.001'],
    'checks{scenario:safety}': ['rate>0.999'],
  },
  stream: {
    'http_req_waiting{scenario:stream}': ['p(95)<=50'],
    'http_req_failed{scenario:stream}': ['rate<0.001'],
    'checks{scenario:stream}': ['rate>0.999'],
  },
  spike: { 'http_req_duration{scenario:spike}': ['p(95)<=250'], 'http_req_failed{scenario:spike}': ['rate<0.001'] },
  soak: { 'http_req_duration{scenario:soak}': ['p(95)<=50'], 'http_req_failed{scenario:soak}': ['rate<0.001'] },
  peak: { 'admitted{scenario:peak}': ['count>0'], 'http_req_failed{scenario:peak}': ['rate<0.001'] },
  overload: {
    'admitted_ms{scenario:capacity}': ['p(99)>0'],
    'admitted{scenario:overload}': [`count>=${Math.floor(0.9 * CAPACITY * LENGTH)}`],
    'admitted_ms{scenario:overload}': ['p(99)>0'],
    'refused_ms{scenario:overload}': ['p(95)<=1500'],
    'checks{scenario:overload}': ['rate>0.999'],
    'http_req_failed{scenario:overload}': ['rate<0.001'],
    // The generator has to have sent what was asked for.
    'dropped_iterations{scenario:overload}': [`count<=${Math.ceil(0.02 * OVERLOAD * CAPACITY * LENGTH)}`],
    'http_req_duration{scenario:live}': ['p(95)<=100'],
    'http_req_failed{scenario:live}': ['rate==0'],
  },
};

function scenarios() {
  const found = {};
  let start = 0;
  let last = 0;
  for (const row of table) {
    if (!chosen.includes(row.of || row.name)) continue;
    const startTime = row.also ? last : start;
    found[row.name] = { ...row.run, startTime: `${startTime}s`, gracefulStop: '5s' };
    last = startTime;
    start = Math.max(start, startTime + row.seconds + PAUSE);
  }
  return found;
}

if (!BASE) throw new Error('BASE_URL is not set');
if (chosen.includes('overload') && !CAPACITY) throw new Error('CAPACITY is not set; bench.k6.run measures it');

export const options = {
  scenarios: scenarios(),
  thresholds: Object.assign({}, ...chosen.map((name) => limits[name] || {})),
  summaryTrendStats: ['avg', 'min', 'med', 'p(90)', 'p(95)', 'p(99)', 'max'],
  discardResponseBodies: false,
  userAgent: 'tollhouse-k6',
};

const params = {
  headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${KEY}` },
  responseCallback: http.expectedStatuses(200),
};

function ask(text, more, options) {
  const body = { model: MODEL, messages: [{ role: 'user', content: text }], max_tokens: CHUNKS, ...more };
  return http.post(`${BASE}/v1/chat/completions`, JSON.stringify(body), options || params);
}

function noteOverhead(response) {
  const us = Number(response.headers['X-Gateway-Overhead-Us']);
  if (us >= 0) overheadMs.add(us / 1000);
}

export function chat() {
  const response = ask('Say in one sentence what a toll house was.');
  noteOverhead(response);
  check(response, { 'an answer': (r) => r.status === 200 && r.json('object') === 'chat.completion' });
  sleep(0.05);
}

// Personal data in it: what looks into requests has work to do, and has to say that it did it.
export function safety() {
  const person = `kim.larsen${__ITER}@example.com`;
  const response = ask(`Write to ${person}, card 4111 1111 1111 1111, that the gate is open. ${'It was closed for a week. '.repeat(20)}`);
  noteOverhead(response);
  check(response, {
    'an answer': (r) => r.status === 200,
    'the scan ran': (r) => (r.headers['X-Gateway-Guards'] || '').includes('scan;ran'),
    'the request was changed': (r) => r.headers['X-Gateway-Decision'] === 'TRANSFORMED',
  });
  sleep(0.05);
}

export function stream() {
  const response = ask('Tell me of the gate.', { stream: true, seed: 5000 });
  check(response, {
    'a whole stream': (r) => r.status === 200 && r.body.trimEnd().endsWith('data: [DONE]'),
    'with content': (r) => r.status === 200 && r.body.split('"content":').length > 2,
  });
}

export function paced() {
  const response = ask('Say in one sentence what a toll house was.');
  check(response, { 'an answer': (r) => r.status === 200 });
  sleep(0.1);
}

const orRefused = { ...params, responseCallback: http.expectedStatuses(200, 429, 503) };

export function slow() {
  const response = ask('Take your time.', { seed: DELAY_MS * 1000 }, orRefused);
  if (response.status === 200) {
    admitted.add(1);
    admittedMs.add(response.timings.duration);
  } else {
    refused.add(1);
    refusedMs.add(response.timings.duration);
  }
  check(response, {
    'an answer, or a refusal that says when to come again': (r) =>
      r.status === 200 || ((r.status === 429 || r.status === 503) && Number(r.headers['Retry-After']) >= 0),
  });
}

// What operators look at while the rest of the gateway is full.
export function live() {
  http.get(`${BASE}/health`, params);
  http.get(`${BASE}/health/ready`, params);
  http.get(`${BASE}/v1/models`, params);
  if (__ENV.ADMIN_KEY) {
    http.get(`${BASE}/admin/keys`, { ...params, headers: { 'X-Admin-API-Key': __ENV.ADMIN_KEY } });
  }
  sleep(0.2);
}

export function handleSummary(data) {
  return summary(data, {
    folder: __ENV.REPORT_DIR || '.',
    where: BASE,
    scenarios: Object.keys(options.scenarios),
    seconds: LENGTH,
    comparisons: chosen.includes('overload')
      ? [
          {
            scenario: 'overload',
            name: 'p99 of what is admitted at three times the capacity, at most twice that at once',
            metric: 'admitted_ms',
            of: 'overload',
            than: 'capacity',
            stat: 'p(99)',
            times: 2,
          },
        ]
      : [],
  });
}

// What is written at the end of a run: junit.xml for a CI, summary.html for people, summary.json for programs.

const TREND = ['med', 'p(95)', 'p(99)', 'max'];

const escape = (text) =>
  String(text).replace(/[&<>"']/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&apos;' })[c]);

const rounded = (value) => (typeof value === 'number' ? Number(value.toPrecision(4)) : value);

const submetric = (data, name, scenario) => data.metrics[`${name}{scenario:${scenario}}`];

// `http_req_duration{scenario:chat}` -> chat; what belongs to no scenario belongs to the run.
function scenarioOf(metric) {
  const found = /\{scenario:(\w+)\}/.exec(metric);
  return found ? found[1] : 'run';
}

// The value that a threshold like `p(95)<=50` looks at.
function actual(values, threshold) {
  const stat = threshold.split(/[<>=!]/)[0].trim();
  return rounded(values[stat]);
}

function thresholds(data) {
  const found = [];
  for (const [metric, { values, thresholds: own }] of Object.entries(data.metrics)) {
    for (const [threshold, { ok }] of Object.entries(own || {})) {
      const name = `${metric}: ${threshold}`;
      found.push({ scenario: scenarioOf(metric), name, ok, actual: actual(values, threshold) });
    }
  }
  return found;
}

function compared(data, { scenario, name, metric, of, than, stat, times }) {
  const [left, right] = [of, than].map((one) => (submetric(data, metric, one) || { values: {} }).values[stat]);
  const ok = left > 0 && left <= times * right; // false if either is missing
  return { scenario, name, ok, actual: `${rounded(left)} against ${rounded(right)}` };
}

function junit(cases, seconds) {
  const suites = [...new Set(cases.map((one) => one.scenario))].map((suite) => {
    const own = cases.filter((one) => one.scenario === suite);
    const lines = own.map(({ name, ok, actual: value }) => {
      const head = `    <testcase classname="k6.${escape(suite)}" name="${escape(name)}" time="${seconds}"`;
      return ok ? `${head}/>` : `${head}><failure message="was ${escape(value)}"/></testcase>`;
    });
    const failures = own.filter((one) => !one.ok).length;
    return [`  <testsuite name="${escape(suite)}" tests="${own.length}" failures="${failures}">`, ...lines, '  </testsuite>'].join('\n');
  });
  return ['<?xml version="1.0" encoding="UTF-8"?>', '<testsuites>', ...suites, '</testsuites>', ''].join('\n');
}

function html(cases, trends, where) {
  const verdict = ({ ok }) => `<td class="${ok ? 'ok' : 'failed'}">${ok ? 'ok' : 'FAILED'}</td>`;
  const rows = cases.map((one) => `<tr>${verdict(one)}<td>${escape(one.scenario)}</td><td>${escape(one.name)}</td><td class="n">${escape(one.actual)}</td></tr>`);
  const top = Math.max(1, ...trends.map((one) => one.values['p(99)'] || 0));
  const bar = (values) => `<div style="width:${Math.max(1, (100 * (values['p(99)'] || 0)) / top)}%"><i style="width:${(100 * (values.med || 0)) / (values['p(99)'] || 1)}%"></i></div>`;
  const spread = trends.map(
    ({ name, values }) => `<tr><td>${escape(name)}</td>${TREND.map((stat) => `<td class="n">${rounded(values[stat])}</td>`).join('')}<td class="bar">${bar(values)}</td></tr>`,
  );
  return `<!doctype html><meta charset="utf-8"><title>Performance of ${escape(where)}</title>
<style>body{font:14px sans-serif;margin:2em}table{border-collapse:collapse;margin:1em 0}td,th{padding:.3em .8em;border-bottom:1px solid #ddd;text-align:left}
.n{text-align:right}.ok{color:#1e8449}.failed{color:#c0392b;font-weight:bold}.bar{width:20em}.bar div{background:#d6dbdf;height:.8em}.bar i{display:block;background:#5d6d7e;height:.8em}</style>
<h1>Performance of ${escape(where)}</h1><p>${cases.filter((one) => one.ok).length} of ${cases.length} thresholds held.</p>
<table><tr><th></th><th>scenario</th><th>threshold</th><th>was</th></tr>
${rows.join('\n')}</table>
<table><tr><th>milliseconds</th>${TREND.map((stat) => `<th>${stat}</th>`).join('')}<th>p50 in p99</th></tr>
${spread.join('\n')}</table>
`;
}

function text(cases, where) {
  const lines = cases.map((one) => `  ${one.ok ? 'ok    ' : 'FAILED'} ${one.scenario.padEnd(9)} ${one.name} (was ${one.actual})`);
  return [`${where}: ${cases.filter((one) => one.ok).length} of ${cases.length} thresholds held`, ...lines, ''].join('\n');
}

// The files of a run, by path, and what goes to standard output.
export function summary(data, { folder, where, scenarios, seconds, comparisons }) {
  const cases = [...thresholds(data), ...comparisons.map((one) => compared(data, one))];
  const trends = Object.entries(data.metrics)
    .filter(([name, { type }]) => type === 'trend' && name.includes('{scenario:'))
    .map(([name, { values }]) => ({ name, values }));
  const peak = submetric(data, 'admitted', 'peak');
  const report = {
    where,
    scenarios,
    seconds,
    failed: cases.filter((one) => !one.ok).map((one) => `${one.scenario}: ${one.name}`),
    cases,
    peak_rps: peak ? peak.values.count / seconds : null,
    metrics: data.metrics,
  };
  return {
    stdout: text(cases, where),
    [`${folder}/junit.xml`]: junit(cases, seconds),
    [`${folder}/summary.html`]: html(cases, trends, where),
    [`${folder}/summary.json`]: JSON.stringify(report, null, 1),
  };
}

// node test/mqtt/conformance/list.mjs > docs/mqtt-conformance.md: the statements that tests are named by.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const here = import.meta.dirname;
const files = [
  ...readdirSync(here)
    .filter((name) => name.endsWith('.test.ts'))
    .map((name) => join(here, name)),
  join(here, '../../wire/mqtt/codec.test.ts'),
];
const rows = [];
for (const file of files) {
  const name = file.slice(file.lastIndexOf('/test/') + 6);
  for (const [, text] of readFileSync(file, 'utf8').matchAll(
    /(?:it(?:\.each\([^)]*\))?\(\s*|^ {4}\[)'([^'\n]*(?:MQTT-[0-9]|[0-9]\.[0-9]+\.[0-9]|4\.9)[^'\n]*)'/gm,
  )) {
    const ids = [...text.matchAll(/MQTT-[\d.]+-\d+(?: (?:to|and) -\d+)*|MQTT-[\d.]+\d/g)].map(([id]) => id);
    rows.push([
      ids.length > 0 ? ids.join(', ') : (/^\d[\d.]+/.exec(text)?.[0] ?? 'wire format'),
      text.replaceAll('|', '\\|'),
      name,
    ]);
  }
}
rows.sort((a, b) => a[0].localeCompare(b[0], 'en', { numeric: true }));
console.log(
  '# MQTT conformance\n\nGenerated from the tests by `node test/mqtt/conformance/list.mjs`. Deviations: [mqtt.md](mqtt.md).\n',
);
console.log('| statement | test | file |\n|---|---|---|');
for (const row of rows) console.log(`| ${row.join(' | ')} |`);

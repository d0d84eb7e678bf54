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
console.log(`## Public suites

| suite | how it runs | result |
|---|---|---|
| Eclipse Paho interoperability suite (eclipse-paho/paho.mqtt.testing), \`client_test.py\`, MQTT 3.1.1 | by hand: it is not published as a package | 10 of 10 |
| the same, \`client_test5.py\`, MQTT 5.0, with \`mqtt.keep.alive.max.ms: 60000\` | by hand | 26 of 27. \`test_subscribe_failure\`: the suite takes no SUBACK reason but 0x80; we say 0x87 (not authorized), as 3.9.3 has it |
| functional tests of Paho's Go client (its published module) | CI, \`test/interop/paho-go.test.ts\` | all; what tests the client alone and takes long is left out |
| Mosquitto's clients, MQTT.js | CI, \`test/interop\` | all |

## Statements
`);
console.log('| statement | test | file |\n|---|---|---|');
for (const row of rows) console.log(`| ${row.join(' | ')} |`);

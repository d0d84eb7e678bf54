import { expect, test } from 'vitest';
import { createHandlers } from '../../src/kafka/handlers.ts';

const intro = `# Kafka protocol

<!-- Made from src/kafka/handlers.ts by test/kafka/reference.test.ts (npx vitest run test/kafka/reference -u). -->

What this broker serves, by API key, and where it does something else than Apache Kafka 4.3. What is not in the table is
not served: the connection is closed, as Kafka does, and clients see it missing in ApiVersions beforehand. No feature is
finalized: clients stay on transaction protocol V1 and on the classic consumer group protocol.

| key | API | versions | how it differs from Apache Kafka |
|---|---|---|---|
`;

test('docs/kafka.md lists every API that is served, its versions and its deviations', async () => {
  const rows = createHandlers()
    .all()
    .map(({ api, deviations = [] }) => {
      const [min, max] = api.range;
      const versions = api.advertise[0] < min ? `${min}-${max} (advertised from ${api.advertise[0]})` : `${min}-${max}`;
      return `| ${api.key} | ${api.name} | ${versions} | ${deviations.join(' ')} |\n`;
    });
  expect(rows.length).toBeGreaterThanOrEqual(46);
  await expect(intro + rows.join('')).toMatchFileSnapshot('../../docs/kafka.md');
});

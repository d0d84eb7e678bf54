/** All message tables, found by looking into the folder. */
import { readdirSync } from 'node:fs';
import type { Api } from '../../../src/wire/kafka/schema.ts';

const folder = new URL('../../../src/wire/kafka/api/', import.meta.url);

export const apis: Api[] = [];
for (const file of readdirSync(folder)) {
  const module = (await import(new URL(file, folder).href)) as Record<string, Api>;
  apis.push(...Object.values(module));
}

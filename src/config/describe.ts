/** The broker's settings as Kafka's DescribeConfigs shows them: every row, its value in force, whether it is the default. */
import type { Config } from './config.ts';
import type { Row } from './rows.ts';
import { SETTINGS } from './settings.ts';

export interface DescribedSetting {
  readonly name: string;
  /** null: not set, or a secret. */
  readonly value: string | null;
  readonly isDefault: boolean;
  readonly sensitive: boolean;
  readonly doc: string;
}

export function* describeSettings(config: Config): Iterable<DescribedSetting> {
  for (const row of SETTINGS as readonly Row[]) {
    const value = (config.settings as unknown as Record<string, unknown>)[row.name];
    const sensitive = row.kind === 'secret';
    const text = value === null || value === undefined ? null : Array.isArray(value) ? value.join(',') : String(value);
    const isDefault = text === (row.default === null ? null : String(row.default));
    yield { name: row.name, value: sensitive ? null : text, isDefault, sensitive, doc: row.doc };
  }
}

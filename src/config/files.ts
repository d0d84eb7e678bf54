/**
 * The files that settings name, looked at before anything starts: one that cannot be read is a mistake with its line like
 * any other, and not a failure that a service manager tries again and again.
 */
import { access, constants, stat } from 'node:fs/promises';
import type { Config } from './config.ts';
import type { Row } from './rows.ts';
import { LINK_FIELDS } from './sections.ts';
import { SETTINGS } from './settings.ts';
import { unreadable } from './unreadable.ts';
import type { Report } from './validate.ts';

export async function checkFiles({ settings, links }: Config, report: Report): Promise<void> {
  await checkRows(SETTINGS, settings, '', report);
  for (const [name, link] of links) await checkRows(LINK_FIELDS, link, `links.${name}.`, report);
}

async function checkRows(rows: readonly Row[], values: object, prefix: string, report: Report): Promise<void> {
  for (const { kind, name } of rows) {
    // The data directory is made when it is missing.
    if (kind !== 'path' || name === 'data.dir') continue;
    const file = (values as Readonly<Record<string, unknown>>)[name];
    if (typeof file !== 'string') continue;
    const why = await whyUnreadable(file);
    if (why !== null) report(`${prefix}${name}`, `${file}: ${why}`);
  }
}

/** Asked, not read: what is read from a pipe is gone. */
async function whyUnreadable(file: string): Promise<string | null> {
  try {
    await access(file, constants.R_OK);
    return (await stat(file)).isDirectory() ? unreadable({ code: 'EISDIR' }) : null;
  } catch (error) {
    return unreadable(error);
  }
}

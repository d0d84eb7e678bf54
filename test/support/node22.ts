/** Clients that need a newer Node.js than ours: npm's packages with its binary in them, under .cache on first use. */
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { mustRun } from './process.ts';

const CACHE = fileURLToPath(new URL('../../.cache/node22/', import.meta.url));
const NODE = '22.23.3';

/** Paths of a Node.js 22 and of a directory whose node_modules has `packages` (`NAME@VERSION`). */
export async function node22With(...packages: string[]): Promise<{ node: string; directory: string }> {
  const binary = `node-${process.platform}-${process.arch}`;
  const directory = join(CACHE, packages.join('+').replaceAll(/[/@]/g, '-'));
  const node = join(directory, 'node_modules', binary, 'bin/node');
  if (!existsSync(join(directory, 'complete'))) {
    mkdirSync(directory, { recursive: true });
    const wanted = [`${binary}@${NODE}`, ...packages];
    // Its engines are those of the Node that runs it, not of ours.
    const flags = ['--no-save', '--no-audit', '--no-fund', '--ignore-scripts', '--engine-strict=false'];
    for (let attempt = 1; ; attempt++) {
      try {
        await mustRun('npm', ['install', '--prefix', directory, ...flags, ...wanted], { timeoutMs: 240_000 });
        break;
      } catch (error) {
        if (attempt === 3) throw error;
      }
    }
    await mustRun('touch', [join(directory, 'complete')]);
  }
  return { node, directory };
}

/** Tests of real processes run what is in dist/: it is built first when a source is newer. */
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

function newest(directory: string): number {
  let time = 0;
  for (const entry of readdirSync(directory, { withFileTypes: true, recursive: true })) {
    if (entry.isFile() && /\.(ts|js|css|html|svg)$/.test(entry.name) && !entry.parentPath.includes('node_modules')) {
      time = Math.max(time, statSync(join(entry.parentPath, entry.name)).mtimeMs);
    }
  }
  return time;
}

export default function setup(): void {
  // Then nothing of ours runs (kafka-target.ts).
  if (process.env.INTEROP_TARGET === 'kafka') return;
  const built = join(ROOT, 'dist/main.js');
  const sources = Math.max(newest(join(ROOT, 'src')), newest(join(ROOT, 'firmware-bridge/gateway')));
  if (existsSync(built) && statSync(built).mtimeMs >= sources) return;
  execFileSync(process.execPath, ['build.mjs'], { cwd: ROOT, stdio: ['ignore', 'inherit', 'inherit'] });
}

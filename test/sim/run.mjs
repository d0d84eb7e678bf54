// Bundles a TypeScript program of the repository and runs it: node test/sim/run.mjs test/sim/main.ts [arguments]
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';

const [file, ...args] = process.argv.slice(2);
// Below node_modules, so that packages with native parts are found from there.
const directory = mkdtempSync(join(import.meta.dirname, '../../node_modules/.run-'));
try {
  const outfile = join(directory, 'main.mjs');
  await build({
    entryPoints: [file],
    outfile,
    bundle: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    external: ['classic-level', 'cbor-extract', '@hpcc-js/wasm-zstd'],
    banner: {
      js: "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);",
    },
    logLevel: 'warning',
  });
  const flags = (process.env.RUN_NODE_FLAGS ?? '').split(' ').filter((flag) => flag !== '');
  const { status } = spawnSync(process.execPath, [...flags, outfile, ...args], { stdio: 'inherit' });
  process.exitCode = status ?? 1;
} finally {
  rmSync(directory, { recursive: true, force: true });
}

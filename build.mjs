// Bundles src/ into dist/ as ES modules. Code splitting keeps what is rarely used (YAML, TLS, the MQTT client, ...)
// in files that are only read when they are needed: every module that is not loaded is memory that is not used.
import { cpSync, existsSync, rmSync } from 'node:fs';
import { build } from 'esbuild';

const entryPoints = { main: 'src/main.ts', demo: 'src/demo.ts', gateway: 'firmware-bridge/gateway/main.ts' };
for (const [name, file] of Object.entries(entryPoints)) if (!existsSync(file)) delete entryPoints[name];

rmSync('dist', { recursive: true, force: true });
await build({
  entryPoints,
  outdir: 'dist',
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node20',
  sourcemap: false,
  legalComments: 'none',
  minifySyntax: true,
  minifyWhitespace: true,
  // Native parts find their prebuilt binaries beside their own package.
  external: ['classic-level', 'serialport', '@serialport/*', 'cbor-extract', 'bufferutil', 'utf-8-validate'],
  banner: {
    js: "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);",
  },
  logLevel: 'warning',
});

// The admin page is served as it is, from the directory beside the bundle.
if (existsSync('src/http/page')) cpSync('src/http/page', 'dist/page', { recursive: true });

// Bundles src/ into dist/ as ES modules. Code splitting keeps what is rarely used (YAML, TLS, the MQTT client, ...)
// in files that are only read when they are needed: every module that is not loaded is memory that is not used.
import { cpSync, existsSync, renameSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { build } from 'esbuild';

const entryPoints = { main: 'src/main.ts', demo: 'src/demo.ts', gateway: 'firmware-bridge/gateway/main.ts' };
for (const [name, file] of Object.entries(entryPoints)) if (!existsSync(file)) delete entryPoints[name];

const require = createRequire(import.meta.url);

// A CommonJS package that is imported at run time becomes a chunk with a default export only: `const { pino } = await
// import('pino')` works from source and not from the bundle. Here its names are exported too.
const namedExports = {
  name: 'named-exports-of-commonjs',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^(mqtt|pino|snappyjs|yaml)$/ }, ({ kind, path, resolveDir }) =>
      kind === 'dynamic-import' ? { path, namespace: 'named', pluginData: { resolveDir } } : null,
    );
    onLoad({ filter: /.*/, namespace: 'named' }, ({ path, pluginData: { resolveDir } }) => {
      const names = Object.keys(require(path)).filter((name) => /^[A-Za-z_$][\w$]*$/.test(name) && name !== 'default');
      const contents = `import all from '${path}';\nexport default all.default ?? all;\nexport const { ${names.join(', ')} } = all;\n`;
      return { contents, resolveDir };
    });
  },
};

// Built beside the old one: a build that fails leaves a working `dist`.
const next = `.dist-${process.pid}`;
process.on('exit', () => rmSync(next, { recursive: true, force: true }));
await build({
  entryPoints,
  outdir: next,
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
  plugins: [namedExports],
  logLevel: 'warning',
});

// The admin page is served as it is, from the directory beside the bundle.
if (existsSync('src/http/page')) cpSync('src/http/page', `${next}/page`, { recursive: true });

rmSync('dist', { recursive: true, force: true });
renameSync(next, 'dist');

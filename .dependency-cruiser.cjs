// The import table of docs/ARCHITECTURE.md, enforced. `shared` may be imported by everything.
const shared = '^src/(errors|env|limits|logger|metrics)\\.ts$';
const may = {
  'wire/bytes': [],
  'wire/batch': ['wire/bytes'],
  'wire/kafka': ['wire/bytes'],
  'wire/mqtt': ['wire/bytes'],
  config: ['log/topic-config.ts'],
  store: ['wire/batch/crc32c.ts'],
  time: ['store'],
  log: ['store', 'wire/bytes', 'wire/batch'],
  groups: ['store', 'log'],
  transactions: ['store', 'log', 'wire/bytes', 'wire/batch'],
  quotas: ['store'],
  client: ['wire/bytes', 'wire/kafka', 'wire/batch'],
  mqtt: ['wire/bytes', 'wire/mqtt', 'wire/batch', 'log', 'store', 'security'],
  kafka: ['wire/bytes', 'wire/kafka', 'wire/batch', 'log', 'groups', 'transactions', 'security', 'quotas'],
  links: ['wire/bytes', 'wire/kafka', 'wire/batch', 'log', 'store', 'client'],
  sources: ['log', 'store', 'wire/batch'],
  standby: ['wire/bytes', 'wire/kafka', 'wire/batch', 'log', 'store', 'client', 'groups'],
  http: [],
  security: [],
};
const rules = Object.entries(may).map(([part, others]) => ({
  name: `${part.replace('/', '-')}-imports`,
  severity: 'error',
  from: { path: `^src/${part}/` },
  to: {
    path: '^(src|firmware-bridge)/',
    pathNot: [shared, `^src/${part}/`, ...others.map((other) => `^src/${other}`)],
  },
}));

module.exports = {
  forbidden: [
    {
      name: 'no-cycles',
      severity: 'error',
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    ...rules,
    {
      name: 'only-env-touches-the-network',
      severity: 'error',
      comment: 'sockets come from env.ts so that tests and the simulator can replace them; types are fine',
      from: { path: '^src/', pathNot: ['^src/env\\.ts$', '^src/security/', '^src/(main|broker|demo)\\.ts$'] },
      to: { path: '^(node:)?net$', dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'gateway-stands-alone',
      severity: 'error',
      comment:
        'the gateway shares golden bytes with the broker, and its codecs: five of them with bounds need not exist twice',
      from: { path: '^firmware-bridge/gateway/', pathNot: ['\\.test\\.ts$'] },
      to: { path: '^src/', pathNot: ['^src/wire/batch/'] },
    },
    {
      name: 'no-orphans',
      severity: 'error',
      from: { orphan: true, path: '^src/', pathNot: ['^src/(main|demo)\\.ts$', '\\.d\\.ts$'] },
      to: {},
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsConfig: { fileName: 'tsconfig.json' },
    tsPreCompilationDeps: true,
    enhancedResolveOptions: { extensions: ['.ts', '.js', '.json'] },
  },
};

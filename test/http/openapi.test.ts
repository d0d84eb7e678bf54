import { expect, it } from 'vitest';
import { API } from '../../src/http/api.ts';
import { openApi } from '../../src/http/openapi.ts';

it('docs/openapi.json is current: `npx vitest run --project unit test/http -u` writes it anew', async () => {
  await expect(`${JSON.stringify(openApi(), null, 2)}\n`).toMatchFileSnapshot('../../docs/openapi.json');
});

it('every route of the API is in it once', () => {
  const { paths } = openApi() as { paths: Record<string, Record<string, unknown>> };
  expect(Object.values(paths).reduce((sum, methods) => sum + Object.keys(methods).length, 0)).toBe(API.length);
});

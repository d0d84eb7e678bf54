/** docs/openapi.json, made from the table of the API; a test holds the page to it. */
import { API } from './api.ts';

const ERROR = {
  type: 'object',
  required: ['error'],
  properties: {
    error: {
      type: 'object',
      required: ['code', 'message'],
      properties: { code: { type: 'string' }, message: { type: 'string' } },
    },
  },
};

export function openApi(): object {
  const paths: Record<string, Record<string, object>> = {};
  for (const { method, path, about } of API) {
    const path31 = `/api/v1/${path.replace('{}', '{name}')}`;
    const change = method !== 'GET';
    const named = path.includes('{}') ? [{ name: 'name', in: 'path', required: true, schema: { type: 'string' } }] : [];
    const header = { name: 'X-Requested-With', in: 'header', required: true, schema: { type: 'string' } };
    paths[path31] ??= {};
    paths[path31][method.toLowerCase()] = {
      summary: about,
      parameters: [...named, ...(change ? [header] : [])],
      ...(method === 'POST' || method === 'PATCH'
        ? { requestBody: { content: { 'application/json': { schema: { type: 'object' } } } } }
        : {}),
      responses: {
        200: { description: 'Done.', content: { 'application/json': { schema: {} } } },
        default: { description: 'Refused.', content: { 'application/json': { schema: ERROR } } },
      },
    };
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Headwater',
      version: '1',
      description: 'Field by field, answers are described in src/http/views.ts. Changes are for super.users.',
    },
    security: [{}, { basic: [] }],
    components: { securitySchemes: { basic: { type: 'http', scheme: 'basic' } } },
    paths,
  };
}

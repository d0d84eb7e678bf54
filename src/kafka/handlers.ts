/** Every API this broker serves: the one place where handlers are registered. */

import { apiVersionsHandler } from './handle/18-api-versions.ts';
import { HandlerTable } from './handler.ts';

export function createHandlers(): HandlerTable {
  const table: HandlerTable = new HandlerTable([apiVersionsHandler(() => table.advertised())]);
  return table;
}

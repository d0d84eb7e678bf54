/**
 * Requests of real clients (Java 4.3 and 3.9, librdkafka 2.0, kafkajs 2.2, @platformatic/kafka 2.12) and the answers Apache
 * Kafka 4.3.1 gave them, captured between the two: what we decode and encode again must be the same bytes.
 */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import {
  decodeRequest,
  decodeResponse,
  encodeRequest,
  encodeResponse,
  readCorrelationId,
  readRequestHeader,
} from '../../../src/wire/kafka/message.ts';
import { apis } from './apis.ts';

interface Captured {
  readonly key: number;
  readonly version: number;
  readonly request: string;
  readonly response: string | null;
}

const captured = JSON.parse(readFileSync(new URL('golden.json', import.meta.url), 'utf8')) as Captured[];
const named = captured.map((one) => {
  const api = apis.find(({ key }) => key === one.key)!;
  return [`${api.name} ${one.version}`, api, one] as const;
});

describe.each(named)('%s', (_name, api, { version, request, response }) => {
  test('the request', () => {
    const bytes = Buffer.from(request, 'hex');
    const { correlationId } = readRequestHeader(bytes);
    const { clientId, body } = decodeRequest(api, version, bytes);
    const again = Buffer.concat(encodeRequest(api, version, correlationId, clientId, body)).subarray(4);
    // librdkafka leaves surplus zero bytes at the end of some requests.
    expect(bytes.subarray(0, again.length).toString('hex')).toBe(again.toString('hex'));
    expect(bytes.subarray(again.length).every((byte) => byte === 0)).toBe(true);
    expect(bytes.length - again.length).toBeLessThanOrEqual(3);
  });

  if (response === null) return;
  test('the response', () => {
    const bytes = Buffer.from(response, 'hex');
    const body = decodeResponse(api, version, bytes);
    const again = Buffer.concat(encodeResponse(api, version, readCorrelationId(bytes), body)).subarray(4);
    expect(again.toString('hex')).toBe(response);
  });
});

import { readFileSync } from 'node:fs';
import { decode, Encoder } from 'cbor-x';
import { expect, describe as group, it } from 'vitest';
import { describe, encodeNamed, parseDescription } from './description.ts';

const text = readFileSync(new URL('./examples/thermometer.json', import.meta.url), 'utf8');
const thermometer = parseDescription(text, 'thermometer.json');
const encoder = new Encoder({ useRecords: false, mapsAsObjects: true } as never);

group('device descriptions', () => {
  it('name and scale what a compact record holds', () => {
    expect(describe(thermometer, encoder.encode([-215, 40]))).toEqual({ temperature: -21.5, humidity: 40 });
    expect(describe(thermometer, encoder.encode([3]))).toEqual({ temperature: 0.3 });
  });

  it('the golden record of the C library reads as it was written', () => {
    const url = new URL('../golden/golden.json', import.meta.url);
    const { record } = JSON.parse(readFileSync(url, 'utf8')) as { record: string };
    const named = describe(thermometer, Buffer.from(record, 'hex'));
    expect(named['temperature']).toBe(-21.5);
    expect(named['battery']).toBeCloseTo(3.3, 6);
  });

  it('what is published decodes as a plain map', () => {
    expect(decode(encodeNamed({ temperature: 21.5 }))).toEqual({ temperature: 21.5 });
  });

  it.each([
    [['warm'], /temperature: warm, allowed is a number/],
    [[21.5], /temperature: 21.5, allowed is an integer/],
    [[9000], /temperature: 9000, allowed is 125 or less/],
    [[], /temperature: missing/],
    ['x', /an array or a map/],
  ])('%j is refused with the reason', (record, reason) => {
    expect(() => describe(thermometer, encoder.encode(record))).toThrow(reason);
  });

  it.each([
    ['{"kind":"a b","version":1,"fields":[]}', /kind/],
    ['{"kind":"a","version":1,"fields":[{"name":"x","type":"real"}]}', /fields\[0\].type: real, allowed is one of/],
    ['{"kind":"a","version":1,"fields":[{"name":"x","type":"int","units":"m"}]}', /fields\[0\].units: unknown/],
  ])('a wrong description is refused: %s', (given, reason) => {
    expect(() => parseDescription(given, 'file')).toThrow(reason);
  });
});

import { expect, it } from 'vitest';
import { unitsOf, withUnits } from '../../src/http/units.ts';

const header = (value: string | null) => [
  { key: 'device', value: Buffer.from('dev-1') },
  { key: 'units', value: value === null ? null : Buffer.from(value) },
];

it('units come from the record header, as people write them', () => {
  expect(unitsOf(header('temperature=Cel;humidity=%RH;battery=V;ratio=/'))).toEqual({
    temperature: '°C',
    humidity: '% RH',
    battery: 'V',
  });
});

it.each([[null], [''], ['='], ['temperature'], ['temperature='], ['=Cel'], [`a=${'x'.repeat(5000)}`]])(
  'a header that says nothing is none: %j',
  (value) => expect(unitsOf(header(value))).toBeNull(),
);

it('a field named as what every object has is a field like others', () => {
  const units = unitsOf(header('__proto__=V;constructor=constructor'))!;
  expect(units['constructor']).toBe('constructor');
  expect(withUnits(JSON.parse('{"toString": 1}'), units)).toEqual(JSON.parse('{"toString": 1}'));
});

it('numbers and texts get their unit, the rest stays', () => {
  const value = { temperature: -21.5, state: 'on', list: [1], time: 5 };
  expect(withUnits(value, { temperature: '°C', state: 'V', list: 'm' })).toEqual({
    temperature: '-21.5 °C',
    state: 'on V',
    list: [1],
    time: 5,
  });
  expect(withUnits([1], { 0: 'm' })).toEqual([1]);
  expect(withUnits('text', { 0: 'm' })).toBe('text');
});

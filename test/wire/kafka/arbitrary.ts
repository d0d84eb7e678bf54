/** Random messages of any table and version. */
import fc from 'fast-check';
import { type Fields, parseVersions, type Row } from '../../../src/wire/kafka/schema.ts';

export const carries = (versions: string | undefined, version: number): boolean => {
  if (versions === undefined) return false;
  const [min, max] = parseVersions(versions);
  return version >= min && version <= max;
};

const ranges = fc.uint8Array({ maxLength: 40 }).map((value) => Buffer.from(value));
const scalars: Record<string, fc.Arbitrary<unknown>> = {
  bool: fc.boolean(),
  int8: fc.integer({ min: -128, max: 127 }),
  int16: fc.integer({ min: -32_768, max: 32_767 }),
  uint16: fc.integer({ min: 0, max: 65_535 }),
  int32: fc.integer(),
  int64: fc.maxSafeInteger(),
  float64: fc.double({ noNaN: true }),
  string: fc.string({ unit: 'grapheme', maxLength: 12 }),
  uuid: fc.uint8Array({ minLength: 16, maxLength: 16 }).map((value) => Buffer.from(value).toString('hex')),
  bytes: ranges,
  records: ranges,
};

function arbitraryOf(row: Row, version: number): fc.Arbitrary<unknown> {
  let value: fc.Arbitrary<unknown>;
  if (row.type === 'array') {
    const element = row.fields === undefined ? arbitraryOf(row.element!, version) : structOf(row.fields, version);
    value = fc.array(element, { maxLength: 3 });
  } else if (row.type === 'struct') value = structOf(row.fields!, version);
  else value = scalars[row.type]!;
  return carries(row.options.nullable, version) ? fc.option(value, { nil: null, freq: 4 }) : value;
}

/** Objects with every field the version carries; the others are left out. */
export function structOf(fields: Fields, version: number): fc.Arbitrary<Record<string, unknown>> {
  const model: Record<string, fc.Arbitrary<unknown>> = {};
  for (const [name, row] of Object.entries(fields)) {
    if (carries(row.versions, version)) model[name] = arbitraryOf(row, version);
  }
  return fc.record(model);
}

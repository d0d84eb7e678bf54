/** Units beside values: the record header `units` (firmware-bridge/PROTOCOL.md, section 3), `temperature=Cel;humidity=%RH`. */

export type Units = Readonly<Record<string, string>>;

const HEADER = 'units';
/** A header of this length names more fields than anybody reads. */
const HEADER_MAX_BYTES = 4_096;
/** What SenML (RFC 8428, 12.1) calls otherwise than people write it. */
const SYMBOLS: Readonly<Record<string, string>> = {
  Cel: '°C',
  Ohm: 'Ω',
  m2: 'm²',
  m3: 'm³',
  'm/s2': 'm/s²',
  'm3/s': 'm³/s',
  'W/m2': 'W/m²',
  'cd/m2': 'cd/m²',
  'kg/m3': 'kg/m³',
  lat: '° lat',
  lon: '° lon',
  '%RH': '% RH',
  '%EL': '% battery',
  '/': '',
};

/** Field -> unit as people write it; null without a header that says so. */
export function unitsOf(headers: readonly { readonly key: string; readonly value: Uint8Array | null }[]): Units | null {
  const bytes = headers.find(({ key }) => key === HEADER)?.value ?? null;
  if (bytes === null || bytes.length === 0 || bytes.length > HEADER_MAX_BYTES) return null;
  const units: [string, string][] = [];
  for (const part of Buffer.from(bytes).toString('utf8').split(';')) {
    const equals = part.indexOf('=');
    if (equals < 1 || equals === part.length - 1) continue;
    const unit = part.slice(equals + 1);
    const symbol = Object.hasOwn(SYMBOLS, unit) ? SYMBOLS[unit]! : unit;
    if (symbol !== '') units.push([part.slice(0, equals), symbol]);
  }
  return units.length === 0 ? null : Object.fromEntries(units);
}

/** The value with `-21.5` as `"-21.5 °C"`, for people; what is no object of fields stays as it is. */
export function withUnits(value: unknown, units: Units | null): unknown {
  if (units === null || value === null || typeof value !== 'object' || Array.isArray(value)) return value;
  const entries = Object.entries(value).map(([name, item]) => {
    const isPlain = typeof item === 'number' || typeof item === 'string';
    return [name, isPlain && Object.hasOwn(units, name) ? `${item} ${units[name]}` : (item as unknown)];
  });
  return Object.fromEntries(entries) as unknown;
}

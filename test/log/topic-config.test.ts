import { describe, expect, it } from 'vitest';
import { checkUnits, parseQuantity, TOPIC_SETTINGS } from '../../src/log/topic-config.ts';
import { MemoryDisk } from '../../src/store/memory.ts';
import { openOnDisk, topicSpec } from './records.ts';

const check = (name: string, value: string) => () => checkUnits(new Map([[name, value]]));

describe('a quantity', () => {
  it('takes the units of the kinds that are asked for, and none without', () => {
    expect(parseQuantity('512MiB', 'bytes')).toBe(512 * 1024 ** 2);
    expect(parseQuantity('7 d', 'ms')).toBe(7 * 86_400_000);
    expect(parseQuantity('7d', 'bytes', 'ms')).toBe(7 * 86_400_000);
    expect(parseQuantity('512MiB', 'ms')).toBeNull();
    expect(parseQuantity('7d', 'bytes')).toBeNull();
    expect(parseQuantity('7d')).toBeNull();
    for (const text of ['constructor', '1constructor', '1.5', '', 'MiB', '9007199254740993']) {
      expect(parseQuantity(text, 'bytes', 'ms'), text).toBeNull();
    }
    expect(parseQuantity('-1')).toBe(-1);
  });
});

describe('a topic setting that is given', () => {
  it('has a unit of its own kind or none', () => {
    const units = { bytes: ['KiB', 'MiB', 'GiB', 'kB', 'MB', 'GB'], ms: ['ms', 's', 'm', 'h', 'd'] };
    for (const { name, unit, allowed } of TOPIC_SETTINGS) {
      if (unit !== 'bytes' && unit !== 'ms') continue;
      const { min, max } = allowed as { min: number; max: number };
      for (const right of units[unit]) {
        const value = parseQuantity(`1${right}`, unit)!;
        if (value >= min && value <= max) expect(check(name, `1${right}`), `${name}: 1${right}`).not.toThrow();
      }
      for (const wrong of units[unit === 'ms' ? 'bytes' : 'ms']) {
        expect(check(name, `1${wrong}`), `${name}: 1${wrong}`).toThrow(`${name}: "1${wrong}" is not a whole number`);
      }
    }
  });

  it('is refused by name, value and what is allowed', () => {
    expect(check('retention.ms', '5MiB')).toThrow(
      'retention.ms: "5MiB" is not a whole number from -1 to 2^53-1 ms (units: ms, s, m, h, d)',
    );
    expect(check('retention.bytes', '5m')).toThrow(
      'retention.bytes: "5m" is not a whole number from -1 to 2^53-1 bytes (units: KiB, MiB, GiB, kB, MB, GB)',
    );
    expect(check('min.insync.replicas', '1ms')).toThrow(
      'min.insync.replicas: "1ms" is not a whole number from 1 to 16 replicas',
    );
  });

  it('and what is taken away or has no unit is as before', () => {
    expect(() => checkUnits([['retention.ms', null]])).not.toThrow();
    expect(check('retention.ms', '9223372036854775807')).not.toThrow();
    expect(check('cleanup.policy', 'delete,compact')).not.toThrow();
  });
});

describe('a topic setting that is stored', () => {
  it('with a unit that is refused today does not keep a broker from starting', async () => {
    const disk = new MemoryDisk();
    const before = await openOnDisk(disk);
    await before.createTopic({ ...topicSpec('t'), config: new Map([['retention.ms', '5MiB']]) });
    await before.close();
    disk.crash();
    const log = await openOnDisk(disk);
    expect(log.topic('t')!.config['retention.ms']).toBe(5 * 1024 ** 2);
    await log.close();
  });
});

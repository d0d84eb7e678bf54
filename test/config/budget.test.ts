import { describe, expect, it } from 'vitest';
import { memoryBudget } from '../../src/config/budget.ts';
import { loadConfig } from '../../src/config/load.ts';

const MiB = 1024 * 1024;
const sumOf = async (text: string) =>
  memoryBudget(await loadConfig({ text })).reduce((sum, { bytes }) => sum + bytes, 0);

describe('the memory budget', () => {
  it('holds the defaults, with a link, in a part of a 512 MB host', async () => {
    const sum = await sumOf('links: { up: { type: kafka, bootstrap.servers: "h:1", topics: a } }');
    expect(sum).toBeLessThanOrEqual(192 * MiB);
  });

  it('grows with what is configured', async () => {
    const less = await sumOf('');
    expect((await sumOf('mqtt.max.connections: 2024')) - less).toBe(8 * MiB);
    expect((await sumOf('max.connections: 228')) - less).toBe(MiB);
    const source = (more: string) => sumOf(`sources: { a: { paths: /a, topic: t${more} } }`);
    expect((await source('')) - less).toBe(MiB / 4);
    expect((await source(', record.max.bytes: 1MiB')) - less).toBe(4 * MiB);
  });

  it('refuses what could not fit, and shows the sum', async () => {
    const text = 'memory.budget: 128MiB\nmqtt.max.connections: 10000\n';
    await expect(loadConfig({ text })).rejects.toThrow(
      /^config:1: memory\.budget: 128MiB is less than the 2\d\dMiB that this configuration may use: the process itself 66MiB \+ .*mqtt\.max\.connections 79MiB$/,
    );
    await expect(loadConfig({ text: 'memory.budget: 256MiB\nmqtt.max.connections: 10000\n' })).resolves.toBeDefined();
  });
});

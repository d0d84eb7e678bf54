import { describe, expect, it } from 'vitest';
import { formatAddress, isLoopback, parseAddress } from '../../src/config/address.ts';
import { editDistance, suggest } from '../../src/config/suggest.ts';

describe('a suggestion', () => {
  it('counts a swap of neighbours as one edit', () => {
    expect(editDistance('mqqt', 'mqtt', 3)).toBe(1);
    expect(editDistance('mtqt', 'mqtt', 3)).toBe(1);
    expect(editDistance('kitten', 'sitting', 5)).toBe(3);
    expect(editDistance('abc', 'abcdefgh', 2)).toBe(3);
  });

  it('ignores case and punctuation, and is silent when nothing is near', () => {
    expect(suggest('numPartitions', ['num.partitions', 'node.id'])).toBe('num.partitions');
    expect(suggest('zookeeper', ['num.partitions', 'node.id'])).toBeNull();
  });
});

describe('an address', () => {
  it('survives being written and read', () => {
    for (const text of ['127.0.0.1:1', '[::1]:65535', 'a-b.example:0'])
      expect(formatAddress(parseAddress(text)!)).toBe(text);
  });

  it('is refused when it is none', () => {
    for (const text of ['', 'host', 'host:', 'a:b', '::1:1', 'h:70000', 'http://h:1', 'a b:1'])
      expect(parseAddress(text), text).toBeNull();
  });

  it('knows loopback', () => {
    expect(['127.0.0.1', '127.1.2.3', '::1', 'localhost'].every(isLoopback)).toBe(true);
    expect(['0.0.0.0', '::', '10.0.0.1', '127.example', 'host'].some(isLoopback)).toBe(false);
  });
});

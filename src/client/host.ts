/** Addresses as people write them: `host:port`, `[::1]:9092`, separated by commas. */
import { HeadwaterError } from '../errors.ts';

export interface Address {
  readonly host: string;
  readonly port: number;
}

const DEFAULT_PORT = 9092;

export function isIP(host: string): boolean {
  return /^\d+\.\d+\.\d+\.\d+$/.test(host) || host.includes(':');
}

/** Throws INVALID_CONFIG naming the part that is wrong. */
export function parseAddresses(text: string): Address[] {
  const addresses = text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')
    .map((part) => {
      const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([^:\s[\]]+))(?::(\d{1,5}))?$/.exec(part);
      const port = match?.[3] === undefined ? DEFAULT_PORT : Number(match[3]);
      if (match === null || port < 1 || port > 65_535) {
        throw new HeadwaterError('INVALID_CONFIG', `bootstrap.servers: "${part}" is not host:port`);
      }
      return { host: match[1] ?? match[2]!, port };
    });
  if (addresses.length === 0) throw new HeadwaterError('INVALID_CONFIG', 'bootstrap.servers: no host:port is given');
  return addresses;
}

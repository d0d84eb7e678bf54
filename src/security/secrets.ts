/** Hashes of secrets: scrypt for logins that send the secret, SCRAM keys for those that prove it. */
import { createHash, createHmac, pbkdf2, scrypt, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';

const pbkdf2Async = promisify(pbkdf2);

/** 16 MiB and about 50 ms on a PC, 300 ms on a Pi: RFC 7914's N, r, p. */
const SCRYPT = { N: 16_384, r: 8, p: 1 } as const;
const SCRYPT_MAX_MEMORY_BYTES = 64 * 1024 * 1024;
const HASH_BYTES = 32;

export type ScramMechanism = 'SCRAM-SHA-256' | 'SCRAM-SHA-512';

/** RFC 5802, section 3: what a server keeps of a password. */
export interface ScramKeys {
  readonly salt: Uint8Array;
  readonly iterations: number;
  readonly storedKey: Uint8Array;
  readonly serverKey: Uint8Array;
}

export interface ScryptHash {
  readonly N: number;
  readonly r: number;
  readonly p: number;
  readonly salt: Uint8Array;
  readonly hash: Uint8Array;
}

/** Kafka accepts 4096 to 16384. */
export const SCRAM_ITERATIONS = 8_192;

export function digestOf(mechanism: ScramMechanism): 'sha256' | 'sha512' {
  return mechanism === 'SCRAM-SHA-256' ? 'sha256' : 'sha512';
}

/** Length of a salted password and of each key. */
export function scramKeyBytes(mechanism: ScramMechanism): number {
  return mechanism === 'SCRAM-SHA-256' ? 32 : 64;
}

function runScrypt(
  secret: string,
  salt: Uint8Array,
  { N, r, p }: { N: number; r: number; p: number },
): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    scrypt(secret.normalize('NFC'), salt, HASH_BYTES, { N, r, p, maxmem: SCRYPT_MAX_MEMORY_BYTES }, (error, key) =>
      error === null ? resolve(key) : reject(error),
    );
  });
}

export async function hashSecret(secret: string, salt: Uint8Array): Promise<ScryptHash> {
  return { ...SCRYPT, salt, hash: await runScrypt(secret, salt, SCRYPT) };
}

export async function matchesHash(secret: string, expected: ScryptHash): Promise<boolean> {
  return equalBytes(await runScrypt(secret, expected.salt, expected), expected.hash);
}

export async function scramKeys(
  mechanism: ScramMechanism,
  secret: string,
  salt: Uint8Array,
  iterations: number = SCRAM_ITERATIONS,
): Promise<ScramKeys> {
  const salted = await pbkdf2Async(
    secret.normalize('NFC'),
    salt,
    iterations,
    scramKeyBytes(mechanism),
    digestOf(mechanism),
  );
  return scramKeysOfSalted(mechanism, salted, salt, iterations);
}

/** From the SaltedPassword of RFC 5802, section 3: what Kafka's protocol carries in place of the secret. */
export function scramKeysOfSalted(
  mechanism: ScramMechanism,
  salted: Uint8Array,
  salt: Uint8Array,
  iterations: number,
): ScramKeys {
  const digest = digestOf(mechanism);
  const hmac = (text: string) => createHmac(digest, salted).update(text).digest();
  return {
    salt,
    iterations,
    storedKey: createHash(digest).update(hmac('Client Key')).digest(),
    serverKey: hmac('Server Key'),
  };
}

/** Whether the secret, sent as it is, is the one that the keys were made of. */
export async function matchesScram(mechanism: ScramMechanism, secret: string, expected: ScramKeys): Promise<boolean> {
  const { storedKey } = await scramKeys(mechanism, secret, expected.salt, expected.iterations);
  return equalBytes(storedKey, expected.storedKey);
}

/** In a time that tells nothing about where they differ. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}

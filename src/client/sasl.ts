/** SASL on a new connection: PLAIN (RFC 4616) and SCRAM (RFC 5802) with SHA-256 or SHA-512, in SaslAuthenticate (KIP-152). */
import { createHash, createHmac, pbkdf2, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';
import type { Random } from '../env.ts';
import { HeadwaterError } from '../errors.ts';
import { saslHandshake } from '../wire/kafka/api/17-sasl-handshake.ts';
import { saslAuthenticate } from '../wire/kafka/api/36-sasl-authenticate.ts';
import type { Api, RequestInput, ResponseOf } from '../wire/kafka/schema.ts';

export interface SaslOptions {
  readonly mechanism: 'PLAIN' | 'SCRAM-SHA-256' | 'SCRAM-SHA-512';
  readonly username: string;
  readonly password: string;
}

interface Sender {
  readonly peer: string;
  send<A extends Api>(api: A, body: RequestInput<A>): Promise<ResponseOf<A>>;
}

/** A server may not make us compute for minutes. */
const ITERATIONS_MAX = 1_000_000;
const ITERATIONS_MIN = 4_096;
const derive = promisify(pbkdf2);

function refused(peer: string, reason: string): never {
  throw new HeadwaterError('AUTHENTICATION_FAILED', `${peer}: ${reason}`);
}

export async function authenticate(connection: Sender, sasl: SaslOptions, random: Random): Promise<void> {
  const handshake = await connection.send(saslHandshake, { mechanism: sasl.mechanism });
  if (handshake.errorCode !== 0) {
    refused(connection.peer, `${sasl.mechanism} is not offered; the server offers ${handshake.mechanisms.join(', ')}`);
  }
  const exchange = async (text: string): Promise<string> => {
    const answer = await connection.send(saslAuthenticate, { authBytes: Buffer.from(text, 'utf8') });
    if (answer.errorCode !== 0) refused(connection.peer, answer.errorMessage ?? `error code ${answer.errorCode}`);
    return Buffer.from(answer.authBytes).toString('utf8');
  };
  if (sasl.mechanism === 'PLAIN') await exchange(`\0${sasl.username}\0${sasl.password}`);
  else await scram(connection.peer, sasl, random, exchange);
}

/** `r=...,s=...,i=...` as a map. */
function attributes(message: string): Map<string, string> {
  return new Map(message.split(',').map((part) => [part.slice(0, 1), part.slice(2)]));
}

async function scram(
  peer: string,
  sasl: SaslOptions,
  random: Random,
  exchange: (text: string) => Promise<string>,
): Promise<void> {
  const hash = sasl.mechanism === 'SCRAM-SHA-256' ? 'sha256' : 'sha512';
  const keyBytes = hash === 'sha256' ? 32 : 64;
  const hmac = (key: Uint8Array, text: string): Buffer => createHmac(hash, key).update(text).digest();
  const nonce = Buffer.from(random.bytes(24)).toString('base64').replaceAll(',', '.');
  const name = sasl.username.replaceAll('=', '=3D').replaceAll(',', '=2C');
  const clientFirst = `n=${name},r=${nonce}`;
  const serverFirst = await exchange(`n,,${clientFirst}`);
  const first = attributes(serverFirst);
  const salt = Buffer.from(first.get('s') ?? '', 'base64');
  const iterations = Number(first.get('i'));
  const combined = first.get('r') ?? '';
  if (!combined.startsWith(nonce) || combined.length === nonce.length) refused(peer, 'SCRAM: the nonce is not ours');
  if (!(iterations >= ITERATIONS_MIN && iterations <= ITERATIONS_MAX)) refused(peer, `SCRAM: ${iterations} iterations`);
  const salted = await derive(sasl.password.normalize('NFKC'), salt, iterations, keyBytes, hash);
  const clientKey = hmac(salted, 'Client Key');
  const storedKey = createHash(hash).update(clientKey).digest();
  const withoutProof = `c=biws,r=${combined}`;
  const signed = `${clientFirst},${serverFirst},${withoutProof}`;
  const signature = hmac(storedKey, signed);
  const proof = Buffer.from(clientKey.map((byte, index) => byte ^ signature[index]!)).toString('base64');
  const final = attributes(await exchange(`${withoutProof},p=${proof}`));
  const expected = hmac(hmac(salted, 'Server Key'), signed);
  const got = Buffer.from(final.get('v') ?? '', 'base64');
  if (got.length !== expected.length || !timingSafeEqual(got, expected)) {
    refused(peer, 'SCRAM: the server does not know the password');
  }
}

import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { authenticate } from '../../src/client/sasl.ts';
import type { Clock } from '../../src/env.ts';
import { systemEnv } from '../../src/env.ts';
import { silentLogger } from '../../src/logger.ts';
import { Metrics } from '../../src/metrics.ts';
import type { SaslExchange } from '../../src/security/sasl.ts';
import { Security, type SecuritySettings } from '../../src/security/security.ts';
import { LoginThrottle, pauseAfter } from '../../src/security/throttle.ts';
import { createUser, formatUsers } from '../../src/security/users.ts';

const directory = mkdtempSync(join(tmpdir(), 'headwater-security-'));
const usersFile = join(directory, 'users');
const USERS = formatUsers([
  await createUser('eve', 'correct horse'),
  await createUser('a,b=c'.replace(',', '.'), 'equal=secret'),
]);
writeFileSync(usersFile, USERS);

const SETTINGS: SecuritySettings = {
  usersFile,
  aclFile: null,
  superUsers: ['root'],
  allowAnonymous: false,
  saslMechanisms: ['PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512'],
  tls: null,
};

class ManualClock implements Clock {
  time = 0;
  now = () => this.time;
  monotonic = () => this.time;
  after = () => ({ cancel() {} });
  every = () => ({ cancel() {} });
  soon = () => {};
}

function load(settings: Partial<SecuritySettings> = {}, clock: Clock = new ManualClock()) {
  const env = { ...systemEnv, clock };
  return Security.load({ ...SETTINGS, ...settings }, { env, logger: silentLogger, metrics: new Metrics() });
}

const presented = (username: string | null, secret: string | null, remoteAddress = '10.0.0.1') => ({
  username,
  password: secret === null ? null : Buffer.from(secret),
  certificate: null,
  remoteAddress,
});

describe('a login over MQTT or HTTP', () => {
  it('without a users file is whoever it says', async () => {
    const security = await load({ usersFile: null });
    expect(await security.login('mqtt', presented(null, null))).toBe('anonymous');
    expect(await security.login('mqtt', presented('eve', 'anything'))).toBe('eve');
  });

  it('with one needs the right secret', async () => {
    const security = await load();
    expect(await security.login('mqtt', presented('eve', 'correct horse'))).toBe('eve');
    expect(await security.login('mqtt', presented('eve', 'wrong'))).toBeNull();
    expect(await security.login('mqtt', presented('eve', null))).toBeNull();
    expect(await security.login('mqtt', presented(null, null))).toBeNull();
    expect(await (await load({ allowAnonymous: true })).login('mqtt', presented(null, null))).toBe('anonymous');
  });

  it('takes a verified certificate for a user', async () => {
    const security = await load();
    expect(await security.login('mqtt', { ...presented(null, null), certificate: 'sensor-7' })).toBe('sensor-7');
  });

  it('of a client that was let in before does not wait for the guesses of others', async () => {
    const security = await load();
    expect(await security.login('mqtt', presented('eve', 'correct horse'))).toBe('eve');
    for (let i = 0; i < 7; i++)
      await security.login('mqtt', presented('eve', 'guess', `10.0.1.${i}`)).catch(() => null);
    await expect(security.login('mqtt', presented('eve', 'another guess'))).rejects.toThrow('too many failed logins');
    expect(await security.login('mqtt', presented('eve', 'correct horse'))).toBe('eve');
  });

  it('of 1,000 guesses looks at a few only, and the others cost no hash', async () => {
    const clock = new ManualClock();
    const security = await load({}, clock);
    let looked = 0;
    for (let i = 0; i < 1_000; i++) {
      await security.login('mqtt', presented('eve', `guess ${i}`)).then(
        () => {
          looked++;
        },
        (error: { code: string }) => expect(error.code).toBe('QUOTA_EXCEEDED'),
      );
      clock.time += 100;
    }
    // 100 s: five are free, then after 1, 2, 4, 8, 16, 32 s more.
    expect(looked).toBe(11);
    await expect(security.login('mqtt', presented('eve', 'correct horse'))).rejects.toThrow('too many failed logins');
    clock.time += 60_000;
    expect(await security.login('mqtt', presented('eve', 'correct horse'))).toBe('eve');
  });
});

describe('SASL', () => {
  /** The client's side is the one that links and tools use. */
  async function logIn(
    exchange: SaslExchange,
    mechanism: 'PLAIN' | 'SCRAM-SHA-256' | 'SCRAM-SHA-512',
    username: string,
    password: string,
  ) {
    let user: string | null = null;
    const sender = {
      peer: 'test',
      send: async (_api: unknown, body: { mechanism?: string; authBytes?: Uint8Array }) => {
        if (body.mechanism !== undefined) return { errorCode: 0, mechanisms: [mechanism] };
        const step = await exchange.step(body.authBytes!);
        user = step.user;
        return { errorCode: 0, errorMessage: null, authBytes: step.reply, sessionLifetimeMs: 0 };
      },
    };
    await authenticate(sender as never, { mechanism, username, password }, systemEnv.random);
    return user;
  }

  for (const mechanism of ['PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512'] as const) {
    it(`${mechanism} lets in who knows the secret, and nobody else`, async () => {
      const security = await load();
      const begin = () => security.sasl(mechanism, '10.0.0.1');
      expect(await logIn(begin(), mechanism, 'eve', 'correct horse')).toBe('eve');
      expect(await logIn(begin(), mechanism, 'a.b=c', 'equal=secret')).toBe('a.b=c');
      await expect(logIn(begin(), mechanism, 'eve', 'wrong secret')).rejects.toMatchObject({
        code: 'AUTHENTICATION_FAILED',
      });
      await expect(logIn(begin(), mechanism, 'nobody', 'wrong secret')).rejects.toMatchObject({
        code: 'AUTHENTICATION_FAILED',
      });
    });
  }

  it('answers for a user that does not exist as for one that does, the same salt each time', async () => {
    const security = await load();
    const first = async (name: string) => {
      const { reply } = await security.sasl('SCRAM-SHA-256', 'x').step(Buffer.from(`n,,n=${name},r=abc`));
      return /^r=abc[^,]+,s=([^,]+),i=8192$/.exec(Buffer.from(reply).toString())![1]!;
    };
    expect(await first('ghost')).toBe(await first('ghost'));
    expect(await first('ghost')).not.toBe(await first('ghost2'));
    expect(Buffer.from(await first('ghost'), 'base64').length).toBe(Buffer.from(await first('eve'), 'base64').length);
  });

  it('refuses what is not the protocol', async () => {
    const security = await load();
    const step = (mechanism: string, text: string | Uint8Array) =>
      security.sasl(mechanism, 'x').step(Buffer.from(text as string));
    await expect(step('PLAIN', 'eve')).rejects.toMatchObject({ code: 'MALFORMED' });
    await expect(step('PLAIN', 'root\0eve\0correct horse')).rejects.toMatchObject({ code: 'AUTHENTICATION_FAILED' });
    await expect(step('SCRAM-SHA-256', 'p=tls-unique,,n=eve,r=a')).rejects.toMatchObject({ code: 'MALFORMED' });
    await expect(step('SCRAM-SHA-256', 'n,,n=e=ve,r=a')).rejects.toMatchObject({ code: 'MALFORMED' });
    await expect(step('SCRAM-SHA-256', 'x'.repeat(5_000))).rejects.toMatchObject({ code: 'MALFORMED' });
    expect(() => security.sasl('GSSAPI', 'x')).toThrow('"GSSAPI" is not one of PLAIN');
  });

  it('does not go on after a failure', async () => {
    const exchange = (await load()).sasl('SCRAM-SHA-256', 'x');
    await exchange.step(Buffer.from('n,,n=eve,r=abc'));
    await expect(exchange.step(Buffer.from('c=biws,r=other,p=AAAA'))).rejects.toMatchObject({
      code: 'AUTHENTICATION_FAILED',
    });
    await expect(exchange.step(Buffer.from('c=biws,r=other,p=AAAA'))).rejects.toMatchObject({ code: 'MALFORMED' });
  });
});

describe('a reload of users and rules', () => {
  it('takes over good files and keeps what it had on bad ones', async () => {
    const aclFile = join(directory, 'acl');
    writeFileSync(aclFile, 'user eve\n topic read a\n');
    const security = await load({ aclFile });
    expect(security.allowsKafka('eve', 'read', 'topic', 'a')).toBe(true);
    expect(security.allowsKafka('root', 'read', 'topic', 'b')).toBe(true);
    expect(security.allowsKafka(null, 'read', 'topic', 'a')).toBe(false);
    writeFileSync(aclFile, 'user eve\n topic eat a\n');
    await expect(security.reload({ ...SETTINGS, aclFile })).rejects.toThrow(`${aclFile}:2: "topic eat"`);
    expect(security.allowsKafka('eve', 'read', 'topic', 'a')).toBe(true);
    writeFileSync(aclFile, 'user eve\n topic write a\n');
    await security.reload({ ...SETTINGS, aclFile });
    expect(security.allowsKafka('eve', 'read', 'topic', 'a')).toBe(false);
    await expect(security.reload({ ...SETTINGS, usersFile: join(directory, 'none') })).rejects.toThrow('users.file: ');
  });
});

describe('the back-off', () => {
  it('doubles up to a minute', () => {
    expect([4, 5, 6, 7, 11, 50].map(pauseAfter)).toEqual([0, 1_000, 2_000, 4_000, 60_000, 60_000]);
  });

  it('holds for a user from everywhere and for an address with every user, and is forgotten', () => {
    const clock = new ManualClock();
    const throttle = new LoginThrottle(clock);
    for (let i = 0; i < 6; i++) throttle.failed(`10.0.0.${i}`, 'eve');
    expect(throttle.waitFor('10.9.9.9', 'eve')).toBe(2_000);
    expect(throttle.waitFor('10.9.9.9', 'bob')).toBe(0);
    for (let i = 0; i < 6; i++) throttle.failed('10.1.1.1', `user ${i}`);
    expect(throttle.waitFor('10.1.1.1', 'anybody')).toBe(2_000);
    clock.time += 16 * 60_000;
    expect(throttle.waitFor('10.1.1.1', 'eve')).toBe(0);
  });

  it('of one behind a NAT holds nobody who logged in from there lately', () => {
    const clock = new ManualClock();
    const throttle = new LoginThrottle(clock);
    throttle.succeeded('10.1.1.1', 'sensor');
    for (let i = 0; i < 6; i++) throttle.failed('10.1.1.1', 'guesser');
    expect(throttle.waitFor('10.1.1.1', 'sensor')).toBe(0);
    expect(throttle.waitFor('10.1.1.1', 'another')).toBe(2_000);
    for (let i = 0; i < 6; i++) throttle.failed('10.1.1.1', 'sensor');
    expect(throttle.waitFor('10.1.1.1', 'sensor')).toBe(2_000);
    throttle.succeeded('10.1.1.1', 'sensor');
    clock.time += 25 * 3_600_000;
    for (let i = 0; i < 6; i++) throttle.failed('10.1.1.1', 'guesser');
    expect(throttle.waitFor('10.1.1.1', 'sensor')).toBe(2_000);
  });
});

import { describe, expect, it } from 'vitest';
import { scramKeys } from '../../src/security/secrets.ts';
import { createUser, formatUsers, parseUsers, Users } from '../../src/security/users.ts';

const eve = await createUser('eve', 'correct horse');
const bob = await createUser('bob', 'battery staple', false);

describe('the users file', () => {
  it('gives back what was written, and holds no secret', () => {
    const text = formatUsers([eve, bob]);
    expect(text).not.toMatch(/horse|staple/);
    const users = parseUsers(text, 'f');
    expect([...users.keys()]).toEqual(['eve', 'bob']);
    expect(users.get('eve')!.scram.get('SCRAM-SHA-512')!.storedKey).toEqual(eve.scram.get('SCRAM-SHA-512')!.storedKey);
    expect(users.get('bob')!.scram.size).toBe(0);
  });

  it('names the line that is wrong without repeating it', () => {
    const line = formatUsers([eve]).split('\n')[1]!;
    const cases: readonly (readonly [string, string])[] = [
      ['a/b scrypt:1', 'f:1: "a/b" is not a user name'],
      ['eve md5:x', 'f:1: an unknown kind of credential for "eve"'],
      ['eve', 'f:1: the user "eve" has no credential'],
      ['eve scrypt:16384:8:1:AAAA:BBBB', 'f:1: the scrypt credential of "eve" is damaged'],
      [`${line}\n${line}`, 'f:2: the user "eve" is there twice'],
      [line.replace(/scram-sha-256:\d+/, 'scram-sha-256:1'), 'f:1: the scram-sha-256 credential of "eve" is damaged'],
    ];
    for (const [text, message] of cases) expect(() => parseUsers(text, 'f')).toThrow(message);
  });

  it('takes no secret that is short and no name that would break the file', async () => {
    await expect(createUser('eve', 'short')).rejects.toThrow('8 to 1024 characters');
    await expect(createUser('e ve', 'long enough')).rejects.toThrow('is not a user name');
  });
});

describe('a login', () => {
  const users = new Users(new Map([eve, bob].map((user) => [user.name, user])));

  it('is right for the right secret only, first time and remembered', async () => {
    expect(await users.verify('eve', 'correct horse')).toBe(true);
    expect(await users.verify('eve', 'correct horse')).toBe(true);
    expect(await users.verify('eve', 'battery staple')).toBe(false);
    expect(await users.verify('nobody', 'correct horse')).toBe(false);
    expect(await users.verify('eve', 'x'.repeat(2_000))).toBe(false);
  });

  it('compares composed and decomposed letters alike', async () => {
    const user = await createUser('u', 'caf\u00e9-caf\u00e9', false);
    expect(await new Users(new Map([['u', user]])).verify('u', 'cafe\u0301-cafe\u0301')).toBe(true);
  });

  it('forgets what was right when the users are replaced', async () => {
    const changed = new Users(new Map([['eve', eve]]));
    expect(await changed.verify('eve', 'correct horse')).toBe(true);
    changed.replace(new Map());
    expect(await changed.verify('eve', 'correct horse')).toBe(false);
  });

  it('queues a bounded number of hashes', async () => {
    const results = await Promise.allSettled(Array.from({ length: 80 }, (_, i) => users.verify('bob', `guess ${i}`)));
    const refused = results.filter(({ status }) => status === 'rejected');
    expect(refused).toHaveLength(16);
    expect(results.filter((result) => result.status === 'fulfilled' && result.value)).toHaveLength(0);
  }, 30_000);
});

describe('SCRAM keys', () => {
  it('are those of RFC 7677, section 3', async () => {
    const salt = Buffer.from('W22ZaJ0SNY7soEsUEjb6gQ==', 'base64');
    const { serverKey, storedKey } = await scramKeys('SCRAM-SHA-256', 'pencil', salt, 4_096);
    const authMessage =
      'n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,' +
      's=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0';
    const { createHash, createHmac } = await import('node:crypto');
    expect(createHmac('sha256', serverKey).update(authMessage).digest('base64')).toBe(
      '6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=',
    );
    const signature = createHmac('sha256', storedKey).update(authMessage).digest();
    const proof = Buffer.from('dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=', 'base64');
    const clientKey = Buffer.from(proof.map((byte, i) => byte ^ signature[i]!));
    expect(createHash('sha256').update(clientKey).digest()).toEqual(storedKey);
  });
});

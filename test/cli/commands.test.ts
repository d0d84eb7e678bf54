import { mkdtempSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { dispatch } from '../../src/cli/dispatch.ts';
import { parseUsers, Users } from '../../src/security/users.ts';
import { fakeIo } from './fake-io.ts';

const directory = mkdtempSync(join(tmpdir(), 'headwater-cli-'));
const CONFIG = join(directory, 'config.yaml');
writeFileSync(
  CONFIG,
  `users.file: users
topics: { temperature: { partitions: 4, acks: all } }
routes:
  - { mqtt: "plant/+/temp", topic: temperature, key: "{1}" }
  - { mqtt: "live/#", topic: live, store: false }
`,
);

async function run(line: string, options: Parameters<typeof fakeIo>[0] = {}) {
  const io = fakeIo(options);
  const status = await dispatch(line === '' ? [] : line.split(' '), io);
  return { status, out: io.out, err: io.err };
}

describe('headwater', () => {
  it('helps', async () => {
    expect(await run('version')).toEqual({ status: 0, out: '1.2.3\n', err: '' });
    expect((await run('help')).out).toContain('Usage: headwater COMMAND');
    expect((await run('')).status).toBe(2);
    expect((await run('help consume')).out).toContain('--from-beginning');
    expect((await run('consume --help')).out).toContain('--from-beginning');
  });

  it('names what it does not know, with status 2', async () => {
    expect(await run('topisc')).toMatchObject({
      status: 2,
      err: 'headwater: there is no command "topisc"; did you mean "topics"? See: headwater help\n',
    });
    expect((await run('__proto__')).status).toBe(2);
  });

  it('refuses wrong usage with one reason and where to read on', async () => {
    const cases: readonly (readonly [string, string])[] = [
      ['consume', 'a topic is needed'],
      ['consume t --decode xml', '--decode: "xml" is not one of text, json, cbor, hex, base64'],
      [
        'consume t --group g --offset 3',
        'with --group the group decides partitions and offsets; see: headwater groups reset',
      ],
      ['consume t --from-beginning --from-time -1h', 'one of --from-beginning, --offset and --from-time'],
      ['consume t -n 0', '--max-messages: "0" is not a whole number from 1 to 2^53-1'],
      ['consume t -n -1', '--max-messages: "-1" is not a whole number from 1 to 2^53-1'],
      ['consume t --colour', 'there is no option --colour'],
      ['consume t --bootstrap-server h:1', 'there is no option --bootstrap-server; did you mean --bootstrap?'],
      ['consume t --form-beginning', 'there is no option --form-beginning; did you mean --from-beginning?'],
      ['consume t -x', 'there is no option -x'],
      ['consume t --ca /nowhere/ca.pem', '--ca: /nowhere/ca.pem: there is no such file'],
      ['publish t x --ca /', '--ca: /: it is a directory, not a file'],
      ['produce t x --acks 2', '--acks: "2" is not one of 0, 1, all'],
      ['topics eat', 'there is no "topics eat"'],
      ['topics list --bootstrap nowhere', '--bootstrap: "nowhere" is not HOST:PORT'],
      ['groups reset g --topic t', 'one of --to-earliest, --to-latest, --to-offset and --to-time is needed'],
      ['publish a/+ x', '"a/+" is a filter; messages are published to topics without + and #'],
      ['users add eve', '--file or --config is needed'],
      ['serve --set x', '--set: "x" is not NAME=VALUE'],
    ];
    for (const [line, reason] of cases) {
      const { status, err } = await run(line);
      expect([line, status]).toEqual([line, 2]);
      const command = line.split(' ')[0]!;
      expect(err.split('\n')[0]).toBe(`headwater ${command}: ${reason}`);
      expect(err).toContain(`See: headwater help ${command}\n`);
    }
  });
});

describe('headwater config', () => {
  it('check and serve name a file that is not there as any other mistake', async () => {
    const file = join(directory, 'absent.yaml');
    writeFileSync(file, 'flush.ms: 5\nusers.file: absent\n');
    const err = `${file}:2: users.file: ${join(directory, 'absent')}: there is no such file\n`;
    expect(await run(`config check ${file}`)).toEqual({ status: 78, out: '', err });
    expect(await run(`serve --config ${file}`)).toEqual({ status: 78, out: '', err });
  });

  it('check counts what is fine and lists what is not, with status 78', async () => {
    const fine = join(directory, 'fine.yaml');
    writeFileSync(fine, readFileSync(CONFIG, 'utf8').replace('users.file: users\n', ''));
    expect(await run(`config check ${fine}`)).toEqual({
      status: 0,
      out: `${fine}: fine (1 topic, 2 routes, 0 links)\n`,
      err: '',
    });
    const bad = join(directory, 'bad.yaml');
    writeFileSync(bad, 'num.partitions: 0\nflush.m: 1\n');
    expect(await run(`config check ${bad}`)).toEqual({
      status: 78,
      out: '',
      err: `${bad}:1: num.partitions: 0 is not a whole number from 1 to 4096\n${bad}:2: flush.m: unknown setting; did you mean flush.ms?\n`,
    });
    const { problems } = JSON.parse((await run(`config check ${bad} --json`)).out) as { problems: { line: number }[] };
    expect(problems.map(({ line }) => line)).toEqual([1, 2]);
  });

  it('explains a setting', async () => {
    expect((await run('config explain flush.ms')).out).toMatch(/^flush\.ms: a whole number from 0 to 60000 ms/);
    expect((await run('config explain flash.ms')).err).toContain('did you mean flush.ms?');
    expect((await run('config explain listeners')).err).toContain('"listeners" is a section of its own');
    expect((await run('config explain links.up.type')).err).toContain('"links" is a section of its own');
  });

  it('a broker does not start on a mistake', async () => {
    const bad = join(directory, 'bad2.yaml');
    writeFileSync(bad, 'listeners: { mqtt: "0.0.0.0:1883" }\n');
    const { status, err } = await run(`serve --config ${bad}`);
    expect(status).toBe(78);
    expect(err).toContain(`${bad}:1: listeners.mqtt: 0.0.0.0:1883 can be reached from other hosts`);
  });
});

describe('headwater routes test', () => {
  it('shows where a publish goes', async () => {
    const { out } = await run(`routes test plant/7/temp other/x live/a --config ${CONFIG} --json`);
    expect(JSON.parse(out)).toEqual([
      {
        mqtt: 'plant/7/temp',
        route: 'plant/+/temp',
        topic: 'temperature',
        key: '7',
        partition: expect.any(Number),
        acks: 'all',
      },
      { mqtt: 'other/x', route: null, topic: 'mqtt', key: 'other/x', partition: 0, acks: 1 },
      { mqtt: 'live/a', route: 'live/#', topic: null, key: 'live/a', partition: null, acks: 1 },
    ]);
    expect((await run(`routes test plant/7/temp --config ${CONFIG}`)).out).toMatch(
      /plant\/7\/temp +plant\/\+\/temp +temperature +7 /,
    );
  });
});

describe('headwater users', () => {
  it('adds, replaces, lists and removes', async () => {
    const file = join(directory, 'users');
    expect(await run(`users add eve --config ${CONFIG}`, { input: 'first secret\n' })).toMatchObject({
      status: 0,
      out: 'added eve\n',
    });
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect((await run(`users add eve --file ${file}`, { input: 'second secret\n' })).out).toBe(
      'secret replaced for eve\n',
    );
    await run(`users add bob --no-scram --file ${file}`, { input: 'bobs secret' });
    expect(JSON.parse((await run(`users list --json --file ${file}`)).out)).toEqual([
      { name: 'eve', mechanisms: ['PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512'] },
      { name: 'bob', mechanisms: ['PLAIN'] },
    ]);
    const users = new Users(parseUsers(readFileSync(file, 'utf8'), file));
    expect(await users.verify('eve', 'second secret')).toBe(true);
    expect(await users.verify('eve', 'first secret')).toBe(false);
    expect((await run(`users remove bob --file ${file}`)).out).toBe('removed bob\n');
    expect(await run(`users remove bob --file ${file}`)).toMatchObject({
      status: 1,
      err: `headwater users: ${file} has no user "bob"\n`,
    });
  });

  it('wants a secret worth the name, from standard input', async () => {
    const file = join(directory, 'users2');
    expect((await run(`users add eve --file ${file}`, { input: 'short\n' })).err).toContain(
      'a secret has 8 to 1024 characters',
    );
    expect((await run(`users add eve --file ${file}`)).err).toContain(
      'the secret is the first line of standard input; there is none',
    );
  });
});

/** The functional tests of Eclipse Paho's Go client, from its published module, with Headwater as their broker. */
import { connect, createServer } from 'node:net';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { TestBroker } from '../support/broker.ts';
import { havePeers } from '../support/peers.ts';
import { run } from '../support/process.ts';
import { atEnd } from '../support/scope.ts';

const SOURCE = fileURLToPath(new URL('paho-go/', import.meta.url));
/** The suite knows an address, not a port: one of loopback that nobody else uses. */
const ADDRESS = `127.${1 + (process.pid % 250)}.${1 + (Math.floor(process.pid / 250) % 250)}.7`;
/**
 * Left out: what tests the client alone and waits long for it, and one that asks for two 250-ms waits of the client within
 * 300 ms (it fails on a busy machine whatever the broker).
 */
const SKIPPED = '^(Test_Disconnect|Test_autoreconnect|Test_ping1_idle5|TestGetBackoffSleepTime)$';

describe.runIf(havePeers("Paho's Go client", 'go'))("Paho's Go client", () => {
  it('passes its own tests against this broker', async () => {
    const broker = await TestBroker.start({ brokerId: 'edge' });
    const proxy = createServer((near) => {
      const far = connect(broker.ports.mqtt, '127.0.0.1');
      near.pipe(far).pipe(near);
      for (const [one, other] of [
        [near, far],
        [far, near],
      ] as const) {
        one.on('error', () => other.destroy());
        one.on('close', () => other.destroy());
      }
    });
    await new Promise<void>((resolve, reject) => {
      proxy.once('error', reject);
      proxy.listen(1883, ADDRESS, resolve);
    });
    atEnd(async () => {
      proxy.close();
    });
    const args = ['test', '-v', '-count=1', '-skip', SKIPPED, 'github.com/eclipse/paho.mqtt.golang'];
    const env = { ...process.env, TEST_FVT_ADDR: ADDRESS };
    const { code, stdout, stderr } = await run('go', args, { cwd: SOURCE, env, timeoutMs: 170_000 });
    const outcome = (word: string) =>
      [...stdout.matchAll(new RegExp(`^--- ${word}: (\\S+)`, 'gm'))].map(([, name]) => name);
    expect(outcome('FAIL'), `${stdout.slice(-4000)}${stderr.slice(-2000)}`).toEqual([]);
    expect(outcome('PASS')).toEqual(
      expect.arrayContaining(['Test_p2s2', 'Test_Will', 'Test_CleanSession', 'Test_ResumeSubs', 'Test_noFreeID']),
    );
    expect(code).toBe(0);
  }, 180_000);
});

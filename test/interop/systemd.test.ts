import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { TestBroker } from '../support/broker.ts';
import { havePeers } from '../support/peers.ts';
import { Child } from '../support/process.ts';
import { tempDir } from '../support/scope.ts';

/** A service manager's end of the notification socket: prints what it is told. */
const LISTENER = `
import socket, sys
listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
listener.bind(sys.argv[1])
print("bound", flush=True)
while True:
    print(listener.recv(4096).decode(), flush=True)
`;

describe.runIf(havePeers('systemd notifications', 'systemd-notify', 'python3'))('under a service manager', () => {
  it('says when it is ready, reloading, alive and stopping', async () => {
    const path = join(tempDir('notify'), 'socket');
    const manager = new Child('python3', ['-c', LISTENER, path]);
    manager.endInput();
    const told = (what: RegExp) =>
      manager.until(String(what), 15_000, (stdout) => (what.test(stdout) ? true : undefined));
    await told(/^bound$/m);
    const broker = await TestBroker.start({ env: { NOTIFY_SOCKET: path, WATCHDOG_USEC: '2000000' } });
    await told(/^READY=1$/m);
    expect(manager.stdout).toMatch(/^STATUS=serving, .*mqtt 127\.0\.0\.1:\d+/m);
    await told(/^WATCHDOG=1$/m);
    process.kill(broker.pid, 'SIGHUP');
    await told(/^RELOADING=1$.*^READY=1$/ms);
    const { code, ms } = await broker.stop();
    expect(code).toBe(0);
    expect(ms).toBeLessThan(2_000);
    await told(/^STOPPING=1$/m);
    await manager.stop('SIGKILL');
  });
});

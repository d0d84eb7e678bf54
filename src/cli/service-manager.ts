/**
 * What systemd wants to hear from a `Type=notify` service (sd_notify(3)): ready, reloading, stopping, alive. Its socket is
 * a Unix datagram socket, which Node.js does not have; systemd's own `systemd-notify` sends for us, one short process a
 * message, so the unit sets NotifyAccess=all. Outside systemd (no NOTIFY_SOCKET) nothing is done and nothing loaded.
 */
import type { Clock, Timer } from '../env.ts';
import type { Logger } from '../logger.ts';

export class ServiceManager {
  readonly #present: boolean;
  readonly #watchdogMs: number;
  readonly #clock: Clock;
  readonly #logger: Logger;
  #timer: Timer | null = null;
  #complained = false;

  /** WATCHDOG_USEC is the time within which the service must be heard again, microseconds. */
  constructor(env: Readonly<Record<string, string | undefined>>, clock: Clock, logger: Logger) {
    this.#present = env['NOTIFY_SOCKET'] !== undefined;
    this.#watchdogMs = Math.floor(Number(env['WATCHDOG_USEC'] ?? 0) / 1_000);
    this.#clock = clock;
    this.#logger = logger;
  }

  /** The listeners accept connections. From now on `alive` is asked at twice the pace that the watchdog needs. */
  async ready(status: string, alive: () => boolean): Promise<void> {
    await this.#tell('--ready', `--status=${status}`);
    if (!this.#present || this.#watchdogMs <= 0) return;
    this.#timer = this.#clock.every(Math.max(1_000, this.#watchdogMs / 2), () => {
      if (alive()) void this.#tell('WATCHDOG=1');
    });
  }

  async reloading(): Promise<void> {
    await this.#tell('RELOADING=1');
  }

  async reloaded(status: string): Promise<void> {
    await this.#tell('--ready', `--status=${status}`);
  }

  async stopping(): Promise<void> {
    this.#timer?.cancel();
    await this.#tell('STOPPING=1');
  }

  async #tell(...words: string[]): Promise<void> {
    if (!this.#present) return;
    const { spawn } = await import('node:child_process');
    await new Promise<void>((done) => {
      const failed = (reason: string) => {
        if (!this.#complained) this.#logger.warn({ reason }, 'systemd could not be told; is systemd-notify installed?');
        this.#complained = true;
        done();
      };
      const child = spawn('systemd-notify', words, { stdio: 'ignore', timeout: 5_000 });
      child.on('error', (error) => failed(error.message));
      child.on('exit', (code, signal) => {
        if (code === 0) done();
        else failed(`exit status ${code ?? signal}`);
      });
    });
  }
}

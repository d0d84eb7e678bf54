/** A connected client of the package `mqtt`, over sockets that come from `env`. Reconnecting is the link's own affair. */
import type { IClientOptions, MqttClient } from 'mqtt';
import type { TlsOptions } from '../client/tls.ts';
import type { Env } from '../env.ts';
import { HeadwaterError } from '../errors.ts';

export interface MqttTarget {
  /** mqtt:, mqtts:, ws: or wss:. */
  readonly url: string;
  readonly clientId: string;
  readonly username: string | null;
  readonly password: string | null;
  readonly tls: TlsOptions | undefined;
  readonly connectTimeoutMs: number;
  readonly version: 4 | 5;
}

export async function connectMqtt(env: Env, target: MqttTarget): Promise<MqttClient> {
  const [{ default: mqtt }, tls] = await Promise.all([import('mqtt'), import('node:tls')]);
  const url = new URL(target.url);
  const options: IClientOptions = {
    clientId: target.clientId,
    protocolVersion: target.version,
    clean: true,
    reconnectPeriod: 0,
    keepalive: 30,
    connectTimeout: target.connectTimeoutMs,
    queueQoSZero: false,
    ...(target.username === null ? {} : { username: target.username }),
    ...(target.password === null ? {} : { password: target.password }),
  };
  const secured = url.protocol === 'mqtts:' || url.protocol === 'wss:';
  const secureOptions = secured ? { ...target.tls, servername: target.tls?.servername ?? url.hostname } : {};
  const client =
    url.protocol === 'ws:' || url.protocol === 'wss:'
      ? mqtt.connect(target.url, { ...options, ...(secureOptions as IClientOptions) })
      : new mqtt.MqttClient(() => {
          const plain = env.net.connect(url.hostname, Number(url.port || (secured ? 8883 : 1883)));
          if (!secured) return plain;
          const socket = tls.connect({ socket: plain, minVersion: 'TLSv1.2', ...secureOptions });
          plain.on('error', (error) => socket.destroy(error));
          return socket;
        }, options);
  return new Promise((resolve, reject) => {
    const failed = (error?: Error): void => {
      client.end(true);
      reject(
        new HeadwaterError('CONNECTION_LOST', `${target.url}: ${error?.message ?? 'no connection'}`, { cause: error }),
      );
    };
    client.on('error', failed);
    client.once('close', () => failed());
    client.once('connect', () => resolve(client));
  });
}

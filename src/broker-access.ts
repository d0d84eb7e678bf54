/** How the edges ask `security`: its one facade in the shape that each edge wants. */
import type { Config } from './config/config.ts';
import type { Authenticate } from './http/gate.ts';
import type { Authenticator } from './mqtt/access.ts';
import type { Security, SecuritySettings } from './security/security.ts';

export function securitySettings({ settings }: Config): SecuritySettings {
  const certificate = settings['ssl.certificate.file'];
  const key = settings['ssl.key.file'];
  return {
    usersFile: settings['users.file'],
    aclFile: settings['acl.file'],
    superUsers: settings['super.users'],
    allowAnonymous: settings['allow.anonymous'],
    saslMechanisms: settings['sasl.enabled.mechanisms'] as SecuritySettings['saslMechanisms'],
    tls:
      certificate === null || key === null
        ? null
        : { certificate, key, ca: settings['ssl.ca.file'], clientAuth: settings['ssl.client.auth'] },
  };
}

export function mqttAuthenticator(security: Security): Authenticator {
  return {
    authenticate: async ({ username, password, certificate, remoteAddress }) => {
      const name = await security.login('mqtt', { username, password, certificate, remoteAddress });
      return name === null ? null : { name };
    },
    authorize: ({ name }, clientId, action, topic) => security.allowsMqtt(name, clientId, action, topic),
  };
}

/** null: there is nobody to log in as, and the page answers loopback only. */
export function httpAuthenticate(security: Security): Authenticate | null {
  if (!security.hasUsers) return null;
  return async (username, secret, remoteAddress) => {
    const password = Buffer.from(secret);
    const name = await security.login('http', { username, password, certificate: null, remoteAddress });
    return name === null ? null : { user: name, admin: security.isSuperUser(name) };
  };
}

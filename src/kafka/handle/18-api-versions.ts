import { apiVersions } from '../../wire/kafka/api/18-api-versions.ts';
import { KAFKA_ERROR } from '../../wire/kafka/errors.ts';
import { type Handler, handler } from '../handler.ts';

export type AdvertisedVersion = { readonly apiKey: number; readonly minVersion: number; readonly maxVersion: number };

/** KIP-511: what a client may call itself. */
const SOFTWARE = /^[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?$/;

/**
 * Advertises what is registered. No feature is finalized: clients then stay on transaction protocol V1 (KIP-890).
 * A version above ours is answered by the connection, in version 0, before this is called.
 */
export function apiVersionsHandler(
  advertised: (inPair: boolean) => readonly AdvertisedVersion[],
): Handler<typeof apiVersions> {
  return handler({
    api: apiVersions,
    unauthenticated: true,
    handle({ pair }, request, version) {
      if (
        version >= 3 &&
        !(SOFTWARE.test(request.clientSoftwareName) && SOFTWARE.test(request.clientSoftwareVersion))
      ) {
        return { errorCode: KAFKA_ERROR.INVALID_REQUEST, apiKeys: [] };
      }
      return { errorCode: KAFKA_ERROR.NONE, apiKeys: advertised(pair !== null) };
    },
  });
}

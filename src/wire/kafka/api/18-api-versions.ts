import { api, array, bool, int16, int32, int64, string } from '../schema.ts';

export const apiVersions = api({
  key: 18,
  name: 'ApiVersions',
  range: [0, 4],
  advertise: [0, 4],
  flexibleFrom: 3,
  request: {
    clientSoftwareName: string('3+', { default: '' }),
    clientSoftwareVersion: string('3+', { default: '' }),
  },
  response: {
    errorCode: int16('0+'),
    apiKeys: array('0+', {
      apiKey: int16('0+'),
      minVersion: int16('0+'),
      maxVersion: int16('0+'),
    }),
    throttleTimeMs: int32('1+', { default: 0 }),
    supportedFeatures: array(
      '3+',
      {
        name: string('3+'),
        minVersion: int16('3+'),
        maxVersion: int16('3+'),
      },
      { tagged: ['3+', 0], default: [] },
    ),
    finalizedFeaturesEpoch: int64('3+', { tagged: ['3+', 1], default: -1 }),
    finalizedFeatures: array(
      '3+',
      {
        name: string('3+'),
        maxVersionLevel: int16('3+'),
        minVersionLevel: int16('3+'),
      },
      { tagged: ['3+', 2], default: [] },
    ),
    zkMigrationReady: bool('3+', { tagged: ['3+', 3], default: false }),
  },
});

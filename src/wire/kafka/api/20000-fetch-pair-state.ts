import { api, array, bool, bytes, int16, int64, string } from '../schema.ts';

/**
 * Not Kafka's: how the follower of a pair asks its leader for the rows of the metadata database that both have
 * (standby/pair-rows.ts). The key is far above any of Kafka's, and advertised by brokers of a pair only.
 */
export const fetchPairState = api({
  key: 20_000,
  name: 'FetchPairState',
  range: [0, 0],
  advertise: [0, 0],
  flexibleFrom: 0,
  request: {
    /** Of the leader's process, from an earlier answer: it counts changes from its start. */
    instance: string('0+'),
    /** Changes behind this one; -1: everything, in the order of the keys. */
    since: int64('0+'),
    /** Of everything: what comes behind this key. */
    after: bytes('0+'),
  },
  response: {
    errorCode: int16('0+'),
    instance: string('0+', { default: '' }),
    /** The change up to which the rows are known to be complete. */
    through: int64('0+', { default: -1 }),
    /** Nothing more follows. */
    complete: bool('0+', { default: false }),
    rows: array('0+', {
      key: bytes('0+'),
      /** null: there is none any more. */
      value: bytes('0+', { nullable: '0+' }),
    }),
  },
});

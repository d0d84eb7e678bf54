/** What a source is told and what it tells. The section `sources` of the configuration fits `SourceSettings`. */
export interface SourceSettings {
  readonly type: 'tail';
  readonly paths: readonly string[];
  readonly topic: string;
  readonly key: string | null;
  readonly 'key.pattern': string | null;
  readonly headers: readonly string[];
  readonly acks: '1' | 'all';
  readonly 'start.at': 'beginning' | 'end';
  readonly 'record.max.bytes': number;
  readonly 'multiline.start': string | null;
  readonly 'multiline.timeout.ms': number;
  readonly 'poll.interval.ms': number;
  readonly 'rotate.wait.ms': number;
  readonly paused: boolean;
}

/** `reading`: there is more to read now. `waiting`: all that is there is stored. `failing`: tried again; see the error. */
export type SourceState = 'reading' | 'waiting' | 'failing' | 'paused';

export interface SourceStatus {
  readonly name: string;
  readonly state: SourceState;
  readonly topic: string;
  /** Files held open. */
  readonly files: number;
  /** Bytes of those that are not stored yet. */
  readonly backlogBytes: number;
  readonly lastError: string | null;
}

/** KIP-554: SCRAM credentials over the wire, which carries salted passwords and never the secrets. Rules as in Kafka. */
import { USERS_OVER_KAFKA_MAX } from '../limits.ts';
import { type ScramMechanism, scramKeyBytes, scramKeysOfSalted } from '../security/secrets.ts';
import { type User, userNameProblem } from '../security/users.ts';
import type { alterUserScramCredentials } from '../wire/kafka/api/51-alter-user-scram-credentials.ts';
import { KAFKA_ERROR } from '../wire/kafka/errors.ts';
import type { RequestOf } from '../wire/kafka/schema.ts';

type Request = RequestOf<typeof alterUserScramCredentials>;
type Upsertion = Request['upsertions'][number];

/** As DescribeUserScramCredentials numbers them. */
const MECHANISMS: ReadonlyMap<number, ScramMechanism> = new Map([
  [1, 'SCRAM-SHA-256'],
  [2, 'SCRAM-SHA-512'],
]);
const ITERATIONS_MIN = 4_096;
const ITERATIONS_MAX = 16_384;
const SALT_MIN_BYTES = 8;
const SALT_MAX_BYTES = 128;

export function mechanismNumber(mechanism: ScramMechanism): number {
  return mechanism === 'SCRAM-SHA-256' ? 1 : 2;
}

export interface ScramOutcome {
  readonly errorCode: number;
  readonly errorMessage: string | null;
}

const outcome = (errorCode: number, errorMessage: string | null = null): ScramOutcome => ({ errorCode, errorMessage });
const DONE = outcome(KAFKA_ERROR.NONE);

/** What is wrong with a request before the users are looked at; by user, everyone who is named in it is there. */
export function checkScramChanges({ deletions, upsertions }: Request): Map<string, ScramOutcome> {
  const outcomes = new Map<string, ScramOutcome>();
  const seen = new Set<string>();
  const add = (name: string, mechanism: number, check: () => ScramOutcome) => {
    const key = `${mechanism} ${name}`;
    const problem = seen.has(key)
      ? outcome(KAFKA_ERROR.DUPLICATE_RESOURCE, `the same mechanism of "${name}" twice in one request`)
      : MECHANISMS.has(mechanism)
        ? check()
        : outcome(KAFKA_ERROR.UNSUPPORTED_SASL_MECHANISM, `mechanism ${mechanism}: allowed are 1 and 2`);
    seen.add(key);
    if ((outcomes.get(name) ?? DONE).errorCode === KAFKA_ERROR.NONE) outcomes.set(name, problem);
  };
  for (const { name, mechanism } of deletions) add(name, mechanism, () => DONE);
  for (const one of upsertions) add(one.name, one.mechanism, () => unacceptable(one));
  return outcomes;
}

function unacceptable({ name, mechanism, iterations, salt, saltedPassword }: Upsertion): ScramOutcome {
  const refuse = (why: string) => outcome(KAFKA_ERROR.UNACCEPTABLE_CREDENTIAL, why);
  const problem = userNameProblem(name);
  if (problem !== null) return refuse(problem);
  if (iterations < ITERATIONS_MIN || iterations > ITERATIONS_MAX) {
    return refuse(`${iterations} iterations: allowed are ${ITERATIONS_MIN} to ${ITERATIONS_MAX}`);
  }
  if (salt.length < SALT_MIN_BYTES || salt.length > SALT_MAX_BYTES) {
    return refuse(`a salt of ${salt.length} bytes: allowed are ${SALT_MIN_BYTES} to ${SALT_MAX_BYTES}`);
  }
  const size = scramKeyBytes(MECHANISMS.get(mechanism)!);
  if (saltedPassword.length !== size) {
    return refuse(`a salted password of ${saltedPassword.length} bytes, not ${size}`);
  }
  return DONE;
}

/**
 * Changes `users` for everyone in `outcomes` whom nothing stands against, and sets what stands against the others. The newest
 * secret counts: one that was known otherwise (scrypt) goes, so that what was changed here does not open the other edges.
 */
export function applyScramChanges(
  users: Map<string, User>,
  { deletions, upsertions }: Request,
  outcomes: Map<string, ScramOutcome>,
): void {
  for (const name of outcomes.keys()) {
    if (outcomes.get(name)!.errorCode !== KAFKA_ERROR.NONE) continue;
    const before = users.get(name);
    const scram = new Map(before?.scram);
    let refused: ScramOutcome | null = null;
    for (const deletion of deletions) {
      if (deletion.name !== name || scram.delete(MECHANISMS.get(deletion.mechanism)!)) continue;
      refused = outcome(KAFKA_ERROR.RESOURCE_NOT_FOUND, `"${name}" has no such SCRAM credential to delete`);
    }
    const added = upsertions.filter((upsertion) => upsertion.name === name);
    if (before === undefined && added.length > 0 && users.size >= USERS_OVER_KAFKA_MAX) {
      refused = outcome(
        KAFKA_ERROR.UNACCEPTABLE_CREDENTIAL,
        `there are ${users.size} users, no more are made this way`,
      );
    }
    if (refused !== null) {
      outcomes.set(name, refused);
      continue;
    }
    for (const { mechanism, salt, saltedPassword, iterations } of added) {
      const known = MECHANISMS.get(mechanism)!;
      // The request's bytes are a view of its frame.
      scram.set(known, scramKeysOfSalted(known, saltedPassword, Uint8Array.from(salt), iterations));
    }
    const scrypt = added.length > 0 ? null : (before?.scrypt ?? null);
    if (scrypt === null && scram.size === 0) users.delete(name);
    else users.set(name, { name, scrypt, scram });
  }
}

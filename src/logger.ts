/** The log of events for people and journald: pino's shape, so that pino is loaded only by the process that prints. */
export interface Logger {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** Says nothing; for tests and for code that runs inside a command-line tool. */
export const silentLogger: Logger = { debug() {}, info() {}, warn() {}, error() {} };

/** A line to a device: bytes both ways, until it closes. */
import { openSync, readSync } from 'node:fs';
import { ReadStream, WriteStream } from 'node:tty';

export interface TransportEvents {
  readonly onData: (bytes: Buffer) => void;
  /** Once, for whatever reason: unplugged, error, close(). */
  readonly onClose: (reason: string) => void;
}

export interface Transport {
  write(bytes: Buffer): void;
  close(): void;
}

export type OpenTransport = (path: string, baud: number, events: TransportEvents) => Promise<Transport>;

/** What waits to be sent on a stalled line is dropped beyond this: acknowledgements are repeated anyway. */
const MAX_UNSENT = 16_384;

/** What is read at once: the package would keep 64 KiB a port. */
const READ_BYTES = 4096;

/** A serial port by the `serialport` package, which is loaded when the first one is opened. */
export const openSerial: OpenTransport = async (path, baudRate, { onData, onClose }) => {
  const { SerialPort } = (await import('serialport')).default;
  const port = new SerialPort({ path, baudRate, autoOpen: false, lock: true, highWaterMark: READ_BYTES });
  await new Promise<void>((resolve, reject) => port.open((error) => (error ? reject(error) : resolve())));
  let isClosed = false;
  const closed = (reason: string): void => {
    if (isClosed) return;
    isClosed = true;
    port.removeAllListeners();
    port.on('error', () => {});
    if (port.isOpen) port.close(() => {});
    onClose(reason);
  };
  port.on('data', onData);
  port.on('error', (error: Error) => closed(error.message));
  port.on('close', () => closed('unplugged'));
  return {
    write(bytes) {
      if (!isClosed && port.writableLength < MAX_UNSENT) port.write(bytes);
    },
    close: () => closed('closed'),
  };
};

/** A terminal that something else has set up (a pty, or `stty -F /dev/ttyS0 115200 raw -echo`): needs no native module. */
export const openTty: OpenTransport = async (path, _baud, { onData, onClose }) => {
  const { O_RDWR, O_NOCTTY, O_NONBLOCK } = (await import('node:fs')).constants;
  const fd = openSync(path, O_RDWR | O_NOCTTY | O_NONBLOCK);
  discardInput(fd);
  const input = new ReadStream(fd);
  const output = new WriteStream(fd);
  let isClosed = false;
  const closed = (reason: string): void => {
    if (isClosed) return;
    isClosed = true;
    input.destroy();
    output.destroy();
    onClose(reason);
  };
  input.on('data', onData);
  for (const stream of [input, output]) {
    stream.on('error', (error: Error) => closed(error.message));
    stream.on('close', () => closed('unplugged'));
  }
  return {
    write(bytes) {
      if (!isClosed && output.writableLength < MAX_UNSENT) output.write(bytes);
    },
    close: () => closed('closed'),
  };
};

/** What a device said while nobody listened is stale. */
function discardInput(fd: number): void {
  const scratch = Buffer.alloc(4096);
  try {
    while (readSync(fd, scratch, 0, scratch.length, null) > 0);
  } catch {
    // EAGAIN: empty now
  }
}

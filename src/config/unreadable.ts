/** Why a file that was named cannot be read, for who named it. */
export function unreadable(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  switch (code) {
    case 'ENOENT':
      return 'there is no such file';
    case 'EACCES':
      return 'it may not be read';
    case 'EISDIR':
      return 'it is a directory, not a file';
    default:
      return message;
  }
}

/** The files of the admin page, read when first asked for. */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { answer } from './answer.ts';

const TYPES: Readonly<Record<string, string>> = {
  html: 'text/html; charset=utf-8',
  js: 'text/javascript; charset=utf-8',
  css: 'text/css; charset=utf-8',
  svg: 'image/svg+xml',
};

/** Exactly what is served; nothing else of the directory can be reached. */
const FILES: Readonly<Record<string, string>> = {
  '/': 'index.html',
  '/page.js': 'page.js',
  '/views.js': 'views.js',
  '/actions.js': 'actions.js',
  '/chart.js': 'chart.js',
  '/dom.js': 'dom.js',
  '/rates.js': 'rates.js',
  '/page.css': 'page.css',
  '/icon.svg': 'icon.svg',
};

export interface PageFile {
  send(request: IncomingMessage, response: ServerResponse): Promise<void>;
}

export class PageFiles {
  readonly #directory: string;

  /** `directory`: `page` beside this module, in src/http as in dist. */
  constructor(directory: string = fileURLToPath(new URL('./page', import.meta.url))) {
    this.#directory = directory;
  }

  find(pathname: string): PageFile | null {
    const name = Object.hasOwn(FILES, pathname) ? FILES[pathname]! : null;
    return name === null ? null : { send: (request, response) => this.#send(name, request, response) };
  }

  async #send(name: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
    // Read each time: people look rarely, and memory is for records.
    const content = await readFile(join(this.#directory, name));
    const tag = `"${createHash('sha256').update(content).digest('base64url').slice(0, 22)}"`;
    const options = { type: TYPES[name.slice(name.lastIndexOf('.') + 1)]!, cache: 'no-cache', headers: { etag: tag } };
    if (request.headers['if-none-match'] === tag) answer(request, response, '', { ...options, status: 304 });
    else answer(request, response, content, options);
  }
}

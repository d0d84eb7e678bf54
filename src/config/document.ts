/**
 * A YAML text as values that know their line, so that every mistake can be named with its place. The parser is loaded
 * when there is a file to read: a broker that runs on flags alone never pays for it.
 */
import type { Problem } from './config.ts';

export type Located = LocatedScalar | LocatedList | LocatedMap;

export interface LocatedScalar {
  readonly kind: 'scalar';
  readonly value: unknown;
  readonly line: number;
}

export interface LocatedList {
  readonly kind: 'list';
  readonly items: readonly Located[];
  readonly line: number;
}

export interface LocatedMap {
  readonly kind: 'map';
  readonly entries: readonly LocatedEntry[];
  readonly line: number;
}

export interface LocatedEntry {
  readonly key: string;
  readonly line: number;
  readonly value: Located;
}

/** Nodes after which a document is refused: aliases of aliases can unfold a page of text into gigabytes. */
const NODES_MAX = 100_000;
const DEPTH_MAX = 20;

/** The document's top map (null when it is empty), or what is wrong with the text. */
export async function parseDocument(
  text: string,
  source: string,
): Promise<{ root: LocatedMap | null; problems: Problem[] }> {
  const yaml = await import('yaml');
  const lines = new yaml.LineCounter();
  const document = yaml.parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: true });
  const problems: Problem[] = document.errors.map((error) => ({
    path: '',
    line: lines.linePos(error.pos[0]).line,
    source,
    message:
      error.code === 'DUPLICATE_KEY'
        ? `the key ${keyAt(text, error.pos[0])} is there twice; every key may be there once`
        : `not valid YAML: ${error.message}`,
  }));
  if (problems.length > 0) return { root: null, problems };

  const lineOf = (node: unknown) => {
    const range = yaml.isNode(node) ? node.range : undefined;
    return range == null ? 1 : lines.linePos(range[0]).line;
  };
  let nodes = 0;
  const place = (node: unknown, depth: number): Located => {
    if (++nodes > NODES_MAX || depth > DEPTH_MAX) throw new RangeError('the document is nested or repeated too deeply');
    if (yaml.isAlias(node)) {
      const target = node.resolve(document);
      return target === undefined ? { kind: 'scalar', value: null, line: lineOf(node) } : place(target, depth + 1);
    }
    if (yaml.isMap(node)) {
      return {
        kind: 'map',
        line: lineOf(node),
        entries: node.items.map(({ key, value }) => ({
          key: yaml.isScalar(key) ? String(key.value) : String(key),
          line: lineOf(key),
          value: value === null ? { kind: 'scalar', value: null, line: lineOf(key) } : place(value, depth + 1),
        })),
      };
    }
    if (yaml.isSeq(node)) {
      return { kind: 'list', line: lineOf(node), items: node.items.map((item) => place(item, depth + 1)) };
    }
    return { kind: 'scalar', value: yaml.isScalar(node) ? node.value : null, line: lineOf(node) };
  };
  try {
    if (document.contents === null) return { root: null, problems };
    const root = place(document.contents, 0);
    if (root.kind === 'map') return { root, problems };
    if (root.kind === 'scalar' && root.value === null) return { root: null, problems };
    problems.push({
      path: '',
      line: root.line,
      source,
      message: 'the file must hold settings, one `name: value` a line',
    });
  } catch (error) {
    problems.push({ path: '', line: null, source, message: error instanceof Error ? error.message : String(error) });
  }
  return { root: null, problems };
}

function keyAt(text: string, position: number): string {
  return `"${/^[^:\s]*/.exec(text.slice(position, position + 80))![0]}"`;
}

/** The value as plain JavaScript. */
export function plainValue(node: Located): unknown {
  if (node.kind === 'scalar') return node.value;
  if (node.kind === 'list') return node.items.map(plainValue);
  return Object.fromEntries(node.entries.map(({ key, value }) => [key, plainValue(value)]));
}

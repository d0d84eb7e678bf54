import { mkdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { encode } from 'cbor-x';
import { connectAsync } from 'mqtt';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestBroker } from '../support/broker.ts';
import { Browser } from '../support/browser.ts';
import { havePeers } from '../support/peers.ts';

const PICTURES = fileURLToPath(new URL('../../docs/pictures/', import.meta.url));

const CONFIG = `
topics: { temperature: { partitions: 2, retention.ms: 7d } }
routes: [{ mqtt: "plant/+/temp", topic: temperature, key: "{1}" }]
links: { hub: { type: kafka, bootstrap.servers: "127.0.0.1:1", topics: [temperature] } }
`;

describe.runIf(havePeers('the admin page in a browser', 'chromium'))('the admin page', () => {
  let broker: TestBroker;
  let browser: Browser;
  const url = (hash: string) => `http://127.0.0.1:${broker.ports.http}/#/${hash}`;
  const text = () => browser.ask<string>('document.querySelector("main").innerText');

  beforeAll(async () => {
    broker = await TestBroker.start({ brokerId: 'edge-1', config: CONFIG });
    const client = await connectAsync(broker.mqttUrl, { clientId: 'sensor-7', protocolVersion: 5 });
    for (let n = 0; n < 120; n++) {
      await client.publishAsync(`plant/${n % 5}/temp`, JSON.stringify({ n, celsius: 21.5 }), { qos: 1 });
    }
    await client.publishAsync('plant/x/note', '<img src=x onerror="window.hacked = true"><b>bold</b>', { qos: 1 });
    await client.publishAsync('plant/y/reading', Buffer.from(encode({ temperature: -21.5, door: 'open' })), {
      qos: 1,
      properties: { userProperties: { units: 'temperature=Cel' } },
    });
    browser = await Browser.start();
    await browser.view({ width: 1200, height: 900 });
    await browser.open(url(''));
    await browser.until('document.querySelector("main section")');
  });

  afterAll(async () => {
    await browser?.close();
  });

  const show = async (hash: string, wanted: string) => {
    await browser.ask(`location.hash = ${JSON.stringify(`#/${hash}`)}`);
    await browser.until(`document.querySelector("main").innerText.includes(${JSON.stringify(wanted)})`);
  };

  /** A minute of telemetry, so that the pictures for the docs have curves to show. */
  const gatherHistory = async () => {
    const client = await connectAsync(broker.mqttUrl, { clientId: 'sensor-8', protocolVersion: 5 });
    for (let n = 0; n < 550; n++) {
      await client.publishAsync(`plant/${n % 5}/temp`, JSON.stringify({ n, celsius: 21.5 }), { qos: 1 });
      await sleep(n < 300 ? 60 : 150);
    }
    await client.endAsync();
  };

  it('shows the broker, its topics and its links', async () => {
    await show('', 'hub');
    expect(await browser.ask('document.querySelector("#broker").textContent')).toContain('edge-1');
    await show('topics', 'temperature');
    expect(await text()).toMatch(/temperature\s+2\s+120/);
    await show('topics/temperature', 'retention.ms');
    // Asked again after three seconds, it knows a rate.
    await browser.until('/\\d\\.\\d\\/s/.test(document.querySelector("main").innerText)');
    await show('links', '127.0.0.1:1');
    await show('clients', 'sensor-7');
  });

  it('shows messages as what they are, and never as markup', async () => {
    await show('messages/temperature/0/0', '"celsius":21.5');
    await show('messages/mqtt/0/0', '<img src=x');
    expect(await text()).toMatch(/temperature\s+-21\.5 °C\s+door\s+open/);
    expect(await browser.ask('[window.hacked ?? null, document.querySelectorAll("main img, main b").length]')).toEqual([
      null,
      0,
    ]);
  });

  it('creates, alters and deletes a topic', async () => {
    const button = (name: string) =>
      browser.ask(
        `[...document.querySelectorAll("button")].find((b) => b.textContent === ${JSON.stringify(name)}).click()`,
      );
    const field = (name: string, value: string) =>
      browser.ask(`document.querySelector('dialog [name="${name}"]').value = ${JSON.stringify(value)}`);
    await show('topics', 'Create topic');
    await button('Create topic');
    await field('name', 'made.here');
    await field('config', 'retention.ms=nonsense');
    await button('Create');
    await browser.until('document.querySelector("dialog [role=alert]").textContent.includes("nonsense")');
    await field('config', 'retention.ms=1h');
    await field('partitions', '3');
    await button('Create');
    await browser.until(
      'location.hash === "#/topics/made.here" && document.querySelector("main").innerText.includes("3600000")',
    );
    await button('Alter');
    await field('partitions', '4');
    await browser.ask('document.querySelector("dialog button.primary").click()');
    await browser.until('document.querySelectorAll("main section:nth-of-type(2) tbody tr").length === 4');
    await button('Delete');
    await field('name', 'made.here');
    await browser.ask('document.querySelector("dialog button.danger").click()');
    await browser.until(
      'location.hash === "#/topics" && !document.querySelector("main").innerText.includes("made.here")',
    );
  });

  it('filters the topics by name once there are ten, by keyboard, and keeps what was typed', async () => {
    const change = (method: string, path: string, body?: object) =>
      fetch(`http://127.0.0.1:${broker.ports.http}/api/v1/topics${path}`, {
        method,
        headers: { 'content-type': 'application/json', 'x-requested-with': 'test' },
        ...(body && { body: JSON.stringify(body) }),
      });
    const shown = () =>
      browser.ask<string[]>('[...document.querySelectorAll("main tbody tr a")].map((a) => a.textContent)');
    const isThere = () => browser.ask<boolean>('document.querySelector("#filter").checkVisibility()');
    const found = () => browser.ask<string>('document.querySelector("output").textContent');
    const focused = () => browser.ask<string>('document.activeElement.id');
    const tabToFilter = async () => {
      for (let i = 0; i < 20 && (await focused()) !== 'filter'; i++) await browser.press('Tab');
    };
    await show('topics', 'temperature');
    expect(await isThere()).toBe(false);
    const made = Array.from({ length: 120 }, (_, n) => `Line.${n}.${n % 2 === 0 ? 'speed' : 'torque'}`);
    for (const name of made) expect((await change('POST', '', { name, partitions: 1 })).ok).toBe(true);
    await browser.until('document.querySelectorAll("main tbody tr").length === 122');
    expect(await isThere()).toBe(true);
    expect(await found()).toBe('');
    expect(await browser.ask('document.querySelector("#filter").labels[0].textContent')).toBe('Filter by name');
    await browser.open('about:blank');
    await browser.open(url('topics'));
    await browser.until('document.querySelectorAll("main tbody tr").length === 122');
    await tabToFilter();
    await browser.type('line.11');
    expect(await found()).toBe('11 of 122');
    expect(await shown()).toEqual(['Line.11.torque', ...made.slice(110)]);
    // The figures go on while the cursor is in the field.
    await change('POST', '', { name: 'Line.11.load', partitions: 1 });
    await browser.until('document.querySelector("output").textContent === "12 of 123"');
    expect(await focused()).toBe('filter');
    await browser.view({ width: 390, height: 844, mobile: true, scheme: 'dark' });
    expect(await browser.ask('document.documentElement.scrollWidth <= innerWidth')).toBe(true);
    await browser.view({ width: 1200, height: 900 });
    await show('topics/Line.11.load', 'retention.ms');
    await show('topics', 'Filter by name');
    expect(await shown()).toHaveLength(12);
    await tabToFilter();
    await browser.type('nowhere');
    await browser.until('document.querySelector("main").innerText.includes("No topic has “nowhere” in its name.")');
    await browser.press('Escape');
    expect(await found()).toBe('');
    expect(await shown()).toHaveLength(123);
    for (const name of [...made, 'Line.11.load']) expect((await change('DELETE', `/${name}`)).ok).toBe(true);
    await browser.until('!document.querySelector("#filter").checkVisibility()');
  });

  it('can be used by keyboard alone', async () => {
    await browser.open('about:blank');
    await browser.open(url('topics'));
    await browser.until('document.querySelector("main").innerText.includes("temperature")');
    const focused = () => browser.ask<string>('document.activeElement.textContent');
    await browser.press('Tab');
    expect(await focused()).toBe('Skip to content');
    for (let i = 0; i < 20 && (await focused()) !== 'Messages'; i++) await browser.press('Tab');
    await browser.press('Enter');
    await browser.until('location.hash === "#/messages"');
    await browser.until('document.activeElement.id === "main"');
  });

  it('fits a phone, in light and dark, and draws its charts', async () => {
    mkdirSync(PICTURES, { recursive: true });
    if (process.env['UPDATE_PICTURES'] !== undefined) await gatherHistory();
    const sizes = { desktop: { width: 1200, height: 900 }, phone: { width: 390, height: 844, mobile: true } };
    for (const [size, viewport] of Object.entries(sizes)) {
      for (const scheme of ['light', 'dark'] as const) {
        await browser.view({ ...viewport, scheme });
        for (const [name, wanted] of [
          ['', 'hub'],
          ['topics', 'temperature'],
          ['messages/temperature/0/0', 'celsius'],
          ['messages/mqtt/0/0', '°C'],
        ] as const) {
          await show(name, wanted);
          expect(await browser.ask('document.documentElement.scrollWidth <= innerWidth'), `${size} ${name}`).toBe(true);
          if (process.env['UPDATE_PICTURES'] === undefined || name.startsWith('messages/mqtt')) continue;
          await browser.picture(`${PICTURES}${name === '' ? 'overview' : name.split('/')[0]}-${size}-${scheme}.png`);
        }
      }
    }
  });

  it('asks nobody but its broker, and raises no error', async () => {
    expect(browser.problems.filter((problem) => !problem.includes('400'))).toEqual([]);
    const origins = await browser.ask<string[]>(
      '[...new Set(performance.getEntriesByType("resource").map((e) => new URL(e.name).origin))]',
    );
    expect(origins).toEqual([`http://127.0.0.1:${broker.ports.http}`]);
  });
});

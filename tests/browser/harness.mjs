// What the scenes of chat.mjs are played with: servers, tabs, line clients, a cable that can be cut.

import {spawn} from 'node:child_process';
import {existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import net from 'node:net';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {chromium} from 'playwright-core';

const [program, executablePath] = process.argv.slice(2);
const work = mkdtempSync(join(tmpdir(), 'edgeloop-chat-'));
const servers = [], ends = [];
const browser = await chromium.launch({executablePath, args: ['--no-sandbox', '--disable-gpu']});

// However this process ends, nothing is left behind.
process.on('exit', () => {
  for (const server of servers) server.kill('SIGTERM');
  rmSync(work, {recursive: true, force: true});
});
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => process.exit(1));

export async function finish() {
  for (const end of ends) end.close();
  await browser.close();
}

export async function until(what, condition) {
  const deadline = Date.now() + 60000;
  for (;;) {
    const found = await condition();
    if (found) return found;
    if (Date.now() > deadline) throw new Error(`never came true: ${what}`);
    await new Promise(resolve => setTimeout(resolve, 20));
  }
}

// The port of a new server; of several that it listens on the last.
export async function serve(...options) {
  const portFile = join(work, `port-${servers.length}`);
  servers.push(spawn(program, ['chat', '-q', '-l', '127.0.0.1:0', '--port-file', portFile, ...options],
    {stdio: ['ignore', 'inherit', 'inherit']}));
  await until('the server listens', () => existsSync(portFile));
  return Number(readFileSync(portFile, 'utf8').trim().split(':').pop());
}

// A file with secrets, for an option of a server.
export function secretFile(text) {
  const path = join(work, `secrets-${servers.length}`);
  writeFileSync(path, text, {mode: 0o600});
  return path;
}

// A cable that can be cut, between a browser and a server.
export async function cable(port) {
  const plugs = new Set();
  let isCut = false, isMute = false;
  const server = net.createServer(near => {
    if (isCut) return near.destroy();
    if (isMute) {
      plugs.add(near);
      near.on('error', () => {});
      return near.on('close', () => plugs.delete(near));
    }
    const far = net.connect(port, '127.0.0.1');
    for (const [end, other] of [[near, far], [far, near]]) {
      plugs.add(end);
      end.pipe(other);
      end.on('error', () => {});
      end.on('close', () => { plugs.delete(end); other.destroy(); });
    }
  });
  await new Promise(resolve => server.listen(0, '127.0.0.1', resolve));
  const wire = {
    port: server.address().port,
    cut() { isCut = true; for (const end of plugs) end.destroy(); },
    // From now on it takes connections, and nothing comes of them.
    mute() { this.cut(); isCut = false; isMute = true; },
    mend() { isCut = isMute = false; },
    close() { this.cut(); server.close(); },
  };
  ends.push(wire);
  return wire;
}

export function lineClient(port, ...first) {
  const socket = net.connect(port, '127.0.0.1');
  let text = '';
  socket.on('data', bytes => { text += bytes; });
  socket.on('error', () => {});
  const client = {
    say: line => socket.write(`${line}\n`),
    lines: () => text.split('\n').slice(0, -1),
    messages: () => text.split('\n').map(line => /^\[\S+ \d+\] ([^*:]+: .*)$/.exec(line)?.[1]).filter(Boolean),
    close: () => socket.destroy(),
  };
  first.forEach(client.say);
  ends.push(client);
  return client;
}

// What browsers complain of. Of each try to reach a server that is not there, or lets nobody in, they do, and may.
export const complaints = [];
const isAllowed = text => /ERR_|WebSocket|status of 401/.test(text);

// A tab, in a context of its own, or two would share a name.
export async function open(port, {scheme = 'http', query = '', room = '', name, prepare = () => {}, ...context} = {}) {
  const tab = await (await browser.newContext(context)).newPage();
  tab.on('console', message => { if (message.type() === 'error' && !isAllowed(message.text())) complaints.push(message.text()); });
  tab.on('pageerror', error => complaints.push(String(error)));
  await prepare(tab);
  await tab.goto(`${scheme}://127.0.0.1:${port}/${query && `?${query}`}${room && `#${room}`}`);
  await connected(tab);
  if (name) {
    await tab.fill('#name', name);
    await tab.press('#name', 'Enter');
    await until('the name is taken', async () => (await people(tab)).includes(name));
  }
  return tab;
}

export const state = tab => tab.textContent('#state');
export const connected = tab => until('the page is connected', async () => await state(tab) === 'connected');
export const disconnected = tab => until('the page says so', async () => (await state(tab)).startsWith('disconnected'));
export const messages = tab => texts(tab, '.message', item => item.lastChild.textContent.replace(item.querySelector('.initials').textContent, ''));
export const people = async tab => (await texts(tab, '#people bdi')).sort();
export const titles = tab => texts(tab, '#rooms bdi');
export const focus = tab => tab.evaluate(() => document.activeElement.id);
export const say = async (tab, text) => { await tab.fill('#text', text); await tab.press('#text', 'Enter'); };
export const enter = async (tab, name) => { await tab.fill('#room', name); await tab.press('#room', 'Enter'); };
// The page may have come back by itself by now.
export const hurry = tab => tab.evaluate(() => document.getElementById('again').click());
// Without the marks that isolate names from the direction of what is around them.
export const plain = text => text.replace(/[\u2068\u2069]/g, '');

export function texts(tab, selector, of = item => item.textContent) {
  return tab.evaluate(`[...document.querySelectorAll(${JSON.stringify(selector)})].map(${of})`);
}

// The chat page in a real browser: two tabs and one line client see each other's messages in one
// order; a tab whose connection is cut resumes without loss or double.
//
//   node chat.mjs PROGRAM CHROMIUM PICTURES    (tests/browser/run.sh finds them)

import assert from 'node:assert/strict';
import {spawn} from 'node:child_process';
import {mkdtempSync, readFileSync, existsSync, rmSync} from 'node:fs';
import net from 'node:net';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {chromium} from 'playwright-core';

const [program, executablePath, pictures] = process.argv.slice(2);
const work = mkdtempSync(join(tmpdir(), 'edgeloop-chat-'));
const portFile = join(work, 'port');

async function until(what, condition) {
  const deadline = Date.now() + 20000;
  for (;;) {
    const found = await condition();
    if (found) return found;
    if (Date.now() > deadline) throw new Error(`never came true: ${what}`);
    await new Promise(resolve => setTimeout(resolve, 20));
  }
}

// A cable that can be cut, between the browser and the server.
function cable(port) {
  const ends = new Set();
  let isCut = false;
  const server = net.createServer(near => {
    if (isCut) return near.destroy();
    const far = net.connect(port, '127.0.0.1');
    for (const [end, other] of [[near, far], [far, near]]) {
      ends.add(end);
      end.pipe(other);
      end.on('error', () => {});
      end.on('close', () => { ends.delete(end); other.destroy(); });
    }
  });
  return {
    listen: () => new Promise(resolve => server.listen(0, '127.0.0.1', () => resolve(server.address().port))),
    cut() { isCut = true; for (const end of ends) end.destroy(); },
    mend() { isCut = false; },
    close() { this.cut(); server.close(); },
  };
}

function lineClient(port) {
  const socket = net.connect(port, '127.0.0.1');
  let text = '';
  socket.on('data', bytes => { text += bytes; });
  return {
    say: line => socket.write(`${line}\n`),
    lines: () => text.split('\n').slice(0, -1),
    messages: () => text.split('\n').map(line => /^\[lobby \d+\] ([^*:]+: .*)$/.exec(line)?.[1]).filter(Boolean),
    close: () => socket.destroy(),
  };
}

const messages = page => page.$$eval('#log p:not(.note):not(.gap):not(.pending)', items =>
  items.map(item => item.lastChild.textContent));
const state = page => page.textContent('#state');
const say = async (page, text) => { await page.fill('#text', text); await page.press('#text', 'Enter'); };
// It may have come back by itself by now.
const hurry = page => page.evaluate(() => document.getElementById('again').click());
const rename = async (page, name) => { await page.fill('#name', name); await page.press('#name', 'Enter'); };

const server = spawn(program, ['chat', '-q', '-l', '127.0.0.1:0', '--port-file', portFile, '--rate', '1000', '--rooms-per-client', '4'],
  {stdio: ['ignore', 'inherit', 'inherit']});
const browser = await chromium.launch({executablePath, args: ['--no-sandbox', '--disable-gpu']});
let wire, carl;
try {
  await until('the server listens', () => existsSync(portFile));
  const port = Number(readFileSync(portFile, 'utf8').trim().split(':').pop());
  wire = cable(port);
  const address = `http://127.0.0.1:${await wire.listen()}/`;

  const complaints = [];
  const open = async url => {
    // Contexts of their own, or two tabs would share a name.
    const page = await (await browser.newContext()).newPage();
    page.on('console', message => { if (message.type() === 'error') complaints.push(message.text()); });
    page.on('pageerror', error => complaints.push(String(error)));
    await page.goto(url);
    await until('the page is connected', async () => await state(page) === 'connected');
    return page;
  };
  const anna = await open(address);
  const bob = await open(`http://127.0.0.1:${port}/`);
  carl = lineClient(port);
  carl.say('/nick carl');
  carl.say('/join lobby');
  await rename(anna, 'anna');
  await rename(bob, 'bob');
  const people = page => page.$$eval('#people li bdi', items => items.map(item => item.textContent).sort());
  for (const page of [anna, bob]) {
    await until('all three are there', async () => String(await people(page)) === 'anna,bob,carl');
  }

  // All at once; whatever order comes of it is everybody's.
  const count = 20;
  const speak = async (page, name, from) => {
    for (let i = from; i < from + count; i++) await say(page, `${name} ${i}`);
  };
  carl.say('<img src=x onerror="document.title=1"> & "quotes"');
  await Promise.all([speak(anna, 'a', 0), speak(bob, 'b', 0),
    (async () => { for (let i = 0; i < count; i++) { carl.say(`c ${i}`); await new Promise(resolve => setTimeout(resolve, 10)); } })()]);
  const all = 3 * count + 1;
  for (const page of [anna, bob]) await until('all messages came', async () => (await messages(page)).length === all);
  await until('all lines came', () => carl.messages().length === all);
  assert.deepEqual(await messages(anna), await messages(bob));
  assert.deepEqual(await messages(anna), carl.messages());
  assert.equal(await anna.$$eval('#log img', images => images.length), 0, 'text became markup');

  // Cut off in the middle of talk, and back again.
  const before = complaints.length;
  wire.cut();
  await until('the page says so', async () => (await state(anna)).startsWith('disconnected'));
  await speak(bob, 'b', 100);
  carl.say('c 100');
  await until('they were said', () => carl.messages().length === all + count + 1);
  wire.mend();
  await hurry(anna);
  await until('it is back', async () => await state(anna) === 'connected');
  await until('nothing is missing', async () => (await messages(anna)).length >= all + count + 1);
  assert.deepEqual(await messages(anna), await messages(bob));
  assert.deepEqual(await messages(anna), carl.messages());
  assert.equal(await anna.$$eval('#log .gap', gaps => gaps.length), 0);
  await until('it has its name again', async () => String(await people(bob)) === 'anna,bob,carl');
  // Back-off gets there by itself, too; a browser complains of each refused try, and may.
  wire.cut();
  await until('the page says so', async () => (await state(anna)).startsWith('disconnected'));
  wire.mend();
  await until('it is back by itself', async () => await state(anna) === 'connected');
  complaints.splice(before, complaints.length, ...complaints.slice(before).filter(text => !/ERR_|WebSocket/.test(text)));

  // More lines than are held: the gap is told.
  wire.cut();
  await until('the page says so', async () => (await state(anna)).startsWith('disconnected'));
  for (let i = 0; i < 150; i++) carl.say(`flood ${i}`);
  await until('they were said', () => carl.messages().at(-1) === 'carl: flood 149');
  wire.mend();
  await hurry(anna);
  await until('the gap is told', async () => (await anna.$$eval('#log .gap', gaps => gaps.length)) === 1);
  await until('the newest came', async () => (await messages(anna)).at(-1) === 'carl: flood 149');
  const texts = await messages(anna);
  assert.equal(new Set(texts).size, texts.length, 'a message came twice');
  complaints.splice(before, complaints.length, ...complaints.slice(before).filter(text => !/ERR_|WebSocket/.test(text)));

  // With the keyboard alone: from the message to the rooms, and into another one.
  await anna.focus('#room');
  await anna.keyboard.type('den');
  await anna.keyboard.press('Enter');
  await until('the title says it', async () => await anna.textContent('#title') === '#den');
  assert.equal(await anna.evaluate(() => document.activeElement.id), 'text');
  await anna.keyboard.type('is anybody here?');
  await anna.keyboard.press('Enter');
  await until('it came back', async () => (await messages(anna)).at(-1) === 'anna: is anybody here?');
  await anna.keyboard.type('/help');
  await anna.keyboard.press('Enter');
  await until('help came', async () => await anna.$('#log .help'));
  const unnamed = await anna.$$eval('input, button', fields => fields.filter(field =>
    !field.labels?.length && !field.getAttribute('aria-label') && !field.textContent.trim()).map(field => field.id));
  assert.deepEqual(unnamed, [], 'fields without a name');

  // A room that cannot be had is not shown as one.
  const enter = async (page, name) => { await page.fill('#room', name); await page.press('#room', 'Enter'); };
  const titles = page => page.$$eval('#rooms .enter span:first-child', items => items.map(item => item.textContent));
  await enter(anna, 'nook 99');
  await enter(anna, 'cellar');
  await until('both are joined', async () => (await people(anna)).length === 1);
  await enter(anna, 'attic');
  await until('it is refused', async () => (await anna.textContent('#log')).includes('at most 4 rooms'));
  assert.deepEqual(await titles(anna), ['#lobby', '#den', '#nook', '#cellar']);
  await say(anna, '/leave nook');
  await say(anna, '/leave cellar');
  await until('it has left', async () => String(await titles(anna)) === '#lobby,#den');
  // An address that is none.
  const lost = await open(`${address}#%`);
  await until('it is in the lobby', async () => String(await titles(lost)) === '#lobby');
  await lost.close();

  if (pictures) {
    // A room that looks as rooms do.
    for (const page of [anna, bob]) {
      await page.fill('#room', 'harbour');
      await page.press('#room', 'Enter');
      await until('it is joined', async () => (await people(page)).length > 0);
    }
    carl.say('/join harbour');
    await until('all are there', async () => (await people(anna)).length === 3);
    await say(anna, 'Good morning! The boat is ready, and the forecast is fine.');
    await until('it came', async () => (await messages(bob)).length === 1);
    await say(bob, 'Shall we meet at eight? The usual place has a table by the window.');
    await until('it came', async () => (await messages(bob)).length === 2);
    carl.say('Eight is fine, I will bring the charts.');
    await until('it came', async () => (await messages(bob)).length === 3);
    carl.say('Résumé, 日本語 and 👍 survive the wire.');
    await say(bob, 'A longer one, to see how lines are broken: https://example.org/a/very/long/address/that/has/no/spaces/in/it/at/all/and/goes/on/and/on.html');
    await until('they came', async () => (await messages(bob)).at(-1).includes('on.html'));
    const shoot = async (page, name, {dark, width, height}) => {
      await page.emulateMedia({colorScheme: dark ? 'dark' : 'light'});
      await page.setViewportSize({width, height});
      await page.screenshot({path: join(pictures, `${name}.png`)});
    };
    await shoot(bob, 'light', {width: 1100, height: 700});
    await shoot(bob, 'dark', {dark: true, width: 1100, height: 700});
    await shoot(bob, 'narrow', {width: 390, height: 800});
    await bob.click('.toggle >> nth=0');
    await shoot(bob, 'narrow-rooms', {dark: true, width: 390, height: 800});
    await bob.click('.toggle >> nth=1');
    await shoot(bob, 'narrow-people', {width: 390, height: 800});
    await say(anna, '/help');
    await say(anna, '/role carl viewer');
    await until('it is done', async () => (await anna.textContent('#people')).includes('viewer'));
    await shoot(anna, 'help', {width: 1100, height: 700});
    wire.cut();
    await until('the page says so', async () => (await state(anna)).startsWith('disconnected'));
    await shoot(anna, 'disconnected', {width: 1100, height: 700});
  }
  assert.deepEqual(complaints, [], 'the browser complains');
  console.log(`ok: ${all + count + 1} messages in one order, a cut resumed, a gap told`);
} finally {
  await browser.close();
  wire?.close();
  carl?.close();
  server.kill('SIGTERM');
  rmSync(work, {recursive: true});
}

// Pictures of the chat page in each of its states, to be looked at.

import {mkdirSync} from 'node:fs';
import {join} from 'node:path';
import {cable, disconnected, enter, lineClient, messages, open, people, say, serve, until} from './harness.mjs';

const WIDE = {width: 1100, height: 700}, NARROW = {width: 360, height: 700};

export async function takePictures(directory) {
  mkdirSync(directory, {recursive: true});
  const port = await serve('--rate', '1000', '--newcomers', 'speaker');
  const shoot = async (tab, name, {viewport = WIDE, ...media} = {}) => {
    await tab.emulateMedia({colorScheme: 'light', forcedColors: 'none', ...media});
    await tab.setViewportSize(viewport);
    await tab.evaluate(() => new Promise(resolve => requestAnimationFrame(() => requestAnimationFrame(resolve))));
    await tab.screenshot({path: join(directory, `${name}.png`)});
  };
  const shootAll = async (tab, name) => {
    await shoot(tab, name);
    await shoot(tab, `${name}-dark`, {colorScheme: 'dark'});
    await shoot(tab, `${name}-narrow`, {viewport: NARROW});
    await shoot(tab, `${name}-forced`, {forcedColors: 'active'});
  };
  // What is waited for then is of that room.
  const go = async (tab, room) => {
    await enter(tab, room);
    await until('it is there', async () => await tab.textContent('#title') === `#${room}`);
  };
  const heard = (tab, count) => until('all came', async () => (await messages(tab)).length >= count);

  const wire = await cable(port);
  const anna = await open(wire.port, {name: 'anna', locale: 'en-GB'});
  await shoot(anna, 'lobby-empty');
  await say(anna, '/leave');
  await until('it has left', async () => await anna.isVisible('#card'));
  await shootAll(anna, 'no-room');
  await anna.click('#card-join');

  const bob = lineClient(port, '/nick bob', '/join lobby');
  const carl = lineClient(port, '/nick mary-jane', '/join lobby');
  await until('all are there', async () => (await people(anna)).length === 3);
  await say(anna, 'Good morning! The boat is ready, and the forecast is fine: https://example.org/forecast?day=1.');
  await heard(anna, 1);
  bob.say('Shall we meet at eight? The usual place has a table by the window.');
  await heard(anna, 2);
  carl.say('Eight is fine, I will bring the charts.');
  carl.say('Résumé, 日本語 and 👍 survive the wire.');
  await heard(anna, 4);
  const guests = Array.from({length: 14}, (_, i) => lineClient(port, `/nick guest-${i + 1}`, '/join lobby'));
  await until('they are there', async () => (await people(anna)).length === 17);
  guests[3].close();
  await until('one is gone', async () => (await people(anna)).length === 16);
  await shootAll(anna, 'lobby');
  await anna.click('.moves details >> nth=-1');
  await shoot(anna, 'lobby-unfolded');
  await anna.click('.moves details >> nth=-1');
  await shoot(anna, 'lobby-narrow-rooms', {viewport: NARROW});
  await anna.click('.toggle >> nth=0');
  await shoot(anna, 'lobby-narrow-rooms', {viewport: NARROW});
  await anna.click('.toggle >> nth=1');
  await shoot(anna, 'lobby-narrow-people', {viewport: NARROW, colorScheme: 'dark'});
  await anna.keyboard.press('Escape');
  await say(anna, '/help');
  await say(anna, '/role bob viewer');
  await until('it is done', async () => (await anna.textContent('#people')).includes('viewer'));
  await shoot(anna, 'help');

  // Rooms with something unread.
  await go(anna, 'harbour');
  await go(anna, 'a-room-of-long-name');
  await until('it is there', async () => (await people(anna)).length === 1);
  for (let i = 0; i < 120; i++) carl.say(`The ${i}th word from the lobby.`);
  carl.say('/join harbour');
  carl.say('Is the tide in?');
  await until('they are counted', async () => await anna.title() === '(121) #a-room-of-long-name');
  await shootAll(anna, 'unread');
  await anna.click('#rooms .enter >> nth=1');
  await shoot(anna, 'unread-mark');

  // The counter.
  await anna.fill('#text', 'Nearly too long. '.repeat(240));
  await shootAll(anna, 'counter-near');
  await anna.fill('#text', 'Too long, beyond doubt. '.repeat(200));
  await shootAll(anna, 'counter-above');
  await anna.fill('#text', 'First line\nSecond line\nThird line');
  await shootAll(anna, 'lines');
  await say(anna, 'First line\nSecond line\nThird line');

  // Scrolled back.
  await go(anna, 'tower');
  const herald = lineClient(port, '/nick herald', '/join tower');
  for (let i = 0; i < 500; i++) herald.say(`${i}: ${'what happened then '.repeat(1 + i % 9)}`);
  await heard(anna, 500);
  await anna.$eval('#log', log => { log.scrollTop = log.scrollHeight / 2; });
  await until('it is noticed', async () => await anna.isVisible('#newest'));
  await shoot(anna, 'scrolled');
  for (let i = 0; i < 3; i++) herald.say('something new');
  await until('it is told', async () => (await anna.textContent('#newest')).startsWith('3 new'));
  await shootAll(anna, 'scrolled-new');
  await anna.click('#newest');
  await shoot(anna, 'scrolled-end');

  // Long texts, and every direction.
  await go(anna, 'babel');
  const hebrew = lineClient(port, '/nick בנימין', '/join babel', 'שלום עולם, זה 123 (abc) ועוד: https://example.org/שלום.');
  lineClient(port, '/nick فاطمة', '/join babel', 'مرحبا بالعالم — 42 رسالة!');
  await heard(anna, 2);
  const wide = lineClient(port, `/nick ${'W'.repeat(20)}`, '/join babel', 'x'.repeat(200));
  wide.say(`https://example.org/${'a/very/long/address/'.repeat(6)}end.html`);
  wide.say(`Z${'\u0301'.repeat(60)}a${'\u0310'.repeat(60)}lgo`);
  wide.say('What is said beside it stays readable.   Spaces   are   kept.');
  wide.say('A paragraph. '.repeat(20));
  await heard(anna, 7);
  hebrew.say('/leave');
  await until('it is told', async () => (await people(anna)).length === 3);
  await anna.fill('#text', 'שורה ראשונה\nשורה שנייה');
  await shootAll(anna, 'babel');
  await anna.fill('#text', '');

  // All hues.
  await go(anna, 'palette');
  const many = Array.from({length: 24}, (_, i) => lineClient(port, `/nick guest${i + 100}`, '/join palette', `I am guest ${i + 100}.`));
  await heard(anna, many.length);
  await shootAll(anna, 'palette');

  // Put out; not sent; not connected.
  const warden = lineClient(port, '/nick warden', '/join cell');
  await until('it is open', () => warden.lines().some(line => line.includes('warden joins')));
  await go(anna, 'cell');
  await until('it is in', async () => (await people(anna)).length === 2);
  await say(anna, 'What is this place?');
  await heard(anna, 1);
  warden.say('/role anna viewer');
  await until('it is told', async () => (await anna.getAttribute('#text', 'placeholder')).includes('operators decide'));
  await say(anna, 'May I\nspeak?');
  await until('it may not', async () => await anna.isVisible('.lost'));
  await shoot(anna, 'viewer');
  warden.say('/kick anna');
  await until('it is out', async () => await anna.isVisible('#card'));
  await anna.fill('#text', 'But why?');
  await shootAll(anna, 'put-out');
  wire.cut();
  await disconnected(anna);
  await anna.evaluate(() => { select(rooms.get('lobby')); });
  await anna.fill('#text', 'Typed without a connection');
  await shootAll(anna, 'disconnected');
  await anna.evaluate(() => { showState('wait', 'reconnecting …'); });
  await shoot(anna, 'reconnecting');
}

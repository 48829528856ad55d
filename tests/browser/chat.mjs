// The chat page in a real browser, together with line clients; one scene for each thing it does.
//
//   node chat.mjs PROGRAM CHROMIUM [PICTURES]    (tests/browser/run.sh finds them)

import assert from 'node:assert/strict';
import {spawnSync} from 'node:child_process';
import {cable, complaints, connected, disconnected, enter, finish, focus, hurry, lineClient, messages, open, people, plain, say, secretFile, serve, state, texts,
  titles, until} from './harness.mjs';
import {takePictures} from './pictures.mjs';

const pictures = process.argv[4];
const port = await serve('--rate', '100000', '--rooms-per-client', '4');

const scenes = {
  async 'two tabs and a line client see one order; a tab that was cut off resumes without loss or double'() {
    const wire = await cable(port);
    const anna = await open(wire.port);
    const bob = await open(port);
    const carl = lineClient(port, '/nick carl', '/join lobby');
    for (const [tab, name] of [[anna, 'anna'], [bob, 'bob']]) {
      await tab.fill('#name', name);
      await tab.press('#name', 'Enter');
    }
    for (const tab of [anna, bob]) {
      await until('all three are there', async () => String(await people(tab)) === 'anna,bob,carl');
    }
    // All at once; whatever order comes of it is everybody's.
    const count = 20;
    const speak = async (tab, name, from) => { for (let i = from; i < from + count; i++) await say(tab, `${name} ${i}`); };
    carl.say('<img src=x onerror="document.title=1"> & "quotes"');
    await Promise.all([speak(anna, 'a', 0), speak(bob, 'b', 0),
      (async () => { for (let i = 0; i < count; i++) { carl.say(`c ${i}`); await new Promise(resolve => setTimeout(resolve, 10)); } })()]);
    const all = 3 * count + 1;
    for (const tab of [anna, bob]) await until('all messages came', async () => (await messages(tab)).length === all);
    await until('all lines came', () => carl.messages().length === all);
    assert.deepEqual(await messages(anna), await messages(bob));
    assert.deepEqual(await messages(anna), carl.messages());
    assert.equal((await texts(anna, '#log img')).length, 0, 'text became markup');

    // Cut off in the middle of talk, and back again.
    wire.cut();
    await disconnected(anna);
    await speak(bob, 'b', 100);
    carl.say('c 100');
    await until('they were said', () => carl.messages().length === all + count + 1);
    wire.mend();
    await hurry(anna);
    await connected(anna);
    await until('nothing is missing', async () => (await messages(anna)).length >= all + count + 1);
    assert.deepEqual(await messages(anna), await messages(bob));
    assert.deepEqual(await messages(anna), carl.messages());
    assert.deepEqual(await texts(anna, '.gap'), []);
    await until('it has its name again', async () => String(await people(bob)) === 'anna,bob,carl');
    // Back-off gets there by itself, too.
    wire.cut();
    await disconnected(anna);
    wire.mend();
    await connected(anna);

    // More lines than are held: the gap is told.
    wire.cut();
    await disconnected(anna);
    for (let i = 0; i < 150; i++) carl.say(`flood ${i} ${'x'.repeat(4000)}`);
    await until('they were said', () => carl.messages().at(-1)?.startsWith('carl: flood 149'));
    wire.mend();
    await hurry(anna);
    await until('the gap is told', async () => (await texts(anna, '.gap')).length === 1);
    await until('the newest came', async () => (await messages(anna)).at(-1).startsWith('carl: flood 149'));
    const heard = await messages(anna);
    assert.equal(new Set(heard).size, heard.length, 'a message came twice');
  },

  async 'the keyboard is enough, every field has a name, and the focus is in the box after whatever was done'() {
    const anna = await open(port, {room: 'keys'});
    assert.equal(await focus(anna), 'text');
    await anna.focus('#room');
    await anna.keyboard.type('den');
    await anna.keyboard.press('Enter');
    await until('the title says it', async () => await anna.textContent('#title') === '#den');
    assert.equal(await focus(anna), 'text');
    await anna.keyboard.type('is anybody here?');
    await anna.keyboard.press('Enter');
    await until('it came back', async () => (await messages(anna)).at(-1)?.endsWith(': is anybody here?'));
    await anna.keyboard.type('/help');
    await anna.keyboard.press('Enter');
    await until('help came', async () => (await texts(anna, '.help')).length);
    await anna.fill('#name', 'keyboarder');
    await anna.press('#name', 'Enter');
    assert.equal(await focus(anna), 'text');
    await until('the name is shown', async () => String(await people(anna)) === 'keyboarder');
    await anna.click('#rooms .enter >> nth=0');
    assert.equal(await focus(anna), 'text');
    await anna.click('#rooms .exit >> nth=1');
    assert.equal(await focus(anna), 'text');
    await until('it has left', async () => String(await titles(anna)) === '#keys');
    await anna.click('#send');
    assert.equal(await focus(anna), 'text');
    // A button keeps the focus whatever comes meanwhile.
    await anna.focus('#rooms .exit');
    const carl = lineClient(port, '/join keys', 'hello');
    await until('it came', async () => (await messages(anna)).length === 1);
    await until('the people are shown', async () => (await people(anna)).length === 2);
    assert.equal(await anna.evaluate(() => document.activeElement.className), 'exit');
    carl.close();
    const unnamed = await anna.$$eval('input, button, textarea', fields => fields.filter(field =>
      !field.hidden && !field.labels?.length && !field.getAttribute('aria-label') && !field.textContent.trim()).map(field => field.id));
    assert.deepEqual(unnamed, [], 'fields without a name');
  },

  async 'a room that cannot be had is not shown as one, nor an address that is none'() {
    const anna = await open(port, {room: 'first'});
    await enter(anna, 'nook 99');
    await enter(anna, 'cellar');
    await enter(anna, 'loft');
    await until('all are joined', async () => (await people(anna)).length === 1);
    await enter(anna, 'attic');
    await until('it is refused', async () => (await anna.textContent('#log')).includes('at most 4 rooms'));
    await until('it is not shown', async () => String(await titles(anna)) === '#first,#nook,#cellar,#loft');
    await enter(anna, 'a,b');
    await until('it is refused', async () => (await anna.textContent('#log')).includes('a name has letters'));
    await until('it is not shown', async () => String(await titles(anna)) === '#first,#nook,#cellar,#loft');
    for (const name of ['nook', 'cellar', 'loft', 'first']) await say(anna, `/leave ${name}`);
    // Without any room there is still something to do.
    await until('it has left', async () => await anna.isVisible('#card'));
    assert.equal(await anna.textContent('#card-text'), 'You are in no room.');
    await anna.click('#card-join');
    await until('it is in the lobby', async () => String(await titles(anna)) === '#lobby');
    await until('the card is gone', async () => !await anna.isVisible('#card'));
    const lost = await open(port, {room: '%'});
    await until('it is in the lobby', async () => String(await titles(lost)) === '#lobby');
  },

  async 'a command that lacks its name changes no room'() {
    const anna = await open(port, {room: 'whole'});
    const told = count => until('it is told how it is written', async () => (await texts(anna, '.bad')).length === count);
    for (const [count, command] of ['/join', '/nick', '/JOIN'].entries()) {
      await say(anna, command);
      await told(count + 1);
    }
    for (const name of ['part-a', 'part-b']) {
      await say(anna, `/join ${name}`);
      await until('it is in', async () => await anna.textContent('#title') === `#${name}` && (await people(anna)).length === 1);
    }
    await until('both are there and no other', async () => String(await titles(anna)) === '#whole,#part-a,#part-b');
  },

  async 'an error is taken for the answer to what it refuses'() {
    const anna = await open(port, {room: 'refusals'});
    const left = await anna.evaluate(() => {
      // From here on nothing is sent, and the answers are made up.
      pump = () => {};
      asked.length = 0;
      const refuse = (code, text = '') => { receive({type: 'error', code, text}); return asked.map(({word}) => word).join(' '); };
      const postponed = [];
      later = name => postponed.push(name);
      ['/who', '/join one', '/rooms', '/JOIN two', '/nick anna', '/join three 3 x'].forEach(tell);
      return [refuse('overloaded'), String(postponed), refuse('overloaded'), String(postponed), refuse('not_there'), refuse('room_full'),
        refuse('usage', 'it is written: /join ROOM [NUMBER [ID]]'), refuse('usage', 'it is written: /say ROOM TEXT'), refuse('bad_name'),
        refuse('overloaded'), refuse('overloaded')];
    });
    assert.deepEqual(left, ['/join /rooms /join /nick /join', '', '/rooms /join /nick /join', 'one', '/rooms /join /nick /join',
      '/rooms /nick /join', '/rooms /nick', '/rooms /nick', '/rooms', '', '']);
  },

  async 'a name that somebody has is given with a number, of whole letters'() {
    const numbered = (name, number) => anna.evaluate(([name, number]) => numbered(name, number), [name, number]);
    const remember = name => ({room: 'twins', prepare: tab => tab.addInitScript(name => localStorage.setItem('edgeloop-name', name), name)});
    const anna = await open(port, {room: 'twins'});
    for (const [name, expected] of [
      ['anna', 'anna-2'],
      ['w'.repeat(20), `${'w'.repeat(18)}-2`],
      ['ä'.repeat(15), `${'ä'.repeat(14)}-2`],
      ['a\u0308'.repeat(15), `${'ä'.repeat(14)}-2`],
      // The last letter has a mark, and is three bytes with it and a joiner before.
      ['क\u093f'.repeat(5), `${'क\u093f'.repeat(4)}-2`],
      [`${'क'.repeat(7)}\u094d\u200dष`, `${'क'.repeat(7)}\u094d-2`],
    ]) assert.equal(await numbered(name, 2), expected);
    assert.equal(await numbered('w'.repeat(20), 10), `${'w'.repeat(17)}-10`);
    // The server takes them.
    for (const name of ['w'.repeat(20), 'क\u093f'.repeat(5)]) {
      await open(port, remember(name));
      await until('the first has it', async () => (await people(anna)).includes(name));
      await open(port, remember(name));
      const second = await numbered(name, 2);
      await until('the second has it with a number', async () => (await people(anna)).includes(second));
    }
  },

  async 'a server that takes the connection and says nothing is given up'() {
    const wire = await cable(port);
    const anna = await open(wire.port, {room: 'mute'});
    wire.mute();
    await disconnected(anna);
    await hurry(anna);
    await until('it is given up', async () => await state(anna) === 'disconnected: no answer');
    wire.mend();
    await hurry(anna);
    await connected(anna);
    await until('it is back', async () => (await people(anna)).length === 1);
  },

  async 'a text has the limit of the server, in its unit, and a longer one is not sent'() {
    const narrow = await serve('--max-message', '100B', '--rate', '1000');
    const carl = lineClient(narrow, '/nick carl', '/join lobby');
    const anna = await open(narrow, {name: 'anna'});
    const type = text => anna.fill('#text', text);
    const count = () => anna.isVisible('#count').then(visible => visible && anna.textContent('#count'));
    await type('x'.repeat(79));
    assert.equal(await count(), false);
    await type('x'.repeat(80));
    assert.equal(await count(), '80 of 100 bytes');
    for (const fits of ['x'.repeat(100), 'ä'.repeat(50), '€'.repeat(33), '👍'.repeat(25), `  ${'x'.repeat(100)}\t`]) {
      await type(fits);
      assert.equal(await anna.getAttribute('#text', 'aria-invalid'), 'false', fits);
      await anna.press('#text', 'Enter');
      await until('it was heard', () => carl.messages().at(-1) === `anna: ${fits.trim()}`);
      assert.equal(await anna.inputValue('#text'), '');
    }
    const heard = carl.messages().length;
    for (const [long, length] of [['x'.repeat(101), '101'], ['ä'.repeat(51), '102'], ['👍'.repeat(26), '104'], ['x'.repeat(5000), '5,000'], [`short\n${'y'.repeat(103)}`, '103']]) {
      await type(long);
      await anna.press('#text', 'Enter');
      assert.equal(await anna.textContent('#hint'), 'Too long: a message has at most 100 bytes.');
      assert.equal(await count(), `${length} of 100 bytes`);
      assert.equal(await anna.getAttribute('#text', 'aria-invalid'), 'true');
      assert(await anna.isDisabled('#send'));
      assert.equal(await anna.inputValue('#text'), long, 'what was typed stays');
    }
    // Commands and names have limits, too.
    await say(anna, `/nick ${'n'.repeat(5000)}`);
    assert.match(await anna.textContent('#hint'), /^Too long/);
    await type('');
    await enter(anna, 'r'.repeat(60));
    await until('it is told', async () => (await anna.textContent('#log')).includes('a name has letters'));
    await anna.evaluate(() => rename('n'.repeat(5000)));
    await until('it is told', async () => (await anna.textContent('#log')).includes('longer than the server takes'));
    await say(anna, 'still here');
    await until('it was heard', () => carl.messages().at(-1) === 'anna: still here');
    assert.equal(carl.messages().length, heard + 1);
    assert.equal(carl.lines().filter(line => line.includes('leaves')).length, 0, 'something disconnected');
    // The same for what the address and the browser's memory say.
    const eve = await open(narrow, {room: 'r'.repeat(5000), prepare: tab => tab.addInitScript(() => localStorage.setItem('edgeloop-name', 'n'.repeat(5000)))});
    await until('the card is there', async () => await eve.isVisible('#card'));
    assert.equal(await state(eve), 'connected');
    await eve.click('#card-join');
    await until('it is in', async () => (await people(eve)).length === 3);
  },

  async 'several lines are messages in their order, at the pace of the server'() {
    const slow = await serve();   // ten a second, the default
    const carl = lineClient(slow, '/nick carl', '/join lobby');
    const anna = await open(slow, {name: 'anna'});
    await anna.keyboard.type('one');
    await anna.keyboard.press('Shift+Enter');
    await anna.keyboard.press('Shift+Enter');
    await anna.keyboard.type('  /quit two\u0007');
    assert.equal(await anna.textContent('#hint'), '2 lines are sent as 2 messages.');
    assert.equal(carl.messages().length, 0);
    await anna.keyboard.press('Enter');
    await until('both were heard', () => carl.messages().length === 2);
    assert.deepEqual(carl.messages(), ['anna: one', 'anna: /quit two']);
    const all = Array.from({length: 40}, (_, i) => `line ${i}`);
    await say(anna, all.join('\r\n'));
    await say(anna, 'after them');
    await until('all were heard', () => carl.messages().at(-1) === 'anna: after them');
    assert.deepEqual(carl.messages().slice(2, -1), all.map(text => `anna: ${text}`));
    await until('nothing is pending', async () => (await texts(anna, '.pending')).length === 0);
    assert.deepEqual(await messages(anna), carl.messages());
    await anna.fill('#text', 'x\n'.repeat(51));
    assert.equal(await anna.textContent('#hint'), '51 lines; at most 50 can be sent at once.');
    // The box is as high as its text, within reason.
    const height = () => anna.$eval('#text', box => box.offsetHeight);
    const most = await height();
    assert(most < await anna.evaluate(() => innerHeight) / 2, `${most}`);
    await anna.fill('#text', 'x');
    assert(await height() < most / 3);
    // Enter that ends the choice of a word sends nothing.
    await anna.$eval('#text', box => box.dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter', isComposing: true, cancelable: true})));
    assert.equal(await anna.inputValue('#text'), 'x');
  },

  async 'a page in many rooms comes back to all of them at the pace of the server'() {
    const slow = await serve('--rooms-per-client', '20', '--rate', '10');
    const wire = await cable(slow);
    const anna = await open(wire.port, {name: 'anna'});
    for (let i = 1; i < 20; i++) await enter(anna, `room${i}`);
    const isInAll = () => anna.evaluate(() => rooms.size === 20 && [...rooms.values()].every(room => !room.isReplaying));
    await until('it is in all of them', isInAll);
    wire.cut();
    await disconnected(anna);
    const begin = Date.now();
    wire.mend();
    await hurry(anna);
    await connected(anna);
    await until('it is back in all of them', isInAll);
    // A name and twenty rooms: twelve lines at once, and the others at ten a second. The server alone
    // would have made it wait for half of that.
    assert(Date.now() - begin > 800, `${Date.now() - begin} ms`);
    assert.deepEqual(await texts(anna, '.bad'), []);
  },

  async 'each line of a text that was cut off is heard once, or shown as not sent'() {
    const slow = await serve();
    const wire = await cable(slow);
    const carl = lineClient(slow, '/nick carl', '/join lobby');
    const anna = await open(wire.port, {name: 'anna'});
    const all = Array.from({length: 30}, (_, i) => `line ${i}`);
    await say(anna, all.join('\n'));
    await until('some were heard', () => carl.messages().length > 5);
    wire.cut();
    await disconnected(anna);
    await say(anna, 'typed meanwhile');
    assert.equal(await anna.textContent('#hint'), 'Not connected; the text stays here.');
    wire.mend();
    await hurry(anna);
    await connected(anna);
    const ended = async () => (await texts(anna, '.pending:not(.lost)')).length === 0;
    await until('each line has its end', ended);
    for (let again; (again = await anna.$('.lost button')); await until('each line has its end', ended)) await again.click();
    assert.deepEqual(carl.messages(), all.map(text => `anna: ${text}`));
    await anna.press('#text', 'Enter');
    await until('it was heard', () => carl.messages().at(-1) === 'anna: typed meanwhile');
  },

  async 'a line that the server refuses is shown as not sent, and can be sent again'() {
    const anna = await open(port, {room: 'stage', name: 'star'});
    const bob = await open(port, {room: 'stage', name: 'fan'});
    await say(anna, '/role fan viewer');
    await until('it is told', async () => (await bob.getAttribute('#text', 'placeholder')).includes('operators decide'));
    await say(bob, 'one\ntwo');
    await until('it is refused', async () => (await texts(bob, '.lost .text')).length === 1);
    assert.equal((await texts(bob, '.lost .text'))[0], 'one\ntwo — not sentSend again');
    await say(anna, '/role fan speaker');
    await until('it is told', async () => (await bob.textContent('#log')).includes('speaker'));
    await bob.click('.lost button');
    assert.equal(await focus(bob), 'text');
    await until('they were heard', async () => String(await messages(anna)) === 'fan: one,fan: two');
    assert.deepEqual(await texts(bob, '.lost'), []);
  },

  async 'who was put out is told by whom, and joins again when wished, not before'() {
    const carl = lineClient(port, '/nick warden', '/join cell');
    await until('it is open', () => carl.lines().some(line => line.includes('warden joins')));
    const wire = await cable(port);
    const anna = await open(wire.port, {room: 'cell', name: 'prisoner'});
    await anna.keyboard.type('half a sent');
    carl.say('/kick prisoner');
    await until('the card is there', async () => await anna.isVisible('#card'));
    assert.equal(plain(await anna.textContent('#card-text')), 'warden put you out of #cell.');
    assert.equal(await anna.getAttribute('#card', 'role'), 'alert');
    assert.deepEqual(await people(anna), []);
    assert.equal(await focus(anna), 'text');
    await anna.keyboard.type('ence');
    await anna.keyboard.press('Enter');
    assert.equal(await anna.textContent('#hint'), 'You are not in this room.');
    carl.say('nobody listens');
    // A new connection does not put it back.
    wire.cut();
    await disconnected(anna);
    await until('it cannot join', async () => await anna.isDisabled('#card-join'));
    wire.mend();
    await hurry(anna);
    await connected(anna);
    await until('it can', async () => await anna.isEnabled('#card-join'));
    assert.deepEqual(await people(anna), []);
    await anna.click('#card-join');
    await until('it is in', async () => String(await people(anna)) === 'prisoner,warden');
    await until('the card is gone', async () => !await anna.isVisible('#card'));
    await until('it hears what it missed', async () => String(await messages(anna)) === 'warden: nobody listens');
    assert.match(plain(await anna.textContent('#log')), /warden put prisoner out/);
    assert.equal(await anna.inputValue('#text'), 'half a sentence');
    await anna.press('#text', 'Enter');
    await until('it is heard', () => carl.messages().at(-1) === 'prisoner: half a sentence');
    // With other rooms as well: the room is marked, and can be closed.
    await enter(anna, 'yard');
    await until('it is there', async () => String(await people(anna)) === 'prisoner');
    carl.say('/kick prisoner');
    await until('the room is marked', async () => String(await texts(anna, '#rooms .tag')) === 'out');
    assert(!await anna.isVisible('#card'));
    await anna.click('#rooms .enter >> nth=0');
    await anna.click('#card-close');
    await until('it is closed', async () => String(await titles(anna)) === '#yard');
  },

  async 'a room that cannot be come back to says why'() {
    const small = await serve('--max-members', '1', '--rate', '1000');
    const wire = await cable(small);
    const anna = await open(wire.port, {name: 'anna'});
    wire.cut();
    await disconnected(anna);
    const carl = lineClient(small, '/join lobby');
    await until('the other is in', () => { carl.say('/join lobby'); return carl.lines().some(line => line.includes('you are in lobby')); });
    wire.mend();
    await hurry(anna);
    await until('the card is there', async () => await anna.isVisible('#card'));
    assert.equal(await anna.textContent('#card-text'), 'lobby is full');
    carl.say('/leave');
    await until('it has left', () => carl.lines().includes('* you left lobby'));
    await anna.click('#card-join');
    await until('it is in', async () => String(await people(anna)) === 'anna');
  },

  async 'names that are alike look different, and every colour can be read'() {
    const anna = await open(port, {room: 'palette'});
    const guests = await anna.evaluate(() => Array.from({length: 24}, (_, i) => Object.values(look(`guest${i + 1}`)).join()));
    assert.equal(new Set(guests).size, 24);
    const nine = await anna.evaluate(() => Array.from({length: 9}, (_, i) => look(`guest${i + 1}`).hue));
    assert.equal(new Set(nine).size, 9, 'guest1 to guest9 have a colour each');
    assert(await anna.evaluate(() => look('ANNA').hue === look('anna').hue));
    // Other names are spread evenly: of 2,400, each of the 24 looks has its share.
    const shares = await anna.evaluate(() => {
      const shares = new Map();
      for (let i = 0; i < 2400; i++) {
        const {hue, isFilled} = look(`${String.fromCharCode(97 + i % 26, 97 + i / 26 % 26, 97 + i / 676)}x`);
        shares.set(`${hue} ${isFilled}`, (shares.get(`${hue} ${isFilled}`) || 0) + 1);
      }
      return [...shares.values()];
    });
    assert.equal(shares.length, 24);
    assert(Math.min(...shares) > 60 && Math.max(...shares) < 150, String(shares));
    for (const [name, expected] of [['guest7', 'G7'], ['guest123', 'G23'], ['anna', 'AN'], ['mary-jane', 'MJ'], ['x', 'X'], ['जोशी', 'जोशी'], ['李雷', '李雷'], ['a.', 'A.'], ['7', '7']]) {
      assert.equal(await anna.evaluate(name => initials(name), name), expected);
    }
    for (const colorScheme of ['light', 'dark']) {
      await anna.emulateMedia({colorScheme});
      const contrasts = await anna.evaluate(() => {
        const context = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
        const luminance = colour => {
          context.fillStyle = colour;
          context.fillRect(0, 0, 1, 1);
          const [r, g, b] = [...context.getImageData(0, 0, 1, 1).data].map(x => x / 255).map(x => x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
          return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const root = getComputedStyle(document.documentElement);
        const contrast = (a, b) => { const [x, y] = [luminance(a), luminance(b)].sort((x, y) => y - x); return (x + 0.05) / (y + 0.05); };
        const found = [];
        for (let index = 0; index < HUES; index++) {
          const who = nameOf('a');
          who.style.setProperty('--hue', index * 360 / HUES + 15);
          document.body.append(who);
          for (const ground of ['--page', '--card', '--mark']) found.push(contrast(getComputedStyle(who).color, root.getPropertyValue(ground)));
          who.remove();
        }
        return found;
      });
      assert(Math.min(...contrasts) >= 4.5, `${colorScheme}: ${Math.min(...contrasts)}`);
    }
  },

  async 'a reader who has scrolled back is left there, and told of what is new'() {
    const anna = await open(port, {room: 'tower'});
    const carl = lineClient(port, '/nick herald', '/join tower');
    for (let i = 0; i < 500; i++) carl.say(`news ${i}`);
    await until('all came', async () => (await messages(anna)).length === 500);
    const log = () => anna.$eval('#log', ({scrollTop, scrollHeight, clientHeight}) => ({scrollTop, below: scrollHeight - scrollTop - clientHeight}));
    await until('it is at the end', async () => (await log()).below < 2);
    assert(!await anna.isVisible('#newest'));
    assert.equal(await anna.title(), '#tower');
    await anna.focus('#log');
    await anna.keyboard.press('Home');
    await until('it is at the beginning', async () => (await log()).scrollTop === 0);
    await until('there is a way back', async () => await anna.isVisible('#newest'));
    assert.equal(await anna.textContent('#newest'), 'newest ↓');
    carl.say('and one');
    await until('it is told', async () => await anna.textContent('#newest') === '1 new message ↓');
    carl.say('and two');
    await until('it is told', async () => await anna.textContent('#newest') === '2 new messages ↓');
    assert.equal((await log()).scrollTop, 0, 'the reader was moved');
    assert.equal(await anna.title(), '(2) #tower');
    // Another room and back: still there.
    await enter(anna, 'cellar2');
    await until('it is there', async () => await anna.textContent('#title') === '#cellar2');
    await anna.click('#rooms .enter >> nth=0');
    assert.equal((await log()).scrollTop, 0);
    await until('it is told', async () => await anna.textContent('#newest') === '2 new messages ↓');
    await anna.click('#newest');
    await until('it is at the end', async () => (await log()).below < 2);
    await until('all is seen', async () => await anna.title() === '#tower' && !await anna.isVisible('#newest'));
    assert.equal(await focus(anna), 'text');
    assert.equal(await anna.$eval('.unread', mark => mark.nextSibling.querySelector('.text').textContent), 'and one');
    // Lines that go at the top move nobody who reads.
    await anna.$eval('#log', log => { log.scrollTop = log.scrollHeight / 2; });
    await until('it is noticed', async () => await anna.isVisible('#newest'));
    const top = () => anna.evaluate(() => document.elementFromPoint(innerWidth / 2, 200).closest('.line').textContent);
    const read = await top();
    for (let i = 0; i < 1000; i++) carl.say(`more ${i}`);
    await until('all came', async () => (await messages(anna)).at(-1).endsWith('more 999'));
    assert.equal(await top(), read);
    // Who is at the end stays there, however fast it moves away, and no log grows for ever.
    await anna.click('#newest');
    for (let i = 0; i < 2500; i++) carl.say(`flood ${i}`);
    await until('all came', async () => (await messages(anna)).at(-1).endsWith('flood 2499'));
    await until('it is at the end', async () => (await log()).below < 2 && !await anna.isVisible('#newest'));
    assert.equal(await anna.$eval('#log', log => log.children.length), 1000);
  },

  async 'unread messages are counted in the title, in the icon and beside the room'() {
    const hide = tab => tab.addInitScript(() => {
      let isHidden = false;
      Object.defineProperty(document, 'hidden', {get: () => isHidden});
      window.hide = value => { isHidden = value; document.dispatchEvent(new Event('visibilitychange')); };
    });
    const anna = await open(port, {room: 'here', prepare: hide});
    await enter(anna, 'there');
    await until('it is there', async () => await anna.textContent('#title') === '#there' && (await people(anna)).length === 1);
    const carl = lineClient(port, '/nick caller', '/join here', '/join there', '/say here one', '/say here two', '/say there three');
    await until('it is counted', async () => await anna.title() === '(2) #there');
    await until('beside the room, too', async () => String(await texts(anna, '#rooms .count')) === '2');
    const icon = () => anna.$eval('#icon', icon => decodeURIComponent(icon.href));
    assert.match(await icon(), />2<\/text>/);
    // The policy lets it be shown, and it is a picture.
    const size = await anna.evaluate(() => new Promise((resolve, reject) => {
      const image = Object.assign(new Image(), {onload: () => resolve(image.width), onerror: reject});
      image.src = document.getElementById('icon').href;
    }));
    assert(size > 0);
    // A tab that is not looked at.
    await anna.evaluate(() => window.hide(true));
    carl.say('four');
    await until('it is counted', async () => await anna.title() === '(3) #there');
    await anna.evaluate(() => window.hide(false));
    await until('it was seen', async () => await anna.title() === '(2) #there');
    await anna.click('#rooms .enter >> nth=0');
    await until('all is seen', async () => await anna.title() === '#here');
    assert.doesNotMatch(await icon(), /<text/);
    // What one says oneself is no news.
    await anna.evaluate(() => window.hide(true));
    await say(anna, 'mine');
    await until('it came back', async () => (await messages(anna)).at(-1)?.endsWith(': mine'));
    assert.equal(await anna.title(), '#here');
  },

  async 'what was missed while cut off is unread, what a newcomer is given is not'() {
    const wire = await cable(port);
    const carl = lineClient(port, '/nick teller', '/join tales', '/join songs', '/say tales long ago', '/say songs la la');
    await until('they were said', () => carl.messages().length === 2);
    const anna = await open(wire.port, {room: 'tales'});
    await until('it came', async () => (await messages(anna)).length === 1);
    await enter(anna, 'songs');
    await until('it came', async () => String(await messages(anna)) === 'teller: la la');
    assert.equal(await anna.title(), '#songs');
    wire.cut();
    await disconnected(anna);
    carl.say('/say tales and then');
    await until('it was said', () => carl.messages().length === 3);
    wire.mend();
    await hurry(anna);
    await until('it is counted', async () => await anna.title() === '(1) #songs');
  },

  async 'times have a day, in the time zone of the reader'() {
    // Two before midnight in London, two after.
    const times = ['2030-03-01T22:30:00Z', '2030-03-01T23:30:00Z', '2030-03-02T00:30:00Z', '2030-03-02T11:30:00Z'].map(Date.parse);
    const carl = lineClient(port, '/nick clock', '/join hours');
    for (const i of times.keys()) carl.say(`hour ${i}`);
    await until('they were said', () => carl.messages().length === 4);
    const prepare = tab => tab.routeWebSocket('**/ws', page => {
      const server = page.connectToServer();
      page.onMessage(message => server.send(message));
      server.onMessage(message => {
        const hour = /"text":"hour (\d)"/.exec(message);
        page.send(hour ? message.replace(/"time":\d+/, `"time":${times[hour[1]]}`) : message);
      });
    });
    for (const [timezoneId, ...expected] of [
      ['Europe/London', 'Friday 1 March 2030', '22:30', '23:30', 'Saturday 2 March 2030', '00:30', '11:30'],
      ['America/New_York', 'Friday 1 March 2030', '17:30', '18:30', '19:30', 'Saturday 2 March 2030', '06:30'],
      ['Pacific/Kiritimati', 'Saturday 2 March 2030', '12:30', '13:30', '14:30', 'Sunday 3 March 2030', '01:30'],
    ]) {
      const anna = await open(port, {room: 'hours', timezoneId, locale: 'en-GB', prepare});
      await until('they came', async () => (await messages(anna)).length === 4);
      // Whether a comma follows the day of the week depends on the browser's version.
      const shown = (await texts(anna, '.rule, .message time')).map(text => text.replace(',', ''));
      assert.deepEqual(shown.slice(shown.indexOf(expected[0])), expected, timezoneId);
      const [title, dateTime] = await anna.$eval('.message time', time => [time.title, time.dateTime]);
      assert(title.replace(',', '').startsWith(expected[0]) && title.includes(`${expected[1]}:00`), title);
      assert.equal(dateTime, '2030-03-01T22:30:00.000Z');
      // The line above is of today.
      assert.equal(shown.length, expected.length + 1, String(shown));
    }
  },

  async 'addresses are links, without what comes after them'() {
    const anna = await open(port, {room: 'links'});
    const addresses = text => anna.evaluate(text => pieces(text).map(piece => piece.address || `"${piece}"`), text);
    for (const [text, expected] of [
      ['see https://example.org.', ['"see "', 'https://example.org', '"."']],
      ['http://a.example/x?y=1&z=%20#part, and', ['http://a.example/x?y=1&z=%20#part', '", and"']],
      ['(https://example.org/a_(b))', ['"("', 'https://example.org/a_(b)', '")"']],
      ['<https://example.org/>!?', ['"<"', 'https://example.org/', '">!?"']],
      ['HTTPS://EXAMPLE.ORG/X…', ['HTTPS://EXAMPLE.ORG/X', '"…"']],
      ['見てhttps://example.org/路。次', ['"見て"', 'https://example.org/路', '"。次"']],
      ['“https://example.org/x.”', ['"“"', 'https://example.org/x', '".”"']],
      ['http://[::1]:7000/ http://x', ['http://[::1]:7000/', '" "', 'http://x']],
      ['javascript:alert(1) data:text/html,x ftp://x file:///etc xhttps://x', ['"javascript:alert(1) data:text/html,x ftp://x file:///etc xhttps://x"']],
      ['https:// https://... http://:80 https://bank.example@evil.example/', ['"https:// https://... http://:80 https://bank.example@evil.example/"']],
    ]) assert.deepEqual(await addresses(text), expected, text);
    // In a time that grows with the length, however it is chosen.
    const took = await anna.evaluate(() => {
      const begin = performance.now();
      pieces(`https://x/${'('.repeat(200000)}${')'.repeat(400000)}`);
      pieces('https://x/ '.repeat(50000));
      return performance.now() - begin;
    });
    assert(took < 5000, `${took} ms`);
    const carl = lineClient(port, '/nick linker', '/join links', 'look: https://example.org/?a="b"><img src=x>.');
    await until('it came', async () => (await messages(anna)).length === 1);
    const [link] = await anna.$$eval('.message a', links => links.map(link => [link.href, link.target, link.rel, link.textContent]));
    assert.deepEqual(link, ['https://example.org/?a=', '_blank', 'noopener noreferrer', 'https://example.org/?a=']);
    assert.deepEqual(carl.messages(), ['linker: look: https://example.org/?a="b"><img src=x>.']);
  },

  async 'comings and goings are one line until somebody speaks'() {
    const anna = await open(port, {room: 'door', name: 'porter'});
    const now = () => anna.$eval('#log', log => (log.lastChild.querySelector('summary') || log.lastChild.lastChild).textContent).then(plain);
    const come = async name => {
      const client = lineClient(port, `/nick ${name}`, '/join door');
      await until('it is in', async () => (await people(anna)).includes(name));
      return client;
    };
    await say(anna, 'open');
    await until('it came', async () => (await messages(anna)).length === 1);
    const cem = await come('cem');
    await until('it is told', async () => await now() === 'cem came');
    await say(anna, 'welcome');
    await until('it came', async () => (await messages(anna)).length === 2);
    await come('ann');
    const bo = await come('bo');
    await until('it is told', async () => await now() === 'ann and bo came');
    cem.close();
    await until('it is told', async () => await now() === 'ann and bo came, cem left');
    for (let i = 1; i <= 12; i++) await come(`person${i}`);
    await until('they are one line', async () => await now() === 'ann, bo and 12 others came, cem left');
    bo.say('/leave');
    await until('it is told', async () => await now() === 'ann, person1 and 11 others came, cem left, bo came and left');
    await come('cem');
    await until('it is told', async () => await now() === 'ann, person1 and 11 others came, bo came and left, cem left and came back');
    // All the names are there for who wants them, by keyboard, too.
    await anna.focus('.moves summary');
    await anna.keyboard.press('Enter');
    assert.match(plain(await anna.textContent('.moves details')), /ann, person1, person2, .* and person12 came/);
    assert.equal(await anna.$eval('.moves', item => item.ariaLive), 'off');
    await say(anna, 'quite a crowd');
    await until('it came', async () => (await messages(anna)).length === 3);
    bo.say('/join door');
    await until('it is a new line', async () => await now() === 'bo came');
  },

  async 'a token in the address lets a tab in and is taken out of there; next time a cookie does so'() {
    const token = '7Kq2mVw0c9TzXfUe1sYbLg';
    const guarded = await serve('--token-file', secretFile(`${token} anna speaker lobby\n`));
    const anna = await open(guarded, {query: `token=${token}`, room: 'lobby'});
    assert.equal(anna.url(), `http://127.0.0.1:${guarded}/#lobby`);
    await until('it has the name of the token', async () => String(await people(anna)) === 'anna');
    assert.equal(await anna.isVisible('#name'), false, 'a name that cannot be changed');
    assert.equal(await anna.evaluate(() => document.cookie), '', 'scripts see the token');
    await enter(anna, 'attic');
    await until('it is told', async () => (await anna.textContent('#log')).includes('your token does not open attic'));
    await anna.reload();
    await connected(anna);
    // The same name elsewhere: this tab is told so, and does not put the other one out again.
    const elsewhere = await open(guarded, {query: `token=${token}`});
    await disconnected(anna);
    assert.equal(await state(anna), 'disconnected: the same name came in elsewhere');
    assert.equal(await anna.textContent('#again'), 'Try now');
    assert.equal(await state(elsewhere), 'connected');
    // Without the cookie nobody knows who it is, and the page does not try for ever.
    await anna.context().clearCookies();
    await hurry(anna);
    await until('it is told why', async () => await state(anna) === 'not let in: a token is needed');
    assert.equal(await anna.textContent('#again'), 'Try now');
  },

  async 'page over TLS connects by WebSocket over TLS'() {
    const files = ['-keyout', 'key.pem', '-out', 'cert.pem'];
    const make = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', '/CN=localhost', ...files];
    if (spawnSync('openssl', make, {cwd: process.env.TMPDIR}).status !== 0) return console.log('skipped: openssl is missing');
    const [certificate, key] = ['cert.pem', 'key.pem'].map(file => `${process.env.TMPDIR}/${file}`);
    const secret = await serve('-l', 'tls:127.0.0.1:0', '--tls-cert', certificate, '--tls-key', key);
    const [anna, bob] = await Promise.all(['anna', 'bob'].map(name => open(secret, {scheme: 'https', ignoreHTTPSErrors: true, name})));
    await say(anna, 'nobody listens');
    await until('it came', async () => String(await messages(bob)) === 'anna: nobody listens');
  },

  async 'nothing is wider than a small screen, and no text stands on another'() {
    const carl = lineClient(port, `/nick ${'W'.repeat(20)}`, `/join ${'M'.repeat(20)}`);
    await until('it is in', () => carl.lines().some(line => line.includes('joins')));
    const anna = await open(port, {room: 'M'.repeat(20), viewport: {width: 360, height: 640}});
    carl.say('x'.repeat(3000));
    carl.say(`https://example.org/${'path/'.repeat(300)}`);
    carl.say(`Z${'\u0301'.repeat(200)}algo`);
    carl.say('שלום עולם، 123 (abc)');
    await until('all came', async () => (await messages(anna)).length === 4);
    await anna.fill('#text', 'y'.repeat(5000));
    const widths = () => anna.evaluate(() => [document.documentElement.scrollWidth, document.getElementById('log').scrollWidth - document.getElementById('log').clientWidth, innerWidth]);
    assert.deepEqual(await widths(), [360, 0, 360]);
    for (const panel of [0, 1]) {
      await anna.click(`.toggle >> nth=${panel}`);
      assert.deepEqual((await widths())[0], 360);
    }
    await anna.keyboard.press('Escape');
    const heights = await anna.$$eval('.message', items => items.map(item => item.scrollHeight <= item.clientHeight + 400 && getComputedStyle(item).overflowY));
    assert.deepEqual(heights, ['clip', 'clip', 'clip', 'clip']);
  },
};

try {
  const wanted = process.env.SCENE;
  for (const [name, play] of Object.entries(scenes)) {
    if (wanted && !name.includes(wanted)) continue;
    const begin = Date.now();
    await play();
    console.log(`ok: ${name} (${Date.now() - begin} ms)`);
  }
  if (pictures) await takePictures(pictures);
  assert.deepEqual(complaints, [], 'the browser complains');
} finally {
  await finish();
}
process.exit();

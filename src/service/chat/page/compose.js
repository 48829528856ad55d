// ---- what is typed, and what becomes of it ----

const LINES_MAX = 50;            // of one text: five seconds' worth at the default rate

// What was said and has not come back: {room, lines, item, state, sentAt}. Each line is a message of
// its own. One line is on its way at a time, so an error is about that one. States are 'waiting',
// 'sent', 'unsure' (the connection broke, and it may have been heard) and 'lost'.
const outbox = [];

// The text in the box: as the lines to be sent, with what is wrong with it or to be known.
function draft() {
  const typed = $('text').value.split('\n').map(clean).filter(Boolean);
  const isCommand = typed.length === 1 && /^\/[^/]/.test(`${typed[0]} `);
  // Only a text of one line is taken for a command, so none hides in what was pasted.
  const lines = typed.length === 1 ? [typed[0].replace(/^\/\//, '/')] : typed;
  const longest = lines.reduce((most, line) => Math.max(most, bytes(line)), 0);
  let problem = '', hint = '';
  if (lines.length > LINES_MAX) problem = `${grouped(lines.length)} lines; at most ${LINES_MAX} can be sent at once.`;
  else if (longest > limits.message) problem = `Too long: a message has at most ${grouped(limits.message)} bytes.`;
  else if (!lines.length || isCommand) hint = '';
  else if (!current) problem = 'You are in no room.';
  else if (current.isOut) problem = 'You are not in this room.';
  else if (!isWelcome) hint = 'Not connected; the text stays here.';
  else if (lines.length > 1) hint = `${lines.length} lines are sent as ${lines.length} messages.`;
  return {lines, isCommand, longest, problem, hint};
}

function grouped(value) { return value.toLocaleString('en'); }

// The box is as high as what is in it; the style sheet says how high at most.
function fit() {
  const box = $('text');
  box.style.height = 'auto';
  box.style.height = `${box.scrollHeight + box.offsetHeight - box.clientHeight}px`;
  drawDraft();
}

// The hint is read out, so it stays the same while somebody types; the count is only shown.
function drawDraft() {
  const {longest, problem, hint} = draft();
  const text = problem || hint;
  if ($('hint').textContent !== text) $('hint').textContent = text;
  $('count').hidden = longest < 0.8 * limits.message;
  $('count').textContent = `${grouped(longest)} of ${grouped(limits.message)} bytes`;
  $('text').setAttribute('aria-invalid', !!problem);
  $('send').disabled = !isWelcome || !!problem;
}

function submit() {
  const {lines, isCommand, problem} = draft();
  $('text').focus();
  if (!lines.length || problem || !isWelcome) return;
  if (isCommand) command(lines[0]);
  else say(current, lines);
  $('text').value = '';
  fit();
}

function command(text) {
  const words = text.split(/\s+/);
  const word = words[0].toLowerCase();
  if (word === '/nick' && words[1]) return rename(words[1]);
  if (word === '/join' && words[1]) return enter(words[1]);
  const room = word === '/say' && words[2] && same(words[1]);
  if (room && !room.isOut) return say(room, [text.replace(/^\S+\s+\S+\s+/, '')]);
  isListWanted = isListWanted || word === '/rooms';
  // Here a command is about the room on the screen.
  const lacksRoom = {'/leave': 1, '/part': 1, '/who': 1, '/kick': 2, '/role': 3}[word] === words.length;
  tell(lacksRoom && current ? `${text} ${current.name}` : text);
}

function rename(name) {
  wanted = name;
  attempt = 9;
  save('name', name);
  tell(`/nick ${name}`);
}

// ---- the outbox ----

function say(room, lines) {
  const item = element('div', 'line own pending', element('time', '', '…'), element('span', 'text', lines.join('\n')));
  place(room, item);
  if (room === current) scrollToEnd();
  outbox.push({room, lines, item, state: 'waiting'});
  sendNext();
}

function sendNext() {
  if (!isWelcome || outbox.some(({state}) => state === 'sent')) return;
  const next = outbox.find(({state, room}) => state === 'waiting' && !room.isOut && !room.isReplaying);
  if (!next) return;
  Object.assign(next, {state: 'sent', sentAt: Date.now()});
  tell(`/say ${next.room.name} ${next.lines[0]}`);
}

// A message has come: perhaps it is the line that is on its way, or that one was thought lost.
function settle(room, {name, text}) {
  const message = outbox.find(({room: where, lines, state}) => where === room && state !== 'waiting' && mine.has(name)
    && (lines[0] === text || (state === 'sent' && name === me)));
  if (!message) return;
  message.lines.shift();
  if (message.lines.length) {
    message.state = 'waiting';
    message.item.className = 'line own pending';
    message.item.lastChild.replaceChildren(message.lines.join('\n'));
  } else drop(message);
  sendNext();
}

function drop(message) {
  outbox.splice(outbox.indexOf(message), 1);
  remove(message.room, message.item);
}

function failSent() {
  outbox.filter(({state}) => state === 'sent').forEach(fail);
}

// Nothing came of a line since then, though the server is there.
function expire(then) {
  outbox.filter(({state, sentAt}) => state === 'sent' && sentAt < then && heardAt > then).forEach(fail);
}

// The connection is gone.
function doubt() {
  for (const message of outbox) if (message.state === 'sent') message.state = 'unsure';
}

// All that was heard of a room has come, or we are out of it.
function resolve(room) {
  outbox.filter(message => message.room === room && (message.state === 'unsure' || room.isOut)).forEach(fail);
  sendNext();
}

function fail(message) {
  message.state = 'lost';
  message.item.className = 'line own pending lost';
  const button = element('button', '', 'Send again');
  button.type = 'button';
  button.onclick = () => {
    drop(message);
    say(message.room, message.lines);
    $('text').focus();
  };
  message.item.firstChild.textContent = '';
  message.item.lastChild.replaceChildren(message.lines.join('\n'), ' — not sent', button);
  sendNext();
}

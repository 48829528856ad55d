// ---- the connection: one WebSocket, opened again for ever ----

const BACK_OFF = {base: 500, most: 30000};
const QUIET = 25000, PATIENCE = 10000;   // ask whether the server is there; give it up
const BURST = 12;                        // lines at once; the server takes 16, or a second's worth

const REPLACED = 4001;                   // our name came in elsewhere: to come back would put that one out

// A token in the address says who we are. It is taken out of there, where others may see it; next time
// the browser has a cookie.
const token = new URLSearchParams(location.search).get('token');
if (token) history.replaceState(null, '', location.pathname + location.hash);
const door = token ? `/ws?token=${encodeURIComponent(token)}` : '/ws';

let socket = null, isWelcome = false, failures = 0, retry = 0, retryAt = 0, heardAt = 0, askedAt = 0;
let limits = {message: Infinity, line: Infinity, rate: 1};
let credit = 0, creditAt = 0, pumping = 0;   // lines that may be sent, as counted at that time
const queue = [];                            // lines that wait for that
const asked = [];                            // joins, names and lists without an answer yet, each with its word, in order

function connect() {
  clearTimeout(retry);
  showState('wait', failures ? 'reconnecting …' : 'connecting …');
  const scheme = location.protocol === 'https:' ? 'wss:' : 'ws:';
  const mine = socket = new WebSocket(`${scheme}//${location.host}${door}`);
  heardAt = Date.now(); askedAt = 0;
  socket.onmessage = event => { if (mine === socket) { heardAt = Date.now(); askedAt = 0; receive(JSON.parse(event.data)); } };
  socket.onclose = event => { if (mine === socket) lose(event); };
}

function begin({message_max, line_max, rate}) {
  limits = {message: message_max, line: line_max, rate};
  isWelcome = true;
  failures = 0;
  credit = BURST; creditAt = performance.now();
  showState('open', 'connected');
}

function lose(event) {
  if (!isWelcome) ask();
  socket = null;
  isWelcome = false;
  queue.length = asked.length = 0;
  // Twice as long each time, and never at the same moment as everybody else.
  const most = Math.min(BACK_OFF.most, BACK_OFF.base * 2 ** failures++);
  const delay = most / 2 + Math.random() * most / 2;
  retryAt = Date.now() + delay;
  retry = setTimeout(connect, delay);
  showState('closed', `disconnected${event.reason ? `: ${event.reason}` : ''}`);
  if (event.code === REPLACED) rest();
  countDown();
  doubt();
  draw();
}

// A WebSocket is not told why it was not let in. Without a right token there is no use in trying.
async function ask() {
  try {
    const answer = await fetch(door);
    if (answer.status !== 401 || socket) return;
    rest();
    showState('closed', `not let in: ${(await answer.text()).trim()}`);
  } catch { /* It cannot be reached, which is tried again anyway. */ }
}

// Only the reader tries again.
function rest() {
  clearTimeout(retry);
  retryAt = 0;
  $('again').textContent = 'Try now';
}

function countDown() {
  if (socket || !retryAt) return;
  const seconds = Math.ceil((retryAt - Date.now()) / 1000);
  $('again').textContent = seconds > 1 ? `Try now (${seconds} s)` : 'Try now';
}

function watch() {
  countDown();
  if (!socket) return;
  const now = Date.now();
  if (isWelcome) expire(now - PATIENCE);
  // A server that has not welcomed us owes an answer since we called it.
  const owedSince = isWelcome ? askedAt : heardAt;
  if (owedSince && now - owedSince > PATIENCE) { const dead = socket; lose({reason: 'no answer'}); dead.close(); }
  else if (isWelcome && !askedAt && now - heardAt > QUIET) { askedAt = now; tell('/ping'); }
}

// Everything that is sent goes through here: nothing is longer than the server takes, for which it
// would end the connection, or comes faster, for which it would make all that follows wait.
function tell(line) {
  if (!isWelcome) return false;
  if (bytes(line) > limits.line) {
    note('That is longer than the server takes.', 'bad');
    return false;
  }
  const [first, name] = line.split(/\s+/);
  const word = first.toLowerCase();
  // Without a name it is answered with how it is written.
  if (name && (word === '/join' || word === '/nick')) asked.push({word, name, isNew: word === '/join' && !same(name)});
  if (word === '/rooms' || word === '/who') asked.push({word});
  queue.push(line);
  pump();
  return true;
}

function pump() {
  clearTimeout(pumping);
  if (!isWelcome) return;
  const now = performance.now();
  credit = Math.min(BURST, credit + (now - creditAt) * limits.rate / 1000);
  creditAt = now;
  for (; queue.length && credit >= 1; credit--) socket.send(queue.shift());
  if (queue.length) pumping = setTimeout(pump, (1 - credit) * 1000 / limits.rate);
}

function showState(state, text) {
  if ($('state').className !== state || $('state').textContent !== text) {
    $('state').className = state;
    $('state').textContent = text;
  }
  $('again').hidden = state !== 'closed';
}

// ---- the page around the log ----

const PEOPLE_MAX = 256;          // shown; the server names no more either
const ALPHABET = new Intl.Collator([], {numeric: true});

let isDrawn = true, arePeopleDrawn = true;

// Something is to be seen of it in the next frame: once, however much happens until then. A tab that
// is not shown has no frames, and its title is all there is to see of it.
function draw() {
  drawTitle();
  if (isDrawn) requestAnimationFrame(drawFrame);
  isDrawn = false;
}

function drawFrame() {
  isDrawn = true;
  drawRooms(); drawCard(); drawNewest(); drawDraft();
  if (!arePeopleDrawn) drawPeople();
  arePeopleDrawn = true;
  // Where nobody reads what goes at the top, the browser need not keep it in its place.
  $('log').style.overflowAnchor = isAtEnd ? 'none' : 'auto';
  if (!isAtEnd || !current) return;
  trim(current, LOG_MAX);
  scrollToEnd();
}

function select(room) {
  if (current) current.scrollTop = isAtEnd ? null : $('log').scrollTop;
  current = room;
  history.replaceState(null, '', room ? `#${encodeURIComponent(room.name)}` : ' ');
  $('log').setAttribute('aria-live', 'off');
  $('log').replaceChildren(...(room ? room.items : []));
  if (room?.scrollTop != null) $('log').scrollTop = room.scrollTop;
  else scrollToEnd();
  isAtEnd = room?.scrollTop == null;
  arePeopleDrawn = false;
  if (!room || !room.isReplaying) requestAnimationFrame(() => $('log').setAttribute('aria-live', 'polite'));
  unfold();
  draw();
}

function drawTitle() {
  const all = unread(() => true);
  const name = current ? `#${current.name}` : 'Chat';
  const title = all ? `(${all}) ${name}` : name;
  if (document.title === title && $('icon').href) return;
  $('title').textContent = name;
  document.title = title;
  $('icon').href = `data:image/svg+xml,${encodeURIComponent(picture(all))}`;
}

function unread(isMeant) {
  return [...rooms.values()].filter(isMeant).reduce((sum, room) => sum + room.unread, 0);
}

// A speech bubble, and how many messages are unread.
function picture(count) {
  const text = count > 99 ? '99+' : count;
  const badge = count ? `<rect x="6" y="26" width="58" height="38" rx="12" fill="#b3261e"/><text x="35" y="56"
    font-family="sans-serif" font-weight="700" font-size="${count > 99 ? 28 : 34}" text-anchor="middle" fill="#fff">${text}</text>` : '';
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64"><path fill="#2f7de1"
    d="M14 4h36a12 12 0 0 1 12 12v20a12 12 0 0 1-12 12H30L14 62V48a12 12 0 0 1-12-12V16A12 12 0 0 1 14 4z"/>${badge}</svg>`;
}

// A room keeps its button, which may have the focus.
function drawRooms() {
  for (const room of rooms.values()) {
    room.entry ||= entry(room);
    const [button, exit] = room.entry.children;
    button.replaceChildren(element('bdi', '', `#${room.name}`));
    if (room.isOut) button.append(element('span', 'tag', 'out'));
    if (room.unread) button.append(element('span', 'count', room.unread), element('span', 'hidden', 'unread'));
    if (room === current) button.setAttribute('aria-current', 'true');
    else button.removeAttribute('aria-current');
    exit.ariaLabel = `Leave ${room.name}`;
  }
  const elsewhere = unread(room => room !== current);
  $('elsewhere').hidden = !elsewhere;
  $('elsewhere').textContent = elsewhere;
  const entries = [...rooms.values()].map(room => room.entry);
  const isSame = entries.length === $('rooms').children.length && entries.every((entry, index) => entry === $('rooms').children[index]);
  if (!isSame) $('rooms').replaceChildren(...entries);
}

function entry(room) {
  const button = element('button', 'enter');
  const exit = element('button', 'exit', '×');
  button.type = exit.type = 'button';
  button.onclick = () => { select(room); $('text').focus(); };
  exit.onclick = () => { leave(room); $('text').focus(); };
  return element('li', '', button, exit);
}

function drawPeople() {
  const order = {operator: 0, speaker: 1, viewer: 2};
  const members = current ? [...current.members] : [];
  members.sort(([a, x], [b, y]) => order[x] - order[y] || ALPHABET.compare(a, b));
  const shown = members.slice(0, PEOPLE_MAX).map(([name, role]) => {
    const item = element('li', '', chip(name), nameOf(name));
    const tag = [name === me ? 'you' : '', role === 'speaker' ? '' : role].filter(Boolean).join(', ');
    if (tag) item.append(element('span', 'tag', tag));
    return item;
  });
  const count = current ? Math.max(current.count, members.length) : 0;
  if (count > shown.length) shown.push(element('li', 'tag', `and ${count - shown.length} more`));
  $('people').replaceChildren(...shown);
  $('people-title').textContent = count ? `People (${count})` : 'People';
  if (document.activeElement !== $('name')) $('name').value = me;
  const isViewer = current?.members.get(me) === 'viewer';
  $('text').placeholder = isViewer ? 'You may read here; operators decide who speaks' : 'Message, or /help';
}

// What stands in place of a room that we are not in.
function drawCard() {
  const isOut = !!current?.isOut;
  $('card').hidden = !isOut && !(isWelcome && !current);
  $('card').classList.toggle('out', isOut);
  const text = isOut ? current.why : refusal || 'You are in no room.';
  if ($('card-text').textContent !== text) $('card-text').textContent = text;
  $('card-join').textContent = isOut ? 'Join again' : 'Join #lobby';
  $('card-join').disabled = !isWelcome;
  $('card-close').hidden = !isOut;
}

function drawNewest() {
  const count = current?.unread;
  $('newest').hidden = isAtEnd;
  $('newest').textContent = count ? `${count} new message${count > 1 ? 's' : ''} ↓` : 'newest ↓';
}

// On a small screen: which of the two panels is open.
function unfold(panel) {
  for (const toggle of document.querySelectorAll('.toggle')) {
    const own = toggle.getAttribute('aria-controls');
    const isOpen = panel === own && !$(own).classList.contains('unfolded');
    $(own).classList.toggle('unfolded', isOpen);
    toggle.setAttribute('aria-expanded', isOpen);
  }
}

// ---- what the reader does ----

// After everything that is done elsewhere the next word can be typed.
function on(id, event, act) {
  $(id).addEventListener(event, what => { what.preventDefault(); act(); $('text').focus(); });
}
on('compose', 'submit', submit);
on('join', 'submit', () => { enter($('room').value.trim().replace(/^#/, '')); $('room').value = ''; });
on('call', 'submit', () => { const name = clean($('name').value).split(/\s/)[0]; $('text').focus(); if (name) rename(name); draw(); });
on('newest', 'click', scrollToEnd);
on('card-join', 'click', () => enter(current ? current.name : 'lobby'));
on('card-close', 'click', () => leave(current));
on('again', 'click', () => { if (!socket) connect(); });
$('text').addEventListener('input', fit);
$('text').addEventListener('keydown', event => {
  // Enter also ends the choice of a Chinese or Japanese word.
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  submit();
});
for (const toggle of document.querySelectorAll('.toggle')) {
  toggle.onclick = () => unfold(toggle.getAttribute('aria-controls'));
}
document.addEventListener('keydown', event => { if (event.key === 'Escape') { unfold(); $('text').focus(); } });
document.addEventListener('visibilitychange', see);
$('log').addEventListener('scroll', scrolled);
new ResizeObserver(() => { if (isAtEnd) scrollToEnd(); }).observe($('log'));
addEventListener('resize', fit);
addEventListener('online', () => { if (!socket) connect(); });
setInterval(watch, 1000);

// The room that the address names. Anybody may have written that.
function addressed() { try { return clean(decodeURIComponent(location.hash.slice(1))); } catch { return ''; } }
function load(key) { try { return localStorage.getItem(`edgeloop-${key}`) || ''; } catch { return ''; } }
function save(key, value) { try { localStorage.setItem(`edgeloop-${key}`, value); } catch { /* A browser may keep nothing. */ } }

drawTitle();
connect();
$('text').focus();

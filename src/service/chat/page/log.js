// ---- the log: one line after the other, and what the reader has seen of it ----

const LOG_MAX = 1000;            // lines kept for a room; twice as many while somebody reads them
const FOLD_MAX = 200;            // people in one line of comings and goings
const NAMES_MAX = 3;             // names of each kind that such a line shows

let isAtEnd = true;              // a reader who has scrolled back is left there
let topSeen = 0;                 // where the log was last seen to be

function element(tag, className, ...content) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...content);
  return made;
}

function moment(time, className) {
  const at = element('time', className, CLOCK.format(time));
  at.dateTime = new Date(time).toISOString();
  at.title = MOMENT.format(time);
  return at;
}

function chip(name) {
  const {hue, isFilled} = look(name);
  const mark = element('span', isFilled ? 'initials filled' : 'initials', initials(name));
  mark.style.setProperty('--hue', hue);
  mark.ariaHidden = 'true';
  return mark;
}

function nameOf(name) {
  const made = element('bdi', 'name', name);
  made.style.setProperty('--hue', look(name).hue);
  return made;
}

function linked(text) {
  return pieces(text).map(piece => {
    if (!piece.address) return piece;
    const link = element('a', '', piece.address);
    link.href = piece.address;
    link.target = '_blank';
    link.rel = 'noopener noreferrer';
    return link;
  });
}

function add(room, {kind, time = Date.now(), name, text, isOwn}) {
  const body = element('span');
  if (name) body.append(chip(name), nameOf(name), element('span', 'hidden', ': '), element('bdi', 'text', ...linked(text)));
  else body.append(element('span', 'text', text));
  beginDay(room, time);
  if (kind === 'message' && !isOwn) countUnread(room);
  const item = element('div', `line ${kind}${isOwn ? ' own' : ''}`, moment(time), body);
  place(room, item);
  return item;
}

function place(room, item) {
  room.items.push(item);
  if (room === current) $('log').append(item);
  trim(room, room === current ? 2 * LOG_MAX : LOG_MAX);
  draw();
}

function trim(room, most) {
  while (room.items.length > most) room.items.shift().remove();
}

function remove(room, item) {
  const index = room.items.indexOf(item);
  if (index >= 0) room.items.splice(index, 1);
  item.remove();
}

function note(text, kind = 'note') {
  if (current) add(current, {kind: kind === 'help' ? 'note help' : kind, text});
  else { refusal = text; draw(); }
}

// Days are the reader's: another time zone has other ones. Times that lag a little begin none.
function beginDay(room, time) {
  const day = new Date(time).setHours(0, 0, 0, 0);
  if (day <= room.day) return;
  room.day = day;
  place(room, element('div', 'rule', element('span', '', DAY.format(time))));
}

// ---- comings and goings ----

// As long as nothing else happens they are one line. It is not read out: it would be again and again.
function comeOrGo(room, time, name, isComing) {
  beginDay(room, time);
  let fold = room.fold;
  if (!fold || fold.item !== room.items.at(-1) || fold.first.size >= FOLD_MAX) {
    fold = room.fold = {first: new Map(), last: new Map(), body: element('span'), details: element('details')};
    fold.item = element('div', 'line note moves', moment(time), fold.body);
    fold.item.ariaLive = 'off';
    place(room, fold.item);
  }
  if (!fold.first.has(name)) fold.first.set(name, isComing);
  fold.last.set(name, isComing);
  drawFold(fold);
}

function drawFold({first, last, body, details}) {
  const [short, full] = [NAMES_MAX, Infinity].map(most => {
    const group = (begin, end, verb) => {
      const names = [...first.keys()].filter(name => first.get(name) === begin && last.get(name) === end);
      return names.length ? [`${listed(names, most)} ${verb}`] : [];
    };
    return [...group(true, true, 'came'), ...group(false, false, 'left'), ...group(true, false, 'came and left'),
      ...group(false, true, 'left and came back')].join(', ');
  });
  if (short === full) return body.replaceChildren(short);
  details.replaceChildren(element('summary', '', short), full);
  if (details.parentNode !== body) body.replaceChildren(details);
}

// ---- what has been seen ----

function isSeen(room) { return room === current && isAtEnd && !document.hidden; }

// A message of somebody else has come. The first that is not seen has a line above it.
function countUnread(room) {
  if (room.isReplaying && !room.isResumed || isSeen(room)) return;
  if (!room.unread++) {
    if (room.mark) remove(room, room.mark);
    room.mark = element('div', 'rule unread', element('span', '', 'new'));
    place(room, room.mark);
  }
  draw();
}

function see() {
  if (!current || !current.unread || !isSeen(current)) return;
  current.unread = 0;
  draw();
}

function scrollToEnd() {
  isAtEnd = true;
  $('log').scrollTop = $('log').scrollHeight;
  scrolled();
}

// Only a reader goes back; that the end moves away, since something has come, changes nothing.
function scrolled() {
  const {scrollHeight, scrollTop, clientHeight} = $('log');
  const was = isAtEnd;
  if (scrollHeight - scrollTop - clientHeight < 40) isAtEnd = true;
  else if (scrollTop < topSeen) isAtEnd = false;
  topSeen = scrollTop;
  see();
  if (was !== isAtEnd) draw();
}

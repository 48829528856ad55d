// ---- rooms, and what the server says of them ----

// Every event of a room has a number; after a reconnect the room is joined with the last one seen,
// so nothing is missed and nothing comes twice.
//
// A room: {name, id, number, base, why, isOut, isReplaying, isResumed, members, count, items, unread, …}.
// `base` is the number that the list of members belongs to; `why` says how we came to be out of it.
const rooms = new Map();
const mine = new Set();          // the names that we had
let current = null, me = '', wanted = load('name'), attempt = 0, refusal = '';
const OVERLOAD_PAUSE = 2000;
let isListWanted = false;        // somebody typed /rooms

// Which commands an error may answer: it belongs to the first of them without an answer.
const refused = {
  name_taken: ['/nick'], bad_name: ['/join', '/nick'], room_full: ['/join'], too_many_rooms: ['/join'],
  not_permitted: ['/join'], name_fixed: ['/nick'], joined_already: ['/join'], no_room: ['/who'], not_there: ['/who'], overloaded: ['/join', '/who', '/rooms'],
};

const replies = {
  welcome(event) {
    begin(event);
    attempt = 0;
    takeName(event.name);
    $('call').hidden = event.name_fixed;
    if (wanted && !event.name_fixed) tell(`/nick ${wanted}`);
    if (!rooms.size) enter(addressed() || 'lobby');
    else for (const room of rooms.values()) if (!room.isOut) rejoin(room);
    // Text without a room goes to the last one joined; the page always names the room.
    tell('/rooms');
    draw();
  },
  name(event) { answered('/nick'); takeName(event.name); },
  room(event) {
    const {name, isNew} = answered('/join') || {};
    const room = find(event.room, name);
    Object.assign(room, {id: event.id, base: event.number, count: event.count, isOut: false, isReplaying: true});
    room.isResumed = room.number > 0;
    room.members = new Map(event.members.map(({name, role}) => [name, role]));
    arePeopleDrawn = false;
    if (isNew || !current) select(room);
    else if (room === current) $('log').setAttribute('aria-live', 'off');
    draw();
  },
  gap(event) {
    const room = find(event.room);
    add(room, {kind: 'gap', text: `Messages ${event.from} to ${event.to} are not held any more.`});
    room.number = Math.max(room.number, event.to);
  },
  new_numbers(event) {
    const room = find(event.room);
    room.number = 0;
    room.isResumed = false;
    add(room, {kind: 'gap', text: 'The room was opened anew; what was said in between is gone.'});
  },
  room_left(event) { forget(event.room); },
  put_out(event) { lock(same(event.room), `${isolated(event.by)} put you out of #${isolated(event.room)}.`); },
  who(event) { answered('/who'); note(`${event.count} in ${event.room}: ${event.members.map(({name}) => isolated(name)).join(', ')}`); },
  rooms(event) {
    answered('/rooms');
    $('known').replaceChildren(...event.rooms.map(room => new Option(`${room.count} there`, room.name)));
    if (isListWanted) note(event.rooms.map(room => `${isolated(room.name)} (${room.count})`).join(', ') || 'There are no rooms.');
    isListWanted = false;
  },
  help(event) { note(event.text, 'help'); },
  pong() {},
  error({code, text}) {
    // How a command is written says which one it was.
    const words = code === 'usage' ? ['/join', '/nick'].filter(word => text.includes(`${word} `)) : refused[code];
    const {word, name} = answered(...words || []) || {};
    if (code === 'name_taken') {
      // Most often our own connection of before, which the server has not given up yet.
      if (wanted && attempt++ < 9) return tell(`/nick ${numbered(wanted, attempt + 1)}`);
    }
    if (['bad_name', 'room_full', 'too_many_rooms', 'not_permitted'].includes(code)) {
      const room = word === '/join' && same(name);
      if (room) return lock(room, text);
    }
    if (code === 'overloaded') {
      if (word === '/rooms' && !isListWanted) return;
      if (word === '/rooms') isListWanted = false;
      if (word === '/join') later(name);
      if (word === '/join' && !current) { refusal = text; return draw(); }
    }
    if (['viewer', 'too_long', 'not_there'].includes(code)) failSent();
    note(text, 'bad');
  },
};

// Takes out the first command of these that has no answer yet.
function answered(...words) {
  const index = asked.findIndex(command => words.includes(command.word));
  return index < 0 ? undefined : asked.splice(index, 1)[0];
}

function receive(event) {
  if (event.number === undefined || event.type === 'room') return (replies[event.type] || (() => {}))(event);
  const room = rooms.get(event.room);
  if (!room || event.number <= room.number) return;
  // The history of a newcomer may begin anywhere.
  const isWhole = event.number === room.number + 1 || (room.isReplaying && !room.isResumed);
  if (!isWhole) add(room, {kind: 'gap', text: 'Something is missing here.'});
  room.number = event.number;
  happen(room, event);
}

function happen(room, event) {
  // The list of people that came with the room knows what happened before.
  const isNews = event.number > room.base;
  const {type, name, time} = event;
  const [who, by] = [isolated(name), event.by && isolated(event.by)];
  const remark = text => add(room, {kind: 'note', time, text});
  switch (type) {
    case 'message':
      settle(room, event);
      add(room, {kind: 'message', time, name, text: event.text, isOwn: name === me});
      break;
    case 'joined':
      if (isNews) { room.members.set(name, event.role); room.count++; }
      comeOrGo(room, time, name, true);
      break;
    case 'left':
      if (isNews) { room.members.delete(name); room.count--; }
      comeOrGo(room, time, name, false);
      break;
    case 'kicked':
      if (isNews) { room.members.delete(name); room.count--; }
      remark(`${by} put ${who} out`);
      break;
    case 'renamed':
      if (isNews && room.members.has(name)) { room.members.set(event.new, room.members.get(name)); room.members.delete(name); }
      remark(`${who} is now called ${isolated(event.new)}`);
      break;
    case 'role':
      if (isNews) room.members.set(name, event.role);
      remark(by ? `${by} made ${who} ${event.role}` : `${who} is now ${event.role}`);
      break;
  }
  // The first event after the number of the room is that we join.
  if (isNews && room.isReplaying) arrive(room);
  if (type !== 'message') arePeopleDrawn = false;
  draw();
}

// What was missed has come by now.
function arrive(room) {
  room.isReplaying = false;
  if (room === current) $('log').setAttribute('aria-live', 'polite');
  resolve(room);
}

// ---- in and out ----

function same(name = '') { return [...rooms.values()].find(room => room.name.toLowerCase() === name.toLowerCase()); }

// The room of that name, which we may have asked for under another: the server says what it is.
function find(name, asked) {
  const room = same(name) || same(asked) || {
    id: '', number: 0, base: 0, why: '', isOut: false, isReplaying: true, isResumed: false,
    members: new Map(), count: 0, items: [], unread: 0, day: 0, scrollTop: null,
  };
  if (room.name !== name) {
    rooms.delete(room.name);
    room.name = name;
    rooms.set(name, room);
  }
  return room;
}

// It is shown when the server has let us in.
function enter(text) {
  const [name] = clean(text).split(/\s/);
  const known = same(name);
  if (known) select(known);
  refusal = '';
  if (known?.isOut) rejoin(known);
  else if (name && !known) tell(`/join ${name}`);
}

function rejoin(room) {
  room.isReplaying = true;
  tell(`/join ${room.name} ${room.number} ${room.id}`);
}

// The server had too much to do. Not all pages ask again at the same moment.
function later(name) {
  const mine = socket;
  setTimeout(() => {
    const room = same(name);
    if (mine !== socket || !isWelcome) return;
    if (room && !room.isOut) rejoin(room);
    else if (!room) enter(name);
  }, OVERLOAD_PAUSE * (1 + Math.random()));
}

function lock(room, why) {
  if (!room) return;
  Object.assign(room, {why, isOut: true, count: 0});
  room.members.clear();
  arePeopleDrawn = false;
  resolve(room);
  draw();
}

function leave(room) {
  if (!room.isOut && isWelcome) tell(`/leave ${room.name}`);
  else forget(room.name);
}

function forget(name) {
  const room = rooms.get(name);
  rooms.delete(name);
  if (room && room === current) select(rooms.values().next().value || null);
  draw();
}

function takeName(name) {
  me = name;
  mine.add(name);
  arePeopleDrawn = false;
  draw();
}

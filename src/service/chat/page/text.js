// ---- text: what can be said about it without a document ----

const encoder = new TextEncoder();
const CLOCK = new Intl.DateTimeFormat([], {hour: '2-digit', minute: '2-digit', hourCycle: 'h23'});
const DAY = new Intl.DateTimeFormat([], {dateStyle: 'full'});
const MOMENT = new Intl.DateTimeFormat([], {dateStyle: 'full', timeStyle: 'medium'});

// Lengths are the server's: bytes of UTF-8.
function bytes(text) { return encoder.encode(text).length; }

// As the server does, so that text comes back as it was sent: what a terminal would obey and what
// turns the direction of writing become spaces, and a text that shows nothing is none.
const OBEYED = /[\p{Cc}\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ufeff\ufff9-\ufffb]/gu;
const BLANK = /^[\s\p{Default_Ignorable_Code_Point}\u2800\u{13441}\u{13442}\u{16fe4}\u{1d159}]*$/u;
function clean(text) {
  const cleaned = text.replace(OBEYED, ' ').trim();
  return BLANK.test(cleaned) ? '' : cleaned;
}

// A name in a sentence of ours, whichever direction it is written in.
function isolated(name) { return `\u2068${name}\u2069`; }

// "anna", "anna and bo", "anna, bo and cem", "anna, bo and 12 others"
function listed(names, most) {
  const shown = names.length > most ? names.slice(0, most - 1) : names;
  const all = shown.map(isolated);
  if (names.length > most) all.push(`${names.length - shown.length} others`);
  const last = all.pop();
  return all.length ? `${all.join(', ')} and ${last}` : last;
}

const NAME_MAX = {characters: 20, bytes: 30};   // marks are characters, too

// The name with a number behind it, and still not longer than a name may be. Letters are cut off as
// wholes, with their marks and with what joins them to the one before.
function numbered(name, number) {
  const letters = name.normalize('NFC').match(/[\u200c\u200d]?\P{M}\p{M}*/gu) || [];
  const full = () => `${letters.join('')}-${number}`;
  while ([...full()].length > NAME_MAX.characters || bytes(full()) > NAME_MAX.bytes) letters.pop();
  return full();
}

// ---- how a name looks ----

const HUES = 12, LOOKS = 2 * HUES;   // each hue once as an outline and once filled
const STRIDE = 5;                    // has no factor in common with LOOKS, and leads far from a hue

// Names that differ in case only are one. Those that differ in their number only, as guests do, get
// looks that differ: the number walks through all of them.
function look(name) {
  const [, stem, number] = /^(.*?)(\d*)$/su.exec(name.toLowerCase());
  const index = (mix(stem) + STRIDE * Number(number)) % LOOKS;
  return {hue: index % HUES * 360 / HUES + 15, isFilled: index >= HUES};
}

// FNV-1a; then the finaliser of MurmurHash3, without which names that differ little at their end
// would differ in the low bits only.
function mix(text) {
  let hash = 2166136261;
  for (const c of text) hash = Math.imul(hash ^ c.codePointAt(0), 16777619);
  hash = Math.imul(hash ^ hash >>> 16, 0x85ebca6b);
  hash = Math.imul(hash ^ hash >>> 13, 0xc2b2ae35);
  return (hash ^ hash >>> 16) >>> 0;
}

// "G12" for guest12, "MJ" for mary-jane, "AN" for anna. A letter is not parted from its marks.
function initials(name) {
  const letters = text => text.match(/\P{M}\p{M}*/gu) || [text];
  const first = letters(name)[0];
  const number = /\d{1,2}$/u.exec(name.slice(first.length));
  const part = /[-_.](?=[^-_.])([^-_.]*)$/u.exec(name);
  const second = number ? number[0] : part ? letters(part[1])[0] : letters(name)[1] || '';
  return (first + second).toUpperCase();
}

// ---- links ----

// Also ends where scripts without spaces end a sentence.
const ADDRESS = /\bhttps?:\/\/[^\s<>"“”«»。、，；：！？（）「」『』【】《》]+/giu;
const BRACKETS = ['()', '[]', '{}'];

// The text in pieces: strings, and {address} for what is one.
function pieces(text) {
  const found = [];
  let end = 0;
  for (const match of text.matchAll(ADDRESS)) {
    const address = withoutTail(match[0]);
    if (!isAddress(address)) continue;
    found.push(text.slice(end, match.index), {address});
    end = match.index + address.length;
  }
  found.push(text.slice(end));
  return found.filter(Boolean);
}

// What ends a sentence, and brackets that were opened before the address, are no part of it.
function withoutTail(address) {
  const count = c => address.split(c).length - 1;
  const surplus = new Map(BRACKETS.map(([open, close]) => [close, count(close) - count(open)]));
  let end = address.length;
  for (; end > 0; end--) {
    const last = address[end - 1];
    if (surplus.get(last) > 0) surplus.set(last, surplus.get(last) - 1);
    else if (!'.,;:!?\'’…*_~|'.includes(last)) break;
  }
  return address.slice(0, end);
}

function isAddress(text) {
  try {
    const {username, password} = new URL(text);
    // In https://bank.example@evil.example the host is not what it seems to be.
    return !username && !password;
  } catch { return false; }
}

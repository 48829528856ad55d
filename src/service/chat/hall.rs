//! All clients and all rooms, and what commands do to them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use slab::Slab;

use super::badge::{self, Badge, Badges};
use super::command::{Command, Misunderstood, parse};
use super::event::{Event, Reply, Role};
use super::likeness::{Likeness, Mirror};
use super::name::Name;
use super::options::ChatOptions;
use super::places::{Place, Places};
use super::pulse::Flood;
use super::room::{Resumption, Room, Wire};
use super::text::{clean, is_blank};
use crate::codec::http::Head;
use crate::codec::websocket::{Message, close_code};
use crate::reactor::{CloseReason, Context, Token};
use crate::service::addresses::{Addresses, address_of};
use crate::service::bearer::{COOKIE, Found, wall_ms};
use crate::service::identity::{Identity, TokenError};
use crate::service::throttle::{self, Throttle, Throttled};
use crate::service::wall_clock::WallClock;
use crate::service::websocket::{Flow, send};

/// Who is here, and where.
#[derive(Debug)]
pub(super) struct Hall {
    pub(super) options: ChatOptions,
    pub(super) addresses: Addresses,
    clients: Slab<Client>,
    mirror: Mirror,
    /// By what their names look like.
    names: HashMap<Likeness, u32>,
    rooms: Slab<Room>,
    room_names: HashMap<Likeness, u32>,
    guests: u32,
    rooms_opened: u64,
    /// When an empty room goes, or a room without space is tried again.
    rooms_due: Option<Instant>,
    throttle: Throttle,
    /// Where tokens are asked for.
    badges: Badges,
    /// When it began, in milliseconds since 1970, for the ids of rooms.
    started_ms: u64,
    wall_clock: WallClock,
    pub(super) is_draining: bool,
}

#[derive(Debug)]
struct Client {
    token: Token,
    wire: Wire,
    name: Name,
    throttled: Throttled,
    places: Places,
}

/// Why a command was not carried out.
struct Refusal {
    code: &'static str,
    text: String,
}

type Outcome = Result<Flow, Refusal>;

impl Hall {
    pub(super) fn new(options: ChatOptions) -> Self {
        let started = Instant::now();
        let mut wall_clock = WallClock::new(started);
        Hall {
            throttle: Throttle::new(options.rate),
            options,
            addresses: Addresses::default(),
            clients: Slab::new(),
            mirror: Mirror::default(),
            names: HashMap::new(),
            rooms: Slab::new(),
            room_names: HashMap::new(),
            guests: 0,
            rooms_opened: 0,
            rooms_due: None,
            badges: Badges::default(),
            started_ms: wall_clock.at(started),
            wall_clock,
            is_draining: false,
        }
    }

    // ---- coming and going ----

    /// A client has come; it is given a name, which is its own as soon as it is greeted.
    pub(super) fn enter(&mut self, cx: &mut Context<'_>, token: Token, wire: Wire) -> u32 {
        // Ends: there are fewer clients than numbers.
        let name = loop {
            self.guests = self.guests.wrapping_add(1);
            let name = Name::guest(self.guests);
            if find(&self.names, self.mirror.look(&name)).is_none() {
                break name;
            }
        };
        let places = Places::Many(Box::default());
        let throttled = self.throttle.client(cx);
        let client = Client { token, wire, name, throttled, places };
        self.clients.insert(client) as u32
    }

    /// Welcomes a client by its name, which is nobody else's from now on.
    pub(super) fn greet(&mut self, cx: &mut Context<'_>, key: u32) {
        let name = self.clients[key as usize].name;
        self.names.extend(self.mirror.look(&name).map(|likeness| (likeness, key)));
        let ChatOptions { message_max, rate, .. } = self.options;
        let line_max = self.options.line_max();
        let is_fixed = self.badges.get(key).is_some();
        self.reply(cx, key, &Reply::Welcome { name, is_fixed, message_max, line_max, rate });
    }

    // ---- who they are ----

    /// Whom a request stands for, where tokens are asked for.
    pub(super) fn identify(
        &self,
        cx: &mut Context<'_>,
        token: Token,
        head: &Head<'_>,
    ) -> Result<Identified, TokenError> {
        let Some(tokens) = &self.options.tokens else { return Ok(Identified::default()) };
        let (found, now_ms) = (Found::of(head)?, wall_ms());
        cx.charge(TOKEN_WORK);
        let badge = self.badge(cx, tokens.identify(&found.token, now_ms)?)?;
        let is_encrypted = found.is_in_target && cx.introduction(token).is_encrypted;
        let cookie = || cookie(&found.token, badge.identity.expires_ms, now_ms, is_encrypted);
        Ok(Identified { cookie: found.is_in_target.then(cookie), badge: Some(badge) })
    }

    /// What a chat makes of somebody, unless somebody else is here whose name looks the same.
    fn badge(&self, cx: &mut Context<'_>, identity: Identity) -> Result<Badge, TokenError> {
        let badge = Badge::new(identity, &self.mirror).ok_or(TokenError::Unknown)?;
        cx.charge(NAME_WORK * (1 + badge.rooms()));
        let owner = find(&self.names, self.mirror.look(&badge.name));
        match owner.and_then(|owner| self.clients.get(owner as usize)) {
            Some(client) if client.name != badge.name => Err(TokenError::Unknown),
            _ => Ok(badge),
        }
    }

    /// A client has shown whom it is: it has the name of its token, which whoever had it before, by the
    /// same token, loses.
    pub(super) fn recognise(&mut self, cx: &mut Context<'_>, key: u32, badge: Badge) {
        if let Some(before) = find(&self.names, self.mirror.look(&badge.name)) {
            let text = "the same name came in elsewhere";
            self.dismiss(cx, before, REPLACED, text, CloseReason::Closed);
        }
        let Some(client) = self.clients.get_mut(key as usize) else { return };
        client.name = badge.name;
        self.set_badge(cx, key, badge);
        self.greet(cx, key);
    }

    fn set_badge(&mut self, cx: &mut Context<'_>, key: u32, badge: Badge) {
        let now_ms = wall_ms();
        let due = badge.identity.expires_ms.map(|at| badge::look_at(cx.now(), now_ms, at));
        self.badges.set(key, Some(badge), due);
        self.look_after_badges(cx);
    }

    /// A line client is to show a token within this time.
    pub(super) fn await_token(&mut self, cx: &mut Context<'_>, key: u32, span: Option<Duration>) {
        self.badges.set(key, None, span.map(|span| cx.now() + span));
        self.look_after_badges(cx);
    }

    /// Clients whose time is over are told so and closed; some of them, and the others in the next turn.
    fn look_after_badges(&mut self, cx: &mut Context<'_>) {
        for _ in 0..DISMISSED_MAX {
            let Some((key, expires_ms)) = self.badges.take_due(cx.now()) else { break };
            let (reason, now_ms) = (CloseReason::Unauthorized, wall_ms());
            let text = match expires_ms {
                Some(at) if at > now_ms => {
                    self.badges.put_off(key, badge::look_at(cx.now(), now_ms, at));
                    continue;
                }
                Some(_) => TokenError::Expired.text(),
                None => "no token came in time",
            };
            self.dismiss(cx, key, close_code::POLICY, text, reason);
        }
        if let Some(at) = self.badges.next_due() {
            throttle::wake_at(cx, at.max(cx.now()));
        }
    }

    /// Whether a client may do nothing but say who it is.
    fn is_stranger(&self, key: u32) -> bool {
        self.options.tokens.is_some() && self.badges.get(key).is_none()
    }

    /// A client shows a token: its first one, or one that holds longer than the one before.
    fn present(&mut self, cx: &mut Context<'_>, key: u32, token: &str) -> Outcome {
        let Some(tokens) = &self.options.tokens else {
            return refuse("no_tokens", "this chat asks for no token");
        };
        cx.charge(TOKEN_WORK);
        let identity = tokens.identify(token, wall_ms());
        let Some(before) = self.badges.get(key) else {
            return match identity.and_then(|identity| self.badge(cx, identity)) {
                Ok(badge) => {
                    self.recognise(cx, key, badge);
                    Ok(Flow::Taken)
                }
                Err(error) => {
                    let (code, reason) = (close_code::POLICY, CloseReason::Unauthorized);
                    self.dismiss(cx, key, code, error.text(), reason);
                    Ok(Flow::Stop)
                }
            };
        };
        // Which of others' tokens are right, it is not told.
        let same = identity.ok().filter(|identity| identity.is_same(&before.identity));
        let badge = same.and_then(|identity| Badge::new(identity, &self.mirror));
        let Some(badge) = badge else {
            return refuse("unauthorized", "the token does not stand for the same");
        };
        let name = badge.name;
        self.set_badge(cx, key, badge);
        self.reply(cx, key, &Reply::Name(name));
        Ok(Flow::Taken)
    }

    /// Its connection is over.
    pub(super) fn remove(&mut self, cx: &mut Context<'_>, key: u32) {
        cx.charge(NAME_WORK);
        self.depart(cx, key);
        self.clients.try_remove(key as usize);
    }

    /// Takes a client that is not served any more out of all its rooms, and frees its name: the end
    /// of its connection may take long.
    ///
    /// It follows them as long as its connection does: a WebSocket to its close frame, lines get
    /// what was said before they were closed.
    pub(super) fn depart(&mut self, cx: &mut Context<'_>, key: u32) {
        let Some(client) = self.clients.get(key as usize) else { return };
        let name = client.name;
        free(&mut self.names, self.mirror.look(&name), key);
        self.badges.remove(key);
        while let Some(place) = self.clients[key as usize].places.last().copied() {
            self.take_out(cx, key, place.room, None, &Event::Left { name });
        }
    }

    /// Whether a client that has to wait does so for its rate, and not for others.
    pub(super) fn is_slowed(&self, key: u32) -> bool {
        self.clients.get(key as usize).is_some_and(|client| !client.throttled.waits_for_others())
    }

    /// A client is heard again. If it has rested meanwhile, it does not flood.
    pub(super) fn look_for_rest(&mut self, cx: &Context<'_>, key: u32, flood: &mut Flood) {
        if *flood != Flood::None
            && let Some(client) = self.clients.get_mut(key as usize)
        {
            self.throttle.count(cx, &mut client.throttled);
            if self.throttle.is_calm(&client.throttled) {
                *flood = Flood::None;
            }
        }
    }

    /// All that a client has sent was taken. If it had tokens left, it does not flood.
    pub(super) fn ebb(&self, key: u32, flood: &mut Flood) {
        let client = self.clients.get(key as usize);
        flood.ebbs(client.is_some_and(|client| self.throttle.is_calm(&client.throttled)));
    }

    /// A line client has ended its side. Says whether it listens on: a member is told so, since it may
    /// have come only to listen; if it is gone, what it is told is answered with a reset.
    pub(super) fn listens_on(&mut self, cx: &mut Context<'_>, key: u32) -> bool {
        let is_member = self.is_member(key);
        if is_member {
            self.reply(cx, key, &Reply::ListensOn);
        }
        is_member
    }

    /// Whether a client is in any room.
    pub(super) fn is_member(&self, key: u32) -> bool {
        self.clients.get(key as usize).is_some_and(|client| !client.places.is_empty())
    }

    /// Ends a client's connection and tells it why.
    pub(super) fn dismiss(
        &mut self,
        cx: &mut Context<'_>,
        key: u32,
        code: u16,
        text: &str,
        reason: CloseReason,
    ) {
        let Some(&Client { token, wire, .. }) = self.clients.get(key as usize) else { return };
        match wire {
            Wire::WebSocket => send(cx, token, Message::Close(Some((code, text)))),
            Wire::Lines => cx.send(token, format!("* {text}\n").as_bytes()),
        };
        cx.close_for(token, reason);
        self.depart(cx, key);
    }

    // ---- time ----

    pub(super) fn on_alarm(&mut self, cx: &mut Context<'_>) {
        self.throttle.on_alarm(cx);
        self.look_after_badges(cx);
        match self.rooms_due.take() {
            Some(due) if due <= cx.now() => self.look_after_rooms(cx),
            Some(due) => self.look_after_rooms_at(cx, due),
            None => {}
        }
    }

    /// Tries rooms again that had no space, and removes rooms that were empty for long enough.
    fn look_after_rooms(&mut self, cx: &mut Context<'_>) {
        cx.charge(self.rooms.len() * ROOM_WORK);
        let linger = self.options.room_linger;
        let is_over =
            |room: &Room| room.empty_since.is_some_and(|since| since + linger <= cx.now());
        let over: Vec<u32> = self
            .rooms
            .iter()
            .filter(|(_, room)| is_over(room))
            .map(|(key, _)| key as u32)
            .collect();
        for key in over {
            self.close_room(cx, key);
        }
        let mut next = None;
        for (_, room) in &mut self.rooms {
            let retry = (!room.is_ready(cx, None)).then(|| cx.now() + RETRY);
            let expiry = room.empty_since.map(|since| since + linger);
            next = next.into_iter().chain(retry).chain(expiry).min();
        }
        if let Some(at) = next {
            self.look_after_rooms_at(cx, at);
        }
    }

    fn look_after_rooms_at(&mut self, cx: &mut Context<'_>, at: Instant) {
        self.rooms_due = self.rooms_due.into_iter().chain([at]).min();
        throttle::wake_at(cx, at);
    }

    /// Milliseconds since the service began, of which only differences mean something: they wrap.
    pub(super) fn clock_ms(&self, cx: &Context<'_>) -> u32 {
        self.throttle.clock_ms(cx)
    }

    // ---- commands ----

    /// Does what a line asks for. When the room it is for has no space now, it is to be offered
    /// again.
    pub(super) fn obey(&mut self, cx: &mut Context<'_>, key: u32, line: &str) -> Flow {
        if !self.clients.contains(key as usize) {
            return Flow::Stop;
        }
        if !self.admit(cx, key) {
            return Flow::Held;
        }
        let flow = self.carry_out(cx, key, line);
        if flow == Flow::Held
            && let Some(client) = self.clients.get_mut(key as usize)
        {
            self.throttle.give_back(&mut client.throttled);
        }
        flow
    }

    /// Counts a message against a client's rate. When a message comes too soon, its client is not read until
    /// the client's timer fires; then the message is offered again.
    pub(super) fn admit(&mut self, cx: &mut Context<'_>, key: u32) -> bool {
        let Some(client) = self.clients.get_mut(key as usize) else { return true };
        self.throttle.admit(cx, client.token, &mut client.throttled)
    }

    fn carry_out(&mut self, cx: &mut Context<'_>, key: u32, line: &str) -> Flow {
        cx.charge(LINE_WORK + 4 * line.len());
        let outcome = match parse(line) {
            Ok(None) => return Flow::Taken,
            Ok(Some(command)) if self.is_stranger(key) && !command.is_for_strangers() => {
                refuse("unauthorized", "a token is needed: /token TOKEN")
            }
            Ok(Some(command)) => self.execute(cx, key, command),
            Err(Misunderstood::Unknown) => {
                refuse("unknown_command", "no such command; /help lists them")
            }
            Err(Misunderstood::Usage(form)) => refuse("usage", format!("it is written: {form}")),
        };
        outcome.unwrap_or_else(|Refusal { code, text }| {
            self.reply(cx, key, &Reply::Error { code, text: &text });
            Flow::Taken
        })
    }

    fn execute(&mut self, cx: &mut Context<'_>, key: u32, command: Command<'_>) -> Outcome {
        if !matches!(command, Command::Say { .. } | Command::Ping(_)) {
            cx.charge(NAME_WORK);
        }
        match command {
            Command::Say { room, text } => return self.say(cx, key, room, text),
            Command::Nick(name) => return self.rename(cx, key, name),
            Command::Join { room, after } => return self.join(cx, key, room, after),
            Command::Leave(room) => return self.leave(cx, key, room),
            Command::Role { name, role, room } => return self.give_role(cx, key, name, role, room),
            Command::Kick { name, room } => return self.kick(cx, key, name, room),
            Command::Token(token) => return self.present(cx, key, token),
            Command::Who(room) => self.who(cx, key, room)?,
            Command::Rooms => self.list_rooms(cx, key)?,
            Command::Ping(text) => self.reply(cx, key, &Reply::Pong(&clean(text))),
            Command::Help => self.reply(cx, key, &Reply::Help),
            Command::Quit => {
                self.dismiss(cx, key, close_code::NORMAL, "goodbye", CloseReason::Closed);
                return Ok(Flow::Stop);
            }
        }
        Ok(Flow::Taken)
    }

    fn say(&mut self, cx: &mut Context<'_>, key: u32, room: Option<&str>, text: &str) -> Outcome {
        if is_blank(text) {
            return Ok(Flow::Taken);
        }
        let place = self.place(key, room)?;
        let text = clean(text);
        let text = text.trim();
        if text.len() > self.options.message_max {
            let most = self.options.message_max;
            return refuse("too_long", format!("a message has at most {most} bytes"));
        }
        if self.role(place) == Role::Viewer {
            return refuse("viewer", "viewers cannot speak in this room");
        }
        let name = self.clients[key as usize].name;
        Ok(self.publish(cx, key, place.room, &Event::Message { name, text }))
    }

    fn rename(&mut self, cx: &mut Context<'_>, key: u32, text: &str) -> Outcome {
        if self.badges.get(key).is_some() {
            return refuse("name_fixed", "your name comes from your token");
        }
        let new = valid_name(text)?;
        let looks = self.mirror.look(&new);
        let Client { token, name, ref places, .. } = self.clients[key as usize];
        if looks.iter().any(|likeness| self.names.get(likeness).is_some_and(|owner| *owner != key))
        {
            return refuse("name_taken", format!("{new} is somebody else's name"));
        }
        let rooms: Vec<u32> = places.iter().map(|place| place.room).collect();
        if !rooms.iter().all(|room| self.rooms[*room as usize].is_ready(cx, Some(token))) {
            return Ok(Flow::Held);
        }
        free(&mut self.names, self.mirror.look(&name), key);
        self.names.extend(looks.map(|likeness| (likeness, key)));
        self.clients[key as usize].name = new;
        self.reply(cx, key, &Reply::Name(new));
        for room in rooms.into_iter().filter(|_| new != name) {
            self.emit(cx, room, Some(token), &Event::Renamed { name, new });
        }
        Ok(Flow::Taken)
    }

    fn join(
        &mut self,
        cx: &mut Context<'_>,
        key: u32,
        text: &str,
        after: Option<(u64, Option<&str>)>,
    ) -> Outcome {
        let name = valid_name(text)?;
        let place = self.room_of(&name).and_then(|room| self.place_in(key, room));
        if let Some(place) = place {
            // Text goes there from now on.
            let client = &mut self.clients[key as usize];
            client.places.remove(place.room);
            client.places.add(place);
            let name = self.rooms[place.room as usize].name;
            let text = format!("you are in {name}; it is now where you speak");
            return refuse("joined_already", text);
        }
        let most = self.options.rooms_per_client;
        if self.clients[key as usize].places.len() >= most {
            return refuse("too_many_rooms", format!("at most {most} rooms at once; /leave one"));
        }
        if !self.may_enter(key, &name) {
            return refuse("not_permitted", format!("your token does not open {name}"));
        }
        check_load(cx)?;
        let holder = self.holder(cx, key, &name)?;
        let room_key = self.open_room(cx, name)?;
        let Client { token, wire, name, .. } = self.clients[key as usize];
        let room = &mut self.rooms[room_key as usize];
        if !room.is_ready(cx, Some(token)) {
            return Ok(Flow::Held);
        }
        if room.members.len() >= self.options.members_max {
            return refuse("room_full", format!("{} is full", room.name));
        }
        let fixed = self.badges.get(key).and_then(|badge| badge.role);
        let role = fixed.unwrap_or_else(|| room.role_for(self.options.newcomers));
        let number = room.number;
        let is_same = |id: Option<&str>| id.is_none_or(|id| id == room.id);
        let seen = after.filter(|(seen, id)| *seen <= number && is_same(*id)).map(|(seen, _)| seen);
        let has_new_numbers = after.is_some() && seen.is_none();
        self.show_room(cx, key, room_key, role);
        let room = &mut self.rooms[room_key as usize];
        let shown = room.name;
        let resumption = room.follow(cx, token, wire, seen);
        let position = room.add(key, role, fixed.is_some());
        if let Some(address) = holder {
            room.held_by = Some(address);
            self.addresses.hold_room(address);
        }
        self.clients[key as usize].places.add(Place { room: room_key, position });
        if has_new_numbers {
            self.reply(cx, key, &Reply::NewNumbers { room: shown });
        } else if let Resumption::Gap { from, to } = resumption {
            self.reply(cx, key, &Reply::Gap { room: shown, from, to });
        }
        // It follows the room by now, so it sees itself come, as the others do.
        self.emit(cx, room_key, Some(token), &Event::Joined { name, role });
        Ok(Flow::Taken)
    }

    fn leave(&mut self, cx: &mut Context<'_>, key: u32, room: Option<&str>) -> Outcome {
        let place = self.place(key, room)?;
        let Client { token, name, .. } = self.clients[key as usize];
        let room = &mut self.rooms[place.room as usize];
        if !room.is_ready(cx, Some(token)) {
            return Ok(Flow::Held);
        }
        let shown = room.name;
        self.unfollow(cx, key, place.room);
        self.take_out(cx, key, place.room, Some(token), &Event::Left { name });
        self.reply(cx, key, &Reply::Left { room: shown });
        Ok(Flow::Taken)
    }

    fn give_role(
        &mut self,
        cx: &mut Context<'_>,
        key: u32,
        name: &str,
        role: &str,
        room: Option<&str>,
    ) -> Outcome {
        let Some(role) = Role::of(role) else {
            return refuse("usage", "a role is viewer, speaker or operator");
        };
        let (_, place) = self.subject(key, name, room)?;
        let Client { token, name: by, .. } = self.clients[key as usize];
        let room = &mut self.rooms[place.room as usize];
        if !room.is_ready(cx, Some(token)) {
            return Ok(Flow::Held);
        }
        let member = room.members[place.position as usize];
        if member.is_fixed {
            return refuse("role_fixed", "that role comes from a token");
        }
        room.set_role(place.position, role);
        if !room.has_operator() {
            room.set_role(place.position, member.role);
            return refuse(
                "last_operator",
                "a room needs an operator; make somebody else one first",
            );
        }
        let name = self.clients[member.client as usize].name;
        self.emit(cx, place.room, Some(token), &Event::Role { name, role, by: Some(by) });
        Ok(Flow::Taken)
    }

    fn kick(&mut self, cx: &mut Context<'_>, key: u32, name: &str, room: Option<&str>) -> Outcome {
        let (subject, place) = self.subject(key, name, room)?;
        let Client { token, name: by, .. } = self.clients[key as usize];
        let room = &mut self.rooms[place.room as usize];
        if !room.is_ready(cx, Some(token)) {
            return Ok(Flow::Held);
        }
        let shown = room.name;
        let name = self.clients[subject as usize].name;
        self.unfollow(cx, subject, place.room);
        self.take_out(cx, subject, place.room, Some(token), &Event::Kicked { name, by });
        self.reply(cx, subject, &Reply::PutOut { room: shown, by });
        // A client that only listened may have nothing to listen to any more.
        cx.set_timer(self.clients[subject as usize].token, Duration::ZERO);
        Ok(Flow::Taken)
    }

    fn who(&mut self, cx: &mut Context<'_>, key: u32, room: Option<&str>) -> Result<(), Refusal> {
        check_load(cx)?;
        let place = self.place(key, room)?;
        let room = &self.rooms[place.room as usize];
        let (room, count) = (room.name, room.members.len());
        let members = self.members(place.room);
        self.reply(cx, key, &Reply::Who { room, members: &members, count });
        Ok(())
    }

    fn list_rooms(&mut self, cx: &mut Context<'_>, key: u32) -> Result<(), Refusal> {
        check_load(cx)?;
        cx.charge(self.rooms.len() * ROOM_WORK);
        let open = self.rooms.iter().filter(|(_, room)| !room.members.is_empty());
        let open = open.filter(|(_, room)| self.may_enter(key, &room.name));
        let mut rooms: Vec<_> = open.map(|(_, room)| (room.name, room.members.len())).collect();
        rooms.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| str::cmp(&a.0, &b.0)));
        let count = rooms.len();
        rooms.truncate(LIST_MAX);
        self.reply(cx, key, &Reply::Rooms { rooms: &rooms, count });
        Ok(())
    }

    // ---- rooms ----

    /// The room of that name; a new one if there is none.
    fn open_room(&mut self, cx: &mut Context<'_>, name: Name) -> Result<u32, Refusal> {
        if let Some(room) = self.room_of(&name) {
            return Ok(room);
        }
        if self.rooms.len() >= self.options.rooms_max {
            cx.charge(self.rooms.len() * ROOM_WORK);
            let empty = self.rooms.iter().filter_map(|(key, room)| Some((room.empty_since?, key)));
            match empty.min() {
                Some((_, longest)) => self.close_room(cx, longest as u32),
                None if self.is_lobby(&name) => {}
                None => {
                    let text = "there are as many rooms as there can be";
                    return Err(refusal("too_many_rooms", text));
                }
            }
        }
        self.rooms_opened += 1;
        let id = format!("{:x}-{:x}", self.started_ms, self.rooms_opened);
        let room = self.rooms.insert(Room::new(cx, name, id, &self.options)) as u32;
        self.room_names.extend(self.mirror.look(&name).map(|likeness| (likeness, room)));
        Ok(room)
    }

    /// The address that will hold a room open when this client enters it; none where somebody is there,
    /// or rooms do not count.
    fn holder(&self, cx: &Context<'_>, key: u32, name: &Name) -> Result<Option<IpAddr>, Refusal> {
        let most = self.options.rooms_per_address;
        let is_open =
            self.room_of(name).is_some_and(|room| !self.rooms[room as usize].members.is_empty());
        if most == 0 || is_open || self.is_lobby(name) {
            return Ok(None);
        }
        let address = address_of(cx, self.clients[key as usize].token);
        if address.is_some_and(|address| !self.addresses.may_hold_room(address, most)) {
            let text = format!("your address holds {most} rooms open, which is all that one may");
            return Err(refusal("too_many_rooms", text));
        }
        Ok(address)
    }

    /// The room to which the page leads everybody: there is always a place for it.
    fn is_lobby(&self, name: &Name) -> bool {
        let lobby = Name::new("lobby").map(|lobby| self.mirror.look(&lobby));
        lobby.is_some_and(|lobby| self.mirror.look(name).iter().any(|looks| lobby.contains(looks)))
    }

    fn close_room(&mut self, cx: &mut Context<'_>, key: u32) {
        if let Some(room) = self.rooms.try_remove(key as usize) {
            free(&mut self.room_names, self.mirror.look(&room.name), key);
            room.remove(cx);
        }
    }

    /// Tells somebody what a room is like before its next event.
    fn show_room(&mut self, cx: &mut Context<'_>, key: u32, room_key: u32, role: Role) {
        let members = self.members(room_key);
        let Room { name, ref id, number, members: ref all, .. } = self.rooms[room_key as usize];
        let (id, count) = (id.clone(), all.len());
        let reply = Reply::Room { room: name, id: &id, role, number, members: &members, count };
        self.reply(cx, key, &reply);
    }

    /// From here on nothing of a room is sent to a member.
    fn unfollow(&self, cx: &mut Context<'_>, key: u32, room: u32) {
        let Client { token, wire, .. } = self.clients[key as usize];
        self.rooms[room as usize].unfollow(cx, token, wire);
    }

    /// Takes a member out of a room and tells the others; if it was the last operator there is a new
    /// one.
    fn take_out(
        &mut self,
        cx: &mut Context<'_>,
        key: u32,
        room_key: u32,
        by: Option<Token>,
        event: &Event<'_>,
    ) {
        let client = &mut self.clients[key as usize];
        let Some(place) = client.places.remove(room_key) else { return };
        let room = &mut self.rooms[room_key as usize];
        if let Some(moved) = room.take_out(place.position) {
            let places = self.clients[moved as usize].places.iter_mut();
            for moved in places.filter(|moved| moved.room == room_key) {
                moved.position = place.position;
            }
        }
        if self.is_draining {
            // Everybody goes; to tell each of every other would be a storm.
            return;
        }
        self.emit(cx, room_key, by, event);
        let room = &mut self.rooms[room_key as usize];
        let clients = &self.clients;
        if let Some(heir) = room.heir(cx, |key| position_in(clients, key, room_key)) {
            room.set_role(heir, Role::Operator);
            let name = self.clients[room.members[heir as usize].client as usize].name;
            let event = Event::Role { name, role: Role::Operator, by: None };
            self.emit(cx, room_key, by, &event);
        } else if room.members.is_empty() {
            room.empty_since = Some(cx.now());
            if let Some(address) = room.held_by.take() {
                self.addresses.release_room(address);
            }
            let at = cx.now() + self.options.room_linger;
            self.look_after_rooms_at(cx, at);
        }
    }

    /// Publishes what a client says, unless earlier events wait for space.
    fn publish(&mut self, cx: &mut Context<'_>, key: u32, room: u32, event: &Event<'_>) -> Flow {
        let token = self.clients[key as usize].token;
        if !self.rooms[room as usize].is_ready(cx, Some(token)) {
            return Flow::Held;
        }
        self.emit(cx, room, Some(token), event);
        Flow::Taken
    }

    fn emit(&mut self, cx: &mut Context<'_>, room: u32, by: Option<Token>, event: &Event<'_>) {
        let time_ms = self.wall_clock.at(cx.now());
        if !self.rooms[room as usize].emit(cx, by, time_ms, event) {
            let at = cx.now() + RETRY;
            self.look_after_rooms_at(cx, at);
        }
    }

    // ---- looking things up ----

    /// A client's place in a room that it names, or in the one that it joined last.
    fn place(&self, key: u32, room: Option<&str>) -> Result<Place, Refusal> {
        let Some(name) = room else {
            let last = self.clients[key as usize].places.last().copied();
            return last.ok_or_else(|| refusal("no_room", "you are in no room; /join ROOM"));
        };
        // Most write it as they were told it, which saves the work of finding what looks like it.
        let mut places = self.clients[key as usize].places.iter();
        let told = places.find(|place| *self.rooms[place.room as usize].name == *name).copied();
        let place = told.or_else(|| {
            let room = Name::new(name).and_then(|name| self.room_of(&name));
            self.place_in(key, room?)
        });
        place.ok_or_else(|| refusal("not_there", format!("you are not in {}", clean(name))))
    }

    fn room_of(&self, name: &str) -> Option<u32> {
        find(&self.room_names, self.mirror.look(name))
    }

    fn place_in(&self, key: u32, room: u32) -> Option<Place> {
        let mut places = self.clients.get(key as usize)?.places.iter();
        places.find(|place| place.room == room).copied()
    }

    /// Whether a client's token lets it into a room: into the one that is open by a name like that, or
    /// else a new one.
    fn may_enter(&self, key: u32, name: &Name) -> bool {
        let Some(badge) = self.badges.get(key).filter(|badge| badge.is_bound()) else {
            return true;
        };
        let open = self.room_of(name).map(|room| self.rooms[room as usize].name);
        badge.opens(self.mirror.look(&open.unwrap_or(*name)))
    }

    fn role(&self, place: Place) -> Role {
        self.rooms[place.room as usize].members[place.position as usize].role
    }

    /// Somebody on whom an operator acts: the client, and its place in the room.
    fn subject(&self, key: u32, name: &str, room: Option<&str>) -> Result<(u32, Place), Refusal> {
        let place = self.place(key, room)?;
        if self.role(place) != Role::Operator {
            return Err(refusal("not_operator", "only operators may do that"));
        }
        let looks = Name::new(name).map(|name| self.mirror.look(&name));
        let subject = looks.and_then(|looks| find(&self.names, looks));
        let found = subject.and_then(|key| Some((key, self.place_in(key, place.room)?)));
        found.ok_or_else(|| refusal("nobody", format!("there is no {} in the room", clean(name))))
    }

    /// The first members of a room with their roles.
    fn members(&self, room: u32) -> Vec<(Name, Role)> {
        let members = self.rooms[room as usize].members.iter().take(LIST_MAX);
        members.map(|member| (self.clients[member.client as usize].name, member.role)).collect()
    }

    pub(super) fn reply(&self, cx: &mut Context<'_>, key: u32, reply: &Reply<'_>) {
        if let Some(client) = self.clients.get(key as usize) {
            let bytes = match client.wire {
                Wire::Lines => reply.line(),
                Wire::WebSocket => reply.frame(),
            };
            cx.charge(2 * bytes.len());
            cx.send(client.token, &bytes);
        }
    }
}

/// Whom a request stands for.
#[derive(Default)]
pub(super) struct Identified {
    /// None, where tokens are not asked for.
    pub(super) badge: Option<Badge>,
    /// What a browser is to bring next time in place of a token in its address.
    pub(super) cookie: Option<String>,
}

/// What a browser is to bring from now on, and only as safely as the token has come.
fn cookie(token: &str, expires_ms: Option<u64>, now_ms: u64, is_encrypted: bool) -> String {
    let life = expires_ms.map(|at| at.saturating_sub(now_ms) / 1000);
    let life = life.map(|seconds| format!("; Max-Age={seconds}")).unwrap_or_default();
    let secure = if is_encrypted { "; Secure" } else { "" };
    format!("{COOKIE}={token}; Path=/; HttpOnly; SameSite=Lax{secure}{life}")
}

/// In an overload nobody joins a room and no list is sent: either costs as much as many messages of members
/// that are in a room already.
fn check_load(cx: &mut Context<'_>) -> Result<(), Refusal> {
    if cx.overload().is_none() {
        return Ok(());
    }
    cx.shed();
    let seconds = cx.config().overload_retry().as_secs();
    let text = format!("the server has too much to do; try again in {seconds} seconds");
    Err(refusal("overloaded", text))
}

/// Where a client stands among the members of a room.
fn position_in(clients: &Slab<Client>, key: u32, room: u32) -> Option<u32> {
    let mut places = clients.get(key as usize)?.places.iter();
    places.find(|place| place.room == room).map(|place| place.position)
}

fn valid_name(text: &str) -> Result<Name, Refusal> {
    Name::new(text).ok_or_else(|| {
        let (most, bytes) = (Name::CHARACTERS_MAX, Name::BYTES_MAX);
        let text = format!(
            "a name has letters, digits, _ - . and at most {most} characters, {bytes} bytes"
        );
        refusal("bad_name", text)
    })
}

/// The client whose name looks so.
fn find(names: &HashMap<Likeness, u32>, looks: [Likeness; 2]) -> Option<u32> {
    looks.iter().find_map(|likeness| names.get(likeness).copied())
}

/// Frees a name for others, unless they have it already.
fn free(names: &mut HashMap<Likeness, u32>, looks: [Likeness; 2], owner: u32) {
    for likeness in looks {
        if names.get(&likeness) == Some(&owner) {
            names.remove(&likeness);
        }
    }
}

fn refusal(code: &'static str, text: impl Into<String>) -> Refusal {
    Refusal { code, text: text.into() }
}

fn refuse(code: &'static str, text: impl Into<String>) -> Outcome {
    Err(refusal(code, text))
}

/// What a client costs beside its name in the map and its connection.
#[cfg(all(test, target_pointer_width = "64"))]
const _: () = assert!(size_of::<Client>() <= 64);

/// Members or rooms that one answer lists; it also says how many there are.
const LIST_MAX: usize = 256;

/// A line is cleaned and understood; each character of it costs more than that.
const LINE_WORK: usize = 1_000;

/// Names are brought to the form in which they are compared.
const NAME_WORK: usize = 10_000;

/// A token is looked for, and its signature checked.
const TOKEN_WORK: usize = 20_000;

/// Clients that are dismissed in one turn because their time is over.
const DISMISSED_MAX: usize = 64;

/// The code of the close frame of a client whose name came in elsewhere: one of those that are free to use.
const REPLACED: u16 = 4001;

/// A room is looked at, among others.
const ROOM_WORK: usize = 50;

/// When a room without space is tried again, if no publisher does so earlier.
const RETRY: Duration = Duration::from_millis(20);

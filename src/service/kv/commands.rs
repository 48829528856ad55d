//! Every command: its name, what it takes, and which function does it. `COMMAND` answers from the
//! same table.

use super::call::{Call, Run};
use super::command::{Command, Commands, Flags};
use super::fault::{Fault, Outcome};
use super::{
    acl, auth, bits, connection, info, keys, lcs, pubsub, server, settings, strings, transactions,
};

const _: () = assert!(COMMANDS.len() < Commands::<Run>::MOST);

const fn command(
    name: &'static str,
    arity: i8,
    flags: Flags,
    keys: (i8, i8, i8),
    run: Run,
    group: &'static str,
    summary: &'static str,
) -> Command<Run> {
    Command { name, arity, flags, keys, group, summary, run, subcommands: &[] }
}

const fn subcommand(
    name: &'static str,
    arity: i8,
    flags: Flags,
    run: Run,
    group: &'static str,
    summary: &'static str,
) -> Command<Run> {
    command(name, arity, flags.and(IDLE), NO_KEY, run, group, summary)
}

/// A command that is nothing without a subcommand.
const fn container(
    name: &'static str,
    group: &'static str,
    summary: &'static str,
    subcommands: &'static [Command<Run>],
) -> Command<Run> {
    Command {
        subcommands,
        ..command(name, -2, NO_FLAGS, NO_KEY, without_subcommand, group, summary)
    }
}

/// Never runs: the number of arguments rules it out.
fn without_subcommand(_: &mut Call<'_, '_, '_>) -> Outcome {
    Err(Fault::SYNTAX)
}

const NO_FLAGS: Flags = Flags::NONE;
const READ: Flags = Flags::READONLY;
const READ_FAST: Flags = READ.and(Flags::FAST);
const WRITE: Flags = Flags::WRITE;
const WRITE_FAST: Flags = WRITE.and(Flags::FAST);
/// Takes memory.
const GROW: Flags = WRITE.and(Flags::DENYOOM);
const GROW_FAST: Flags = GROW.and(Flags::FAST);
/// Does not look at data.
const IDLE: Flags = Flags::LOADING.and(Flags::STALE);
const IDLE_FAST: Flags = IDLE.and(Flags::FAST);
/// For whoever has given no password yet, too.
const OPEN: Flags = IDLE_FAST.and(Flags::NO_AUTH);
/// Belongs to the course of a transaction.
const TRANSACT: Flags = IDLE.and(Flags::AT_ONCE);
const TRANSACT_FAST: Flags = TRANSACT.and(Flags::FAST);
const ADMIN: Flags = Flags::ADMIN;
const PUBSUB: Flags = Flags::PUBSUB.and(IDLE);
/// Belongs to the life of a subscription.
const LISTEN: Flags = PUBSUB.and(Flags::SUBSCRIBED);
const LEAVE: Flags = LISTEN.and(Flags::LEAVES);

const NO_KEY: (i8, i8, i8) = (0, 0, 0);
const ONE_KEY: (i8, i8, i8) = (1, 1, 1);
const ALL_KEYS: (i8, i8, i8) = (1, -1, 1);
const KEYS_AND_VALUES: (i8, i8, i8) = (1, -1, 2);
const TWO_KEYS: (i8, i8, i8) = (1, 2, 1);
/// Behind the name of a subcommand, or of an operation.
const SECOND_KEY: (i8, i8, i8) = (2, 2, 1);
const KEYS_FROM_SECOND: (i8, i8, i8) = (2, -1, 1);

#[rustfmt::skip]
pub(super) const COMMANDS: &[Command<Run>] = &[
    command("append", 3, GROW_FAST, ONE_KEY, strings::append, "string", "Appends to a value, or sets it"),
    command("bitcount", -2, READ, ONE_KEY, bits::bitcount, "bitmap", "How many bits of a value are set, or of a part: BYTE BIT"),
    command("bitop", -4, GROW, KEYS_FROM_SECOND, bits::bitop, "bitmap", "Joins values bit by bit: AND OR XOR NOT"),
    command("bitpos", -3, READ, ONE_KEY, bits::bitpos, "bitmap", "The first bit that is 0, or 1, in a value or a part: BYTE BIT"),
    command("decr", 2, GROW_FAST, ONE_KEY, strings::decr, "string", "Takes 1 from a number"),
    command("decrby", 3, GROW_FAST, ONE_KEY, strings::decrby, "string", "Takes a number from a number"),
    command("get", 2, READ_FAST, ONE_KEY, strings::get, "string", "The value of a key"),
    command("getbit", 3, READ_FAST, ONE_KEY, bits::getbit, "bitmap", "One bit of a value"),
    command("getdel", 2, WRITE_FAST, ONE_KEY, strings::getdel, "string", "The value of a key, which is deleted"),
    command("getex", -2, WRITE_FAST, ONE_KEY, strings::getex, "string", "The value of a key, and when that is to end: EX PX EXAT PXAT PERSIST"),
    command("getrange", 4, READ, ONE_KEY, strings::getrange, "string", "A part of a value"),
    command("getset", 3, GROW_FAST, ONE_KEY, strings::getset, "string", "Sets a key; returns the value before"),
    command("incr", 2, GROW_FAST, ONE_KEY, strings::incr, "string", "Adds 1 to a number"),
    command("incrby", 3, GROW_FAST, ONE_KEY, strings::incrby, "string", "Adds a number to a number"),
    command("incrbyfloat", 3, GROW_FAST, ONE_KEY, strings::incrbyfloat, "string", "Adds a number with a fraction to a number"),
    command("lcs", -3, READ, TWO_KEYS, lcs::lcs, "string", "The longest common subsequence of two values: LEN IDX MINMATCHLEN WITHMATCHLEN"),
    command("mget", -2, READ_FAST, ALL_KEYS, strings::mget, "string", "The values of several keys"),
    command("mset", -3, GROW, KEYS_AND_VALUES, strings::mset, "string", "Sets several keys"),
    command("msetnx", -3, GROW, KEYS_AND_VALUES, strings::msetnx, "string", "Sets several keys if none of them exists"),
    command("psetex", 4, GROW, ONE_KEY, strings::psetex, "string", "Sets a key that expires after so many milliseconds"),
    command("set", -3, GROW, ONE_KEY, strings::set, "string", "Sets a key: EX PX EXAT PXAT KEEPTTL NX XX GET"),
    command("setbit", 4, GROW, ONE_KEY, bits::setbit, "bitmap", "Sets one bit of a value; returns what it was"),
    command("setex", 4, GROW, ONE_KEY, strings::setex, "string", "Sets a key that expires after so many seconds"),
    command("setnx", 3, GROW_FAST, ONE_KEY, strings::setnx, "string", "Sets a key that does not exist"),
    command("setrange", 4, GROW, ONE_KEY, strings::setrange, "string", "Writes into a value from a place on"),
    command("strlen", 2, READ_FAST, ONE_KEY, strings::strlen, "string", "The length of a value"),
    command("substr", 4, READ, ONE_KEY, strings::getrange, "string", "A part of a value, as GETRANGE"),

    command("copy", -3, GROW, TWO_KEYS, keys::copy, "generic", "Copies a key: DB REPLACE"),
    command("del", -2, WRITE, ALL_KEYS, keys::del, "generic", "Deletes keys"),
    command("exists", -2, READ_FAST, ALL_KEYS, keys::exists, "generic", "How many of the keys exist"),
    command("expire", -3, WRITE_FAST, ONE_KEY, keys::expire, "generic", "Lets a key end after so many seconds: NX XX GT LT"),
    command("expireat", -3, WRITE_FAST, ONE_KEY, keys::expireat, "generic", "Lets a key end at a second since 1970: NX XX GT LT"),
    command("expiretime", 2, READ_FAST, ONE_KEY, keys::expiretime, "generic", "The second since 1970 at which a key ends"),
    command("keys", 2, READ, NO_KEY, keys::keys, "generic", "The keys that match a pattern; looks at all of them"),
    container("object", "generic", "About values", &[
        command("object|encoding", 3, READ, SECOND_KEY, keys::object_encoding, "generic", "How Redis would keep a value: int, embstr or raw"),
        command("object|freq", 3, READ, SECOND_KEY, keys::object_freq, "generic", "Refused: how often a key is used is not counted"),
        command("object|refcount", 3, READ, SECOND_KEY, keys::object_refcount, "generic", "How many keys share a value: 1"),
    ]),
    command("persist", 2, WRITE_FAST, ONE_KEY, keys::persist, "generic", "Lets a key stay"),
    command("pexpire", -3, WRITE_FAST, ONE_KEY, keys::pexpire, "generic", "Lets a key end after so many milliseconds: NX XX GT LT"),
    command("pexpireat", -3, WRITE_FAST, ONE_KEY, keys::pexpireat, "generic", "Lets a key end at a millisecond since 1970: NX XX GT LT"),
    command("pexpiretime", 2, READ_FAST, ONE_KEY, keys::pexpiretime, "generic", "The millisecond since 1970 at which a key ends"),
    command("pttl", 2, READ_FAST, ONE_KEY, keys::pttl, "generic", "The milliseconds that a key has left"),
    command("randomkey", 1, READ, NO_KEY, keys::randomkey, "generic", "Some key"),
    command("rename", 3, WRITE, TWO_KEYS, keys::rename, "generic", "Gives a key another name"),
    command("renamenx", 3, WRITE_FAST, TWO_KEYS, keys::renamenx, "generic", "Gives a key another name that no key has"),
    command("scan", -2, READ, NO_KEY, keys::scan, "generic", "Walks over the keys, some at a time: MATCH COUNT TYPE"),
    command("touch", -2, READ_FAST, ALL_KEYS, keys::exists, "generic", "How many of the keys exist"),
    command("ttl", 2, READ_FAST, ONE_KEY, keys::ttl, "generic", "The seconds that a key has left"),
    command("type", 2, READ_FAST, ONE_KEY, keys::type_of, "generic", "What a key holds: string or none"),
    command("unlink", -2, WRITE_FAST, ALL_KEYS, keys::del, "generic", "Deletes keys"),

    command("auth", -2, OPEN, NO_KEY, auth::auth, "connection", "Comes in as a user, with its password; without a name as default"),
    container("client", "connection", "About connections", &[
        subcommand("client|getname", 2, NO_FLAGS, connection::client_getname, "connection", "The name of this connection"),
        subcommand("client|id", 2, NO_FLAGS, connection::client_id, "connection", "The number of this connection"),
        subcommand("client|info", 2, NO_FLAGS, connection::client_info, "connection", "The line of CLIENT LIST for this connection"),
        subcommand("client|kill", -3, ADMIN, connection::client_kill, "connection", "Closes connections: ID ADDR TYPE USER SKIPME"),
        subcommand("client|list", -2, ADMIN, connection::client_list, "connection", "All connections: ID TYPE"),
        subcommand("client|no-evict", 3, ADMIN, connection::client_no_evict, "connection", "Accepted; nobody is evicted"),
        subcommand("client|no-touch", 3, NO_FLAGS, connection::client_no_evict, "connection", "Accepted; nothing is evicted by when it was used"),
        subcommand("client|reply", 3, Flags::NO_MULTI, connection::client_reply, "connection", "Which commands are answered: ON OFF SKIP"),
        subcommand("client|setinfo", 4, NO_FLAGS, connection::client_setinfo, "connection", "Accepted; what library a client uses"),
        subcommand("client|setname", 3, NO_FLAGS, connection::client_setname, "connection", "Names this connection"),
    ]),
    command("echo", 2, IDLE_FAST, NO_KEY, connection::echo, "connection", "Returns its argument"),
    command("hello", -1, OPEN.and(Flags::LEAVES), NO_KEY, connection::hello, "connection", "The version of the protocol: AUTH SETNAME"),
    command("ping", -1, Flags::FAST.and(Flags::SUBSCRIBED), NO_KEY, connection::ping, "connection", "Returns PONG, or its argument"),
    command("quit", -1, TRANSACT_FAST.and(Flags::SUBSCRIBED).and(Flags::NO_AUTH), NO_KEY, connection::quit, "connection", "Closes the connection"),
    command("reset", 1, TRANSACT_FAST.and(Flags::SUBSCRIBED).and(Flags::NO_AUTH), NO_KEY, connection::reset, "connection", "Ends subscriptions, and forgets name and user"),
    command("select", 2, IDLE_FAST, NO_KEY, connection::select, "connection", "Goes to one of the databases, 0 to 15"),

    container("acl", "server", "About users", &[
        subcommand("acl|cat", -2, NO_FLAGS, acl::cat, "server", "The categories of commands, or the commands of one"),
        subcommand("acl|users", 2, ADMIN, acl::users, "server", "The names of all users"),
        subcommand("acl|whoami", 2, NO_FLAGS, acl::whoami, "server", "As which user this connection came in"),
    ]),
    Command { arity: -1, flags: IDLE, run: server::command, ..container("command", "server", "About commands", &[
        subcommand("command|count", 2, NO_FLAGS, server::command_count, "server", "How many commands there are"),
        subcommand("command|docs", -2, NO_FLAGS, server::command_docs, "server", "What commands do"),
        subcommand("command|getkeys", -4, NO_FLAGS, server::command_getkeys, "server", "The keys in a command"),
        subcommand("command|info", -2, NO_FLAGS, server::command_info, "server", "What is known about commands"),
        subcommand("command|list", -2, NO_FLAGS, server::command_list, "server", "The names of all commands, or of some: FILTERBY MODULE ACLCAT PATTERN"),
    ]) },
    container("config", "server", "About the configuration", &[
        subcommand("config|get", -3, ADMIN, settings::get, "server", "Settings whose names match patterns"),
        subcommand("config|resetstat", 2, ADMIN, server::config_resetstat, "server", "Counts from 0 again"),
        subcommand("config|set", -4, ADMIN, settings::set, "server", "Changes limits while the server runs"),
    ]),
    command("debug", -2, ADMIN.and(IDLE), NO_KEY, server::debug, "server", "Refused"),
    command("dbsize", 1, READ_FAST, NO_KEY, server::dbsize, "server", "How many keys this database has"),
    command("flushall", -1, WRITE, NO_KEY, server::flushall, "server", "Deletes all keys of all databases: SYNC ASYNC"),
    command("flushdb", -1, WRITE, NO_KEY, server::flushdb, "server", "Deletes all keys of this database: SYNC ASYNC"),
    command("info", -1, IDLE, NO_KEY, info::info, "server", "Counters, by section"),
    container("memory", "server", "About memory", &[
        command("memory|usage", -3, READ, SECOND_KEY, keys::memory_usage, "server", "The bytes of memory that a key takes: SAMPLES"),
    ]),
    command("time", 1, IDLE_FAST, NO_KEY, server::time, "server", "Seconds since 1970, and microseconds"),

    command("discard", 1, TRANSACT_FAST, NO_KEY, transactions::discard, "transactions", "Drops what was queued, and watches nothing any more"),
    command("exec", 1, TRANSACT, NO_KEY, transactions::exec, "transactions", "Carries out what was queued, unless a watched key has changed"),
    command("multi", 1, TRANSACT_FAST, NO_KEY, transactions::multi, "transactions", "From here on commands are queued"),
    command("unwatch", 1, IDLE_FAST, NO_KEY, transactions::unwatch, "transactions", "Watches nothing any more"),
    command("watch", -2, TRANSACT_FAST, ALL_KEYS, transactions::watch, "transactions", "Lets the next EXEC do nothing if a key changes before it"),

    command("psubscribe", -2, LISTEN, NO_KEY, pubsub::psubscribe, "pubsub", "Listens to channels that match patterns"),
    command("publish", 3, PUBSUB.and(Flags::FAST).and(Flags::PUBLISHES), NO_KEY, pubsub::publish, "pubsub", "Sends a message to a channel"),
    container("pubsub", "pubsub", "About channels", &[
        subcommand("pubsub|channels", -2, Flags::PUBSUB, pubsub::channels, "pubsub", "Channels that somebody listens to"),
        subcommand("pubsub|numpat", 2, Flags::PUBSUB, pubsub::numpat, "pubsub", "How many patterns somebody listens to"),
        subcommand("pubsub|numsub", -2, Flags::PUBSUB, pubsub::numsub, "pubsub", "How many listen to each channel"),
        subcommand("pubsub|shardchannels", -2, Flags::PUBSUB, pubsub::shardchannels, "pubsub", "Channels of the shard that somebody listens to"),
        subcommand("pubsub|shardnumsub", -2, Flags::PUBSUB, pubsub::shardnumsub, "pubsub", "How many listen to each channel of the shard"),
    ]),
    command("punsubscribe", -1, LEAVE, NO_KEY, pubsub::punsubscribe, "pubsub", "Ends psubscribe, of all without an argument"),
    command("spublish", 3, PUBSUB.and(Flags::FAST).and(Flags::PUBLISHES), ONE_KEY, pubsub::spublish, "pubsub", "Sends a message to a channel of the shard"),
    command("ssubscribe", -2, LISTEN, ALL_KEYS, pubsub::ssubscribe, "pubsub", "Listens to channels of the shard"),
    command("subscribe", -2, LISTEN, NO_KEY, pubsub::subscribe, "pubsub", "Listens to channels"),
    command("sunsubscribe", -1, LEAVE, ALL_KEYS, pubsub::sunsubscribe, "pubsub", "Ends ssubscribe, of all without an argument"),
    command("unsubscribe", -1, LEAVE, NO_KEY, pubsub::unsubscribe, "pubsub", "Ends subscribe, of all without an argument"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_found_by_its_name_in_any_case_and_nothing_else_is() {
        let index = Commands::new(COMMANDS);
        for command in COMMANDS {
            let upper = command.name.to_ascii_uppercase();
            for name in [command.name, &upper] {
                assert_eq!(index.find(name.as_bytes()).unwrap().name, command.name);
            }
            for sub in command.subcommands {
                let (own, name) = sub.name.split_once('|').unwrap();
                assert_eq!(own, command.name);
                assert_eq!(command.subcommand(name.as_bytes()).unwrap().name, sub.name);
            }
        }
        for name in
            ["", "g", "gett", "lpush", "client|list", "a very long name that no command has"]
        {
            assert!(index.find(name.as_bytes()).is_none(), "{name}");
        }
    }

    #[test]
    fn most_commands_are_found_at_the_first_place() {
        let index = Commands::new(COMMANDS);
        let at_once = COMMANDS.iter().enumerate().filter(|(at, command)| {
            usize::from(index.places[Commands::<Run>::hash(command.name.as_bytes())]) == *at
        });
        assert!(at_once.count() + 4 >= COMMANDS.len());
    }
}

//! The facts about Linux that the reactor rests on, one scenario each, named after what it shows.
//!
//! Which outcome is right stands nowhere here: the real kernel says it.

use super::script::{ALL, DEAD, FIN_WAIT_2, Fd, INPUT, OUT, Script, port_of};

type Scenario = (&'static str, fn(&mut Script));

/// A table of functions under their own names.
macro_rules! scenarios {
    ($($name:ident),* $(,)?) => {
        pub(crate) const SCENARIOS: &[Scenario] = &[$((stringify!($name), $name)),*];
    };
}

scenarios![
    new_registration_of_a_connection_says_out_once,
    socket_that_is_not_connected_says_out_and_hup,
    data_before_the_registration_is_told,
    every_event_carries_all_that_is_true_now,
    unread_data_is_told_once,
    new_data_is_a_new_edge_without_a_drain,
    partial_read_is_followed_by_silence,
    new_data_after_a_partial_read_is_an_edge,
    several_sends_are_one_event,
    modifying_a_registration_repeats_what_is_true,
    complete_sends_are_followed_by_silence,
    room_after_a_refusal_is_an_edge,
    room_after_a_short_send_is_an_edge,
    full_socket_still_tells_of_input,
    data_and_end_in_one_event_are_told_once,
    data_and_end_behind_a_partial_read_are_told_once,
    end_after_the_event_is_an_edge,
    end_alone_is_told_once_and_read_again_and_again,
    end_without_interest_in_input_is_not_told,
    write_interest_alone_hears_of_a_reset,
    read_interest_alone_hears_of_a_reset,
    urgent_byte_stops_a_read_without_an_event,
    urgent_byte_stops_a_read_although_nobody_watches_for_it,
    urgent_byte_behind_unread_data_is_an_edge,
    second_urgent_byte_is_an_edge,
    read_into_nothing_says_nothing,
    peek_leaves_what_it_shows_and_each_new_byte_is_an_edge,
    end_behind_bytes_that_were_only_looked_at_is_an_edge,
    reset_behind_bytes_that_were_only_looked_at_is_an_edge,
    data_before_a_reset_is_read_first,
    reset_alone_is_told_once_and_read_once,
    reset_behind_unread_data_is_an_edge,
    reset_after_the_end_is_a_broken_pipe,
    error_is_taken_once,
    error_that_was_taken_leaves_the_end,
    send_after_a_reset_fails,
    send_to_a_closed_peer_succeeds_once,
    close_with_unread_input_resets_the_peer,
    late_byte_to_a_closed_peer_is_reset,
    close_sends_what_was_queued,
    reset_drops_what_was_queued,
    peer_sends_on_after_our_end,
    our_end_is_told_to_ourselves,
    data_and_end_after_our_end_hang_up_unread,
    end_after_our_end_hangs_up,
    our_end_after_the_peers_hangs_up,
    send_after_our_end_fails,
    shutdown_of_reading_is_an_end_that_still_delivers,
    half_closed_connection_still_sends,
    vectored_send_is_one_stream,
    listener_says_in_once_for_several_connections,
    connection_behind_others_is_an_edge,
    connections_before_the_registration_are_told,
    accepting_the_last_connection_makes_no_event,
    no_descriptors_swallow_the_listeners_edge,
    no_descriptors_hide_an_empty_queue,
    connection_reset_before_it_is_accepted,
    connection_ended_before_it_is_accepted,
    data_before_the_accept_is_told_at_the_registration,
    listener_closed_with_a_queue_resets_it,
    backlog_admits_one_more_than_it_says,
    connection_that_is_made_says_out,
    connection_that_is_refused_says_everything,
    refused_connection_has_one_error,
    waker_that_is_never_read_is_an_edge_each_time,
    several_wakes_are_one_event,
    waker_that_was_read_is_quiet,
    closed_descriptor_takes_its_event_with_it,
    number_is_used_again_at_once,
    lowest_number_is_used_first,
    registrations_that_make_no_sense_fail,
    events_that_do_not_fit_come_next,
    events_of_several_sockets_come_together,
    calls_on_a_socket_that_is_not_connected_fail,
    calls_on_a_closed_descriptor_fail,
];

// Registration.

fn new_registration_of_a_connection_says_out_once(s: &mut Script) {
    let (server, _client) = s.pair();
    s.watch(server, ALL);
    s.wait();
    s.wait_in_vain();
}

fn socket_that_is_not_connected_says_out_and_hup(s: &mut Script) {
    let socket = s.socket("socket");
    s.watch(socket, ALL);
    s.wait();
    s.wait_in_vain();
}

fn data_before_the_registration_is_told(s: &mut Script) {
    let (server, client) = s.pair();
    s.send(client, b"early");
    s.await_bytes(server, 5);
    s.watch(server, ALL);
    s.wait();
    s.wait_in_vain();
}

// Input, and when it is told.

fn every_event_carries_all_that_is_true_now(s: &mut Script) {
    let (server, client) = s.watched_pair();
    s.send(client, b"hello");
    s.await_bytes(server, 5);
    s.wait();
    s.recv(server, 100);
    s.recv(server, 100);
    s.wait_in_vain();
}

fn unread_data_is_told_once(s: &mut Script) {
    let (server, client) = s.watched_pair();
    s.send(client, b"hello");
    s.await_bytes(server, 5);
    s.wait();
    s.wait_in_vain();
    s.wait_in_vain();
}

fn new_data_is_a_new_edge_without_a_drain(s: &mut Script) {
    let (server, client) = s.watched_pair();
    for count in 1..=3 {
        s.send(client, b"hello");
        s.await_bytes(server, 5 * count);
        s.wait();
    }
    s.wait_in_vain();
}

fn partial_read_is_followed_by_silence(s: &mut Script) {
    let (server, client) = s.watched_pair();
    s.send(client, b"hello");
    s.await_bytes(server, 5);
    s.wait();
    s.recv(server, 2);
    s.wait_in_vain();
    s.recv(server, 2);
    s.wait_in_vain();
}

fn new_data_after_a_partial_read_is_an_edge(s: &mut Script) {
    let (server, client) = s.watched_pair();
    s.send(client, b"hello");
    s.await_bytes(server, 5);
    s.wait();
    s.recv(server, 2);
    s.send(client, b"again");
    s.await_bytes(server, 8);
    s.wait();
    s.recv(server, 100);
    s.recv(server, 100);
}

fn several_sends_are_one_event(s: &mut Script) {
    let (server, client) = s.watched_pair();
    for count in 1..=3 {
        s.send(client, b"hello");
        s.await_bytes(server, 5 * count);
    }
    s.wait();
    s.wait_in_vain();
    s.recv(server, 100);
}

fn modifying_a_registration_repeats_what_is_true(s: &mut Script) {
    let (server, client) = s.watched_pair();
    s.send(client, b"hello");
    s.await_bytes(server, 5);
    s.wait();
    s.recv(server, 2);
    s.watch_again(server, ALL);
    s.wait();
    s.wait_in_vain();
    s.watch_again(server, OUT);
    s.wait();
    s.recv(server, 100);
    s.watch_again(server, INPUT);
    s.wait_in_vain();
}

// Output, and when room is told.

fn complete_sends_are_followed_by_silence(s: &mut Script) {
    let (server, client) = s.watched_pair();
    for _ in 0..3 {
        s.send(server, b"hello");
    }
    s.await_bytes(client, 15);
    s.wait_in_vain();
    s.recv(client, 100);
    s.wait_in_vain();
}

fn room_after_a_refusal_is_an_edge(s: &mut Script) {
    let (server, client) = s.watched_pair();
    s.fill(server);
    s.wait_in_vain();
    s.drain_until_writable(client, server);
    s.wait();
    s.wait_in_vain();
    s.send(server, b"hello");
}

fn room_after_a_short_send_is_an_edge(s: &mut Script) {
    let (server, client) = s.watched_pair();
    s.overfill(server);
    s.wait_in_vain();
    s.drain_until_writable(client, server);
    s.wait();
    s.wait_in_vain();
}

fn full_socket_still_tells_of_input(s: &mut Script) {
    let (server, client) = s.watched_pair();
    s.fill(server);
    s.send(client, b"hello");
    s.await_bytes(server, 5);
    s.wait();
    s.recv(server, 100);
    s.wait_in_vain();
}

// The end of the stream.

fn data_and_end_in_one_event_are_told_once(s: &mut Script) {
    let (server, client) = s.watched_pair();
    s.send(client, b"hello");
    s.shutdown_write(client);
    s.await_state(server, libc::POLLRDHUP);
    s.wait();
    s.recv(server, 100);
    s.wait_in_vain();
    s.recv(server, 100);
    s.wait_in_vain();
}

fn data_and_end_behind_a_partial_read_are_told_once(s: &mut Script) {
    let (server, client) = s.watched_pair();
    s.send(client, b"hello");
    s.close(client);
    s.await_state(server, libc::POLLRDHUP);
    s.wait();
    s.recv(server, 2);
    s.wait_in_vain();
    s.recv(server, 2);
    s.recv(server, 2);
    s.recv(server, 2);
    s.wait_in_vain();
}

fn end_after_the_event_is_an_edge(s: &mut Script) {
    let (server, client) = s.watched_pair();
    s.send(client, b"hello");
    s.await_bytes(server, 5);
    s.wait();
    s.recv(server, 100);
    s.shutdown_write(client);
    s.await_state(server, libc::POLLRDHUP);
    s.wait();
    s.recv(server, 100);
    s.wait_in_vain();
}

fn end_alone_is_told_once_and_read_again_and_again(s: &mut Script) {
    let (server, client) = s.watched_pair();
    s.close(client);
    s.await_state(server, libc::POLLRDHUP);
    s.wait();
    s.wait_in_vain();
    s.recv(server, 100);
    s.recv(server, 100);
    s.wait_in_vain();
}

fn end_without_interest_in_input_is_not_told(s: &mut Script) {
    let (server, client) = s.pair();
    s.watch(server, OUT);
    s.wait();
    s.close(client);
    s.await_state(server, libc::POLLRDHUP);
    s.wait();
    s.wait_in_vain();
}

fn write_interest_alone_hears_of_a_reset(s: &mut Script) {
    let (server, client) = s.pair();
    s.watch(server, OUT);
    s.wait();
    s.reset(client);
    s.await_state(server, libc::POLLERR);
    s.wait();
    s.wait_in_vain();
}

fn read_interest_alone_hears_of_a_reset(s: &mut Script) {
    let (server, client) = s.pair();
    s.watch(server, INPUT);
    s.wait_in_vain();
    s.reset(client);
    s.await_state(server, libc::POLLERR);
    s.wait();
    s.wait_in_vain();
}

// Urgent bytes.

fn urgent_byte_stops_a_read_without_an_event(s: &mut Script) {
    let (server, client) = s.watched_pair();
    s.send(client, b"before");
    s.send_urgent(client, b"!");
    s.send(client, b"behind");
    s.await_bytes(server, 6);
    s.await_state(server, libc::POLLPRI);
    s.await_acknowledged(client);
    s.wait();
    s.recv(server, 100);
    s.wait_in_vain();
    s.recv(server, 100);
    s.recv(server, 100);
    s.wait_in_vain();
}

fn urgent_byte_stops_a_read_although_nobody_watches_for_it(s: &mut Script) {
    let (server, client) = s.pair();
    s.watch(server, INPUT | OUT);
    s.wait();
    s.send(client, b"before");
    s.send_urgent(client, b"!");
    s.send(client, b"behind");
    s.await_state(server, libc::POLLPRI);
    s.await_acknowledged(client);
    s.wait();
    s.recv(server, 100);
    s.wait_in_vain();
    s.recv(server, 100);
    s.recv(server, 100);
}

fn urgent_byte_behind_unread_data_is_an_edge(s: &mut Script) {
    let (server, client) = s.watched_pair();
    s.send(client, b"before");
    s.await_bytes(server, 6);
    s.wait();
    s.send_urgent(client, b"!");
    s.await_state(server, libc::POLLPRI);
    s.wait();
    s.recv(server, 100);
    s.recv(server, 100);
}

fn second_urgent_byte_is_an_edge(s: &mut Script) {
    let (server, client) = s.watched_pair();
    s.send_urgent(client, b"!");
    s.await_state(server, libc::POLLPRI);
    s.wait();
    s.recv(server, 100);
    s.send(client, b"between");
    s.await_bytes(server, 7);
    s.wait();
    s.send_urgent(client, b"?");
    s.await_state(server, libc::POLLPRI);
    s.wait();
    s.recv(server, 100);
    s.recv(server, 100);
}

// Errors and hang-ups.

fn read_into_nothing_says_nothing(s: &mut Script) {
    let (server, client) = s.watched_pair();
    s.send(client, b"hello");
    s.await_bytes(server, 5);
    s.recv(server, 0);
    s.recv(server, 100);
}

fn peek_leaves_what_it_shows_and_each_new_byte_is_an_edge(s: &mut Script) {
    let (server, client) = s.watched_pair();
    s.peek(server, 10);
    for count in 1..4 {
        s.send(client, b"x");
        s.await_bytes(server, count);
        s.wait();
        s.peek(server, 2);
        s.peek(server, 10);
        s.wait_in_vain();
    }
    s.recv(server, 2);
    s.peek(server, 10);
    s.recv(server, 10);
}

fn end_behind_bytes_that_were_only_looked_at_is_an_edge(s: &mut Script) {
    let (server, client) = s.watched_pair();
    s.send(client, b"half");
    s.await_bytes(server, 4);
    s.wait();
    s.peek(server, 10);
    s.shutdown_write(client);
    s.await_state(server, libc::POLLRDHUP);
    s.wait();
    s.peek(server, 10);
    s.wait_in_vain();
    s.recv(server, 10);
    s.peek(server, 10);
}

fn reset_behind_bytes_that_were_only_looked_at_is_an_edge(s: &mut Script) {
    let (server, client) = s.watched_pair();
    s.send(client, b"half");
    s.await_bytes(server, 4);
    s.wait();
    s.peek(server, 10);
    s.reset(client);
    s.await_state(server, libc::POLLERR);
    s.wait();
    s.peek(server, 10);
    s.wait_in_vain();
    s.recv(server, 10);
    s.peek(server, 10);
    s.peek(server, 10);
}

fn data_before_a_reset_is_read_first(s: &mut Script) {
    let (server, client) = s.watched_pair();
    s.send(client, b"hello");
    s.await_bytes(server, 5);
    s.reset(client);
    s.await_state(server, libc::POLLERR);
    s.wait();
    s.recv(server, 2);
    s.recv(server, 100);
    s.recv(server, 100);
    s.recv(server, 100);
    s.wait_in_vain();
}

fn reset_alone_is_told_once_and_read_once(s: &mut Script) {
    let (server, client) = s.watched_pair();
    s.reset(client);
    s.await_state(server, libc::POLLERR);
    s.wait();
    s.wait_in_vain();
    s.recv(server, 100);
    s.recv(server, 100);
    s.wait_in_vain();
}

fn reset_behind_unread_data_is_an_edge(s: &mut Script) {
    let (server, client) = s.watched_pair();
    s.send(client, b"hello");
    s.await_bytes(server, 5);
    s.wait();
    s.recv(server, 2);
    s.reset(client);
    s.await_state(server, libc::POLLERR);
    s.wait();
    s.recv(server, 100);
    s.recv(server, 100);
}

fn reset_after_the_end_is_a_broken_pipe(s: &mut Script) {
    let (server, client) = s.watched_pair();
    s.close(client);
    s.await_state(server, libc::POLLRDHUP);
    s.wait();
    s.send(server, b"hello");
    s.await_state(server, libc::POLLERR);
    s.wait();
    s.recv(server, 100);
    s.take_error(server);
    s.recv(server, 100);
    s.send(server, b"hello");
}

fn error_is_taken_once(s: &mut Script) {
    let (server, client) = s.watched_pair();
    s.reset(client);
    s.await_state(server, libc::POLLERR);
    s.take_error(server);
    s.take_error(server);
    s.wait();
}

fn error_that_was_taken_leaves_the_end(s: &mut Script) {
    let (server, client) = s.watched_pair();
    s.send(client, b"hello");
    s.await_bytes(server, 5);
    s.reset(client);
    s.await_state(server, libc::POLLERR);
    s.take_error(server);
    s.recv(server, 100);
    s.recv(server, 100);
    s.send(server, b"hello");
    s.peer(server);
}

fn send_after_a_reset_fails(s: &mut Script) {
    let (server, client) = s.watched_pair();
    s.reset(client);
    s.await_state(server, libc::POLLERR);
    s.wait();
    s.send(server, b"hello");
    s.send(server, b"hello");
    s.recv(server, 100);
    s.shutdown_write(server);
    s.peer(server);
}

fn send_to_a_closed_peer_succeeds_once(s: &mut Script) {
    let (server, client) = s.watched_pair();
    s.close(client);
    s.await_state(server, libc::POLLRDHUP);
    s.wait();
    s.recv(server, 100);
    s.send(server, b"hello");
    s.await_state(server, libc::POLLERR);
    s.send(server, b"hello");
    s.wait();
    s.wait_in_vain();
}

fn close_with_unread_input_resets_the_peer(s: &mut Script) {
    let (server, client) = s.pair();
    s.watch(client, ALL);
    s.wait();
    s.send(client, b"hello");
    s.await_bytes(server, 5);
    s.close(server);
    s.await_state(client, libc::POLLERR);
    s.wait();
    s.recv(client, 100);
    s.recv(client, 100);
}

fn late_byte_to_a_closed_peer_is_reset(s: &mut Script) {
    let (server, client) = s.pair();
    s.send(server, b"last words");
    s.close(server);
    s.await_state(client, libc::POLLRDHUP);
    s.watch(client, ALL);
    s.wait();
    s.send(client, b"late");
    s.await_state(client, libc::POLLERR);
    s.wait();
    s.recv(client, 100);
    s.recv(client, 100);
}

fn close_sends_what_was_queued(s: &mut Script) {
    let (server, client) = s.pair();
    s.send(server, b"last words");
    s.close(server);
    s.await_state(client, libc::POLLRDHUP);
    s.recv(client, 100);
    s.recv(client, 100);
}

fn reset_drops_what_was_queued(s: &mut Script) {
    let (server, client) = s.pair();
    s.fill(server);
    s.reset(server);
    s.await_state(client, libc::POLLERR);
    s.drain(client);
    s.recv(client, 100);
}

// Half-closed connections.

fn peer_sends_on_after_our_end(s: &mut Script) {
    let (server, client) = s.watched_pair();
    s.shutdown_write(server);
    s.await_tcp(server, FIN_WAIT_2);
    s.wait();
    s.recv(client, 100);
    s.send(client, b"still here");
    s.await_bytes(server, 10);
    s.wait();
    s.recv(server, 100);
    s.recv(server, 100);
    s.wait_in_vain();
}

fn our_end_is_told_to_ourselves(s: &mut Script) {
    let (server, _client) = s.watched_pair();
    s.shutdown_write(server);
    s.await_tcp(server, FIN_WAIT_2);
    s.wait();
    s.wait_in_vain();
}

fn data_and_end_after_our_end_hang_up_unread(s: &mut Script) {
    let (server, client) = s.watched_pair();
    s.shutdown_write(server);
    s.await_tcp(server, FIN_WAIT_2);
    s.wait();
    s.send(client, b"hello");
    s.shutdown_write(client);
    s.await_state(server, libc::POLLHUP);
    s.wait();
    s.recv(server, 100);
    s.recv(server, 100);
    s.wait_in_vain();
}

fn end_after_our_end_hangs_up(s: &mut Script) {
    let (server, client) = s.watched_pair();
    s.shutdown_write(server);
    s.await_tcp(server, FIN_WAIT_2);
    s.wait();
    s.close(client);
    s.await_state(server, libc::POLLHUP);
    s.wait();
    s.recv(server, 100);
    s.send(server, b"hello");
    s.wait_in_vain();
}

fn our_end_after_the_peers_hangs_up(s: &mut Script) {
    let (server, client) = s.watched_pair();
    s.shutdown_write(client);
    s.await_state(server, libc::POLLRDHUP);
    s.wait();
    s.recv(server, 100);
    s.shutdown_write(server);
    s.await_tcp(server, DEAD);
    s.wait();
    s.wait_in_vain();
    s.recv(client, 100);
}

fn send_after_our_end_fails(s: &mut Script) {
    let (server, client) = s.watched_pair();
    s.shutdown_write(server);
    s.await_state(client, libc::POLLRDHUP);
    s.send(server, b"hello");
    s.shutdown_write(server);
    s.recv(client, 100);
}

fn shutdown_of_reading_is_an_end_that_still_delivers(s: &mut Script) {
    let (server, client) = s.watched_pair();
    s.shutdown_read(server);
    s.wait();
    s.recv(server, 100);
    s.send(client, b"hello");
    s.await_bytes(server, 5);
    s.wait();
    s.recv(server, 100);
    s.recv(server, 100);
}

fn half_closed_connection_still_sends(s: &mut Script) {
    let (server, client) = s.watched_pair();
    s.shutdown_write(client);
    s.await_state(server, libc::POLLRDHUP);
    s.wait();
    s.recv(server, 100);
    s.send(server, b"answer");
    s.await_bytes(client, 6);
    s.wait_in_vain();
    s.recv(client, 100);
    s.close(server);
    s.await_state(client, libc::POLLHUP);
    s.recv(client, 100);
}

fn vectored_send_is_one_stream(s: &mut Script) {
    let (server, client) = s.watched_pair();
    s.send_vectored(server, &[b"one ", b"", b"two ", b"three"]);
    s.await_bytes(client, 13);
    s.recv(client, 100);
}

// Listeners.

fn listener_says_in_once_for_several_connections(s: &mut Script) {
    let listener = watched_listener(s);
    for count in 1..=5 {
        s.connect("client", listener);
        s.await_queue(listener, count);
    }
    s.wait();
    s.accept(listener, "server");
    s.wait_in_vain();
    for _ in 0..5 {
        s.accept(listener, "server");
    }
    s.wait_in_vain();
}

fn connection_behind_others_is_an_edge(s: &mut Script) {
    let listener = watched_listener(s);
    for count in 1..=3 {
        s.connect("client", listener);
        s.await_queue(listener, count);
        s.wait();
    }
    s.wait_in_vain();
}

fn connections_before_the_registration_are_told(s: &mut Script) {
    let listener = s.listener("listener", 16);
    s.connect("client", listener);
    s.connect("client", listener);
    s.await_queue(listener, 2);
    s.watch(listener, INPUT);
    s.wait();
    s.wait_in_vain();
}

fn accepting_the_last_connection_makes_no_event(s: &mut Script) {
    let listener = watched_listener(s);
    s.accept(listener, "nobody");
    s.connect("client", listener);
    s.await_queue(listener, 1);
    s.wait();
    s.accept(listener, "server");
    s.accept(listener, "nobody");
    s.wait_in_vain();
}

fn no_descriptors_swallow_the_listeners_edge(s: &mut Script) {
    let listener = watched_listener(s);
    let spare = s.socket("spare");
    let first = s.socket("first");
    let second = s.socket("second");
    let port = port_of(listener);
    s.limit_descriptors(0);
    s.connect_to(first, port);
    s.await_queue(listener, 1);
    s.wait();
    s.accept(listener, "server");
    s.accept(listener, "server");
    s.close(spare);
    s.wait_in_vain();
    s.connect_to(second, port);
    s.await_queue(listener, 2);
    s.wait();
    s.accept(listener, "server");
    s.accept(listener, "server");
}

fn no_descriptors_hide_an_empty_queue(s: &mut Script) {
    let listener = watched_listener(s);
    let spare = s.socket("spare");
    s.limit_descriptors(0);
    s.accept(listener, "nobody");
    s.socket("refused");
    s.close(spare);
    s.accept(listener, "nobody");
}

fn connection_reset_before_it_is_accepted(s: &mut Script) {
    let listener = watched_listener(s);
    let client = s.connect("client", listener);
    s.await_queue(listener, 1);
    s.reset(client);
    s.wait();
    if let Some(server) = s.accept(listener, "server") {
        s.await_state(server, libc::POLLERR);
        s.peer(server);
        s.watch(server, ALL);
        s.wait();
        s.recv(server, 100);
        s.recv(server, 100);
    }
}

fn connection_ended_before_it_is_accepted(s: &mut Script) {
    let listener = watched_listener(s);
    let client = s.connect("client", listener);
    s.await_queue(listener, 1);
    s.send(client, b"short visit");
    s.close(client);
    s.wait();
    if let Some(server) = s.accept(listener, "server") {
        s.await_state(server, libc::POLLRDHUP);
        s.peer(server);
        s.watch(server, ALL);
        s.wait();
        s.recv(server, 100);
        s.recv(server, 100);
        s.wait_in_vain();
    }
}

fn data_before_the_accept_is_told_at_the_registration(s: &mut Script) {
    let listener = watched_listener(s);
    let client = s.connect("client", listener);
    s.await_queue(listener, 1);
    s.send(client, b"early");
    s.wait();
    if let Some(server) = s.accept(listener, "server") {
        s.await_bytes(server, 5);
        s.watch(server, ALL);
        s.wait();
        s.wait_in_vain();
        s.recv(server, 100);
    }
}

fn listener_closed_with_a_queue_resets_it(s: &mut Script) {
    let listener = s.listener("listener", 16);
    let client = s.connect("client", listener);
    s.await_queue(listener, 1);
    s.await_state(client, libc::POLLOUT);
    s.watch(client, ALL);
    s.wait();
    s.close(listener);
    s.await_state(client, libc::POLLERR);
    s.wait();
    s.recv(client, 100);
}

fn backlog_admits_one_more_than_it_says(s: &mut Script) {
    let listener = s.listener("listener", 1);
    for count in 1..=2 {
        let client = s.connect("client", listener);
        s.await_queue(listener, count);
        s.await_state(client, libc::POLLOUT);
        s.watch(client, ALL);
        s.wait();
    }
    let waiting = s.connect("waiting", listener);
    s.watch(waiting, ALL);
    s.wait_in_vain();
    s.accept(listener, "server");
    s.accept(listener, "server");
}

// Connecting.

fn connection_that_is_made_says_out(s: &mut Script) {
    let listener = s.listener("listener", 16);
    let client = s.connect("client", listener);
    s.watch(client, ALL);
    s.await_state(client, libc::POLLOUT);
    s.wait();
    s.wait_in_vain();
    s.take_error(client);
    s.peer(client);
}

fn connection_that_is_refused_says_everything(s: &mut Script) {
    let client = refused(s);
    s.watch(client, ALL);
    s.await_state(client, libc::POLLERR);
    s.wait();
    s.wait_in_vain();
    s.recv(client, 100);
    s.recv(client, 100);
}

fn refused_connection_has_one_error(s: &mut Script) {
    let client = refused(s);
    s.await_state(client, libc::POLLERR);
    s.take_error(client);
    s.take_error(client);
    s.peer(client);
    s.send(client, b"hello");
}

// Wakers.

fn waker_that_is_never_read_is_an_edge_each_time(s: &mut Script) {
    let waker = s.waker("waker");
    s.watch(waker, INPUT);
    s.wait_in_vain();
    for _ in 0..3 {
        s.ring(waker);
        s.wait();
    }
    s.wait_in_vain();
}

fn several_wakes_are_one_event(s: &mut Script) {
    let waker = s.waker("waker");
    s.watch(waker, INPUT);
    for _ in 0..3 {
        s.ring(waker);
    }
    s.wait();
    s.wait_in_vain();
    s.answer(waker);
    s.answer(waker);
}

fn waker_that_was_read_is_quiet(s: &mut Script) {
    let waker = s.waker("waker");
    s.watch(waker, INPUT);
    s.ring(waker);
    s.answer(waker);
    s.wait_in_vain();
    s.ring(waker);
    s.wait();
}

// Descriptors and the epoll set.

fn closed_descriptor_takes_its_event_with_it(s: &mut Script) {
    let (server, client) = s.watched_pair();
    s.send(client, b"hello");
    s.await_bytes(server, 5);
    s.close(server);
    s.wait_in_vain();
}

fn number_is_used_again_at_once(s: &mut Script) {
    let (server, client) = s.watched_pair();
    s.send(client, b"hello");
    s.await_bytes(server, 5);
    s.close(server);
    let next = s.socket("next");
    s.compare_numbers(server, next);
    s.watch(next, ALL);
    s.wait();
    s.wait_in_vain();
}

fn lowest_number_is_used_first(s: &mut Script) {
    let sockets = [s.socket("first"), s.socket("second"), s.socket("third")];
    s.close(sockets[1]);
    s.close(sockets[0]);
    let (next, last) = (s.socket("next"), s.socket("last"));
    s.compare_numbers(sockets[0], next);
    s.compare_numbers(sockets[1], last);
}

fn registrations_that_make_no_sense_fail(s: &mut Script) {
    let (server, client) = s.watched_pair();
    s.watch(server, ALL);
    s.watch_again(client, ALL);
    s.unwatch(client);
    s.unwatch(server);
    s.unwatch(server);
    s.watch(server, ALL);
    s.wait();
    s.close(server);
    s.watch(server, ALL);
    s.watch_again(server, ALL);
    s.unwatch(server);
}

fn events_that_do_not_fit_come_next(s: &mut Script) {
    let wakers = [s.waker("waker"), s.waker("waker"), s.waker("waker")];
    for waker in wakers {
        s.watch(waker, INPUT);
        s.ring(waker);
    }
    s.wait_for_at_most(2);
    s.wait_for_at_most(2);
    s.wait_in_vain();
}

fn events_of_several_sockets_come_together(s: &mut Script) {
    let (server, client) = s.watched_pair();
    let waker = s.waker("waker");
    s.watch(waker, INPUT);
    s.watch(client, ALL);
    s.wait();
    s.send(client, b"ping");
    s.send(server, b"pong");
    s.ring(waker);
    s.await_bytes(server, 4);
    s.await_bytes(client, 4);
    s.wait();
    s.wait_in_vain();
}

fn calls_on_a_socket_that_is_not_connected_fail(s: &mut Script) {
    let socket = s.socket("socket");
    s.recv(socket, 100);
    s.send(socket, b"hello");
    s.shutdown_write(socket);
    s.peer(socket);
    s.take_error(socket);
    s.accept(socket, "nobody");
}

fn calls_on_a_closed_descriptor_fail(s: &mut Script) {
    let (server, _client) = s.watched_pair();
    s.close(server);
    s.recv(server, 100);
    s.send(server, b"hello");
    s.shutdown_write(server);
    s.accept(server, "nobody");
    s.close(server);
}

// What several of them begin with.

fn watched_listener(s: &mut Script) -> Fd {
    let listener = s.listener("listener", 16);
    s.watch(listener, INPUT);
    s.wait_in_vain();
    listener
}

/// A socket whose connect goes to a port where nobody listens.
fn refused(s: &mut Script) -> Fd {
    let listener = s.listener("gone", 16);
    let port = port_of(listener);
    s.close(listener);
    let client = s.socket("client");
    s.connect_to(client, port);
    client
}

//! WebSockets and other upgrades through runsd. WebSockets are what the Python
//! package websockets sees, in `clients/websocket_echo.py`; the rest is in
//! `clients/tunnel_ends.py`.

use crate::harness::CloudRun;

#[track_caller]
fn talk(name: &str) {
    CloudRun::new().python(&["/tests/clients/websocket_echo.py", name]);
}

#[test]
fn a_thousand_messages_are_echoed() {
    talk("echoes");
}

#[test]
fn a_message_of_8_mb_is_echoed() {
    talk("big");
}

#[test]
fn a_ping_has_its_pong() {
    talk("ping");
}

#[test]
fn the_clients_close_code_reaches_the_service() {
    talk("closed_by_the_client");
}

#[test]
fn the_services_close_code_reaches_the_client() {
    talk("closed_by_the_server");
}

#[test]
fn a_connection_lost_without_close_frame_is_closed_on_the_other_side() {
    talk("gone");
}

#[test]
fn a_refused_upgrade_is_an_ordinary_answer() {
    talk("refused");
}

#[track_caller]
fn tunnel(name: &str) {
    CloudRun::new().python(&["/tests/clients/tunnel_ends.py", name]);
}

#[test]
fn a_service_answers_after_the_client_ended_its_direction() {
    tunnel("client_ends_first");
}

#[test]
fn a_client_goes_on_after_the_service_ended_its_direction() {
    tunnel("service_ends_first");
}

#[test]
fn half_open_tunnel_peer_is_detected_by_keepalive() {
    tunnel("gone_in_silence");
}
